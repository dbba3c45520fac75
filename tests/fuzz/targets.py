"""Every entry of foreign bytes, by name."""

from __future__ import annotations

from fuzz import disk, settings, web, wire
from fuzz.law import Target

TARGETS: dict[str, Target] = {
    each.name: each for each in (*wire.TARGETS, *web.TARGETS, *disk.TARGETS, *settings.TARGETS)
}
