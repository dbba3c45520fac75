"""How far a job is, for whoever watches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` in some `unit` (files, hours, …); `total` is None while nobody knows it. `counts` are what
    was seen so far, by name; `rate_of` names the one whose rate is worth showing (default: `done`)."""

    done: float
    total: float | None
    unit: str
    counts: Mapping[str, int] = field(default_factory=dict)
    rate_of: str = ""


OnProgress: TypeAlias = Callable[[Progress], None]


def unwatched(_: Progress) -> None:
    """For nobody."""
