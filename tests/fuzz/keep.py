"""Which of the many inputs that an engine found are worth a place in the repository: few and small ones that reach
lines of `etl` that nothing else reaches."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any, TypeAlias

from fuzz.law import CORPUS, Target

SMALL = 1000
"""Bytes of an input that is kept."""
MOST = 40
"""Inputs of one target."""

Line: TypeAlias = tuple[str, int, int]


def keep(target: Target, found: Sequence[bytes]) -> int:
    """Store what is new, the smallest first; returns how many."""
    seen: set[Line] = set()
    for data in target.inputs():
        seen |= lines_of(target, data)
    room = MOST - len(target.kept())
    kept = 0
    for data in sorted(set(found), key=lambda data: (len(data), data)):
        if kept >= room or len(data) > SMALL:
            break
        if new := lines_of(target, data) - seen:
            seen |= new
            path = CORPUS / target.name / hashlib.sha256(data).hexdigest()[:12]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            kept += 1
    return kept


def lines_of(target: Target, data: bytes) -> set[Line]:
    """The steps in `etl` that this input takes: from which line to which."""
    found: set[Line] = set()

    def follow(frame: FrameType, _event: str, _argument: Any) -> Any:
        name = frame.f_code.co_filename
        if "/etl/" not in name:
            return None
        before = [0]

        def step(frame: FrameType, event: str, _argument: Any) -> Any:
            if event == "line":
                found.add((name, before[0], frame.f_lineno))
                before[0] = frame.f_lineno
            return step

        return step

    outer = sys.gettrace()
    sys.settrace(follow)
    try:
        target.law(data)
    finally:
        sys.settrace(outer)
    return found
