"""The ways in which the simulated recorder can misbehave, and the text that asks for them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, StrEnum
from random import Random

from etl.errors import UsageError


class FaultKind(StrEnum):
    """What can go wrong; the value is the name on the command line and in the truth."""

    DROP = "drop"
    """One connection is closed (FIN): what was written still arrives."""
    RESET = "reset"
    """One connection is torn down (RST): what is under way is lost."""
    SILENCE = "silence"
    """Connections stay open, nothing is sent, what happens is lost for them; at the end they are closed."""
    REFUSE = "refuse"
    """All connections are closed and the port is shut."""
    RESTART = "restart"
    """As refuse, and the recorder forgets its ongoing calls: they never end."""
    STALL = "stall"
    """One subscriber gets half a document, then nothing more; it is closed at the end."""
    GARBAGE = "garbage"
    """Bytes that are no document, between documents, to every subscriber."""
    CUT_OFF = "cut-off"
    """Half a document, right before the next whole one, to every subscriber."""
    MALFORMED = "malformed"
    """A document as the vendor printed it (not well-formed), to every subscriber."""
    DUPLICATES = "duplicates"
    """A notification is sent twice."""
    REORDERING = "reordering"
    """The start of a call is sent after its end."""
    SLOW_DETAILS = "slow-details"
    """A detail is answered late."""
    DETAIL_ERRORS = "detail-errors"
    """A detail is answered with code 2 and a database error."""
    SHORT_LISTS = "short-lists"
    """A list lacks a call that goes on."""
    FORGOTTEN_DETAILS = "forgotten-details"
    """The recorder forgets a call as soon as it has ended (the history still has it)."""
    CLOSE_AFTER_RESPONSE = "close-after-response"
    """A connection without a subscription is closed after a response."""
    SPLIT_WRITES = "split-writes"
    """A connection gets its bytes in small pieces."""
    COALESCE = "coalesce"
    """A connection gets its documents late and many at once."""


class Manner(Enum):
    """How a fault is asked for."""

    MOMENT = "a rate such as 2/min, or a moment such as @30s"
    SHARE = "a share such as 5%"


_MOMENT_LENGTHS: dict[FaultKind, float | None] = {
    FaultKind.DROP: None,
    FaultKind.RESET: None,
    FaultKind.SILENCE: 20.0,
    FaultKind.REFUSE: 5.0,
    FaultKind.RESTART: 1.0,
    FaultKind.STALL: 60.0,
    FaultKind.GARBAGE: None,
    FaultKind.CUT_OFF: None,
    FaultKind.MALFORMED: None,
}
_SHARE_LENGTHS: dict[FaultKind, float | None] = {
    FaultKind.DUPLICATES: None,
    FaultKind.REORDERING: None,
    FaultKind.SLOW_DETAILS: 2.0,
    FaultKind.DETAIL_ERRORS: None,
    FaultKind.SHORT_LISTS: None,
    FaultKind.FORGOTTEN_DETAILS: None,
    FaultKind.CLOSE_AFTER_RESPONSE: None,
    FaultKind.SPLIT_WRITES: None,
    FaultKind.COALESCE: 0.05,
}
LENGTHS: dict[FaultKind, float | None] = _MOMENT_LENGTHS | _SHARE_LENGTHS
"""The default length of each kind in seconds; None where a length means nothing."""


def manner(kind: FaultKind) -> Manner:
    """How `kind` is asked for."""
    return Manner.MOMENT if kind in _MOMENT_LENGTHS else Manner.SHARE


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault that was asked for.

    Faults of a moment have either `per_second` or `at` (seconds after the start); the others a `share` from
    0 to 1. `length` is in seconds, 0 where it means nothing.
    """

    kind: FaultKind
    per_second: float = 0.0
    at: float | None = None
    share: float = 0.0
    length: float = 0.0

    def moments(self, rng: Random) -> Iterator[float]:
        """The seconds after the start at which it happens: one, or endless at random."""
        if self.at is not None:
            yield self.at
        moment = 0.0
        while self.per_second > 0:
            moment += rng.expovariate(self.per_second)
            yield moment


@dataclass(frozen=True, slots=True)
class Faults:
    """All faults that were asked for; none by default."""

    items: tuple[Fault, ...] = ()

    def moments(self) -> tuple[Fault, ...]:
        """Those that happen at moments."""
        return tuple(fault for fault in self.items if manner(fault.kind) is Manner.MOMENT)

    def share(self, kind: FaultKind) -> float:
        """How often `kind` happens where it could, from 0 (never) to 1 (always)."""
        return max((fault.share for fault in self.items if fault.kind is kind), default=0.0)

    def length(self, kind: FaultKind) -> float:
        """How long `kind` lasts, in seconds."""
        default = LENGTHS[kind] or 0.0
        return next((fault.length for fault in self.items if fault.kind is kind), default)


NO_FAULTS = Faults()

_ITEM = re.compile(
    r"(?P<name>[a-z-]+)"
    r"(?:=(?P<amount>\d+(?:\.\d+)?)(?P<unit>%|/s|/min|/h))?"
    r"(?:@(?P<at>\d+(?:\.\d+)?(?:ms|s|m|h)))?"
    r"(?::(?P<length>\d+(?:\.\d+)?(?:ms|s|m|h)))?"
)
_PER_SECOND = {"/s": 1.0, "/min": 1 / 60, "/h": 1 / 3600}
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_MOST_OFTEN = 1000.0
"""Times a second."""
_LONGEST = 1e9
"""Seconds."""


def parse_faults(text: str) -> Faults:
    """Reads a list such as `drop=2/min,silence@30s:20s,duplicates=5%,close-after-response`.

    Raises `UsageError`, which names the part that is wrong and what is allowed.
    """
    return Faults(tuple(_fault(item) for item in (part.strip() for part in text.split(",")) if item))


def _fault(item: str) -> Fault:
    found = _ITEM.fullmatch(item)
    if found is None:
        raise UsageError(
            f"fault {item!r} is not understood: write NAME=RATE, NAME@MOMENT or NAME=SHARE, with :LENGTH behind "
            "where it lasts, such as drop=2/min, silence@30s:20s, duplicates=5%"
        )
    kind = _kind(found["name"])
    length = _length(kind, item, found["length"])
    if manner(kind) is Manner.SHARE:
        return Fault(kind, share=_share(kind, item, found), length=length)
    return _moment(kind, item, found, length)


def _kind(name: str) -> FaultKind:
    try:
        return FaultKind(name)
    except ValueError:
        raise UsageError(f"fault {name!r} is not known; there are {', '.join(FaultKind)}") from None


def _length(kind: FaultKind, item: str, text: str | None) -> float:
    default = LENGTHS[kind]
    if text is None:
        return default or 0.0
    if default is None:
        raise UsageError(f"fault {item!r}: {kind} has no length; leave out :{text}")
    return _seconds(text)


def _share(kind: FaultKind, item: str, found: re.Match[str]) -> float:
    if found["at"] or found["unit"] not in (None, "%"):
        raise UsageError(f"fault {item!r}: {kind} takes {Manner.SHARE.value}, or nothing for always")
    share = float(found["amount"] or 100) / 100
    if share > 1:
        raise UsageError(f"fault {item!r}: a share is at most 100%")
    return share


def _moment(kind: FaultKind, item: str, found: re.Match[str], length: float) -> Fault:
    rate, at = found["unit"], found["at"]
    if rate == "%" or (rate is None) == (at is None):
        raise UsageError(f"fault {item!r}: {kind} takes {Manner.MOMENT.value}")
    if at is not None:
        return Fault(kind, at=_seconds(at), length=length)
    per_second = float(found["amount"]) * _PER_SECOND[rate]
    if per_second > _MOST_OFTEN:
        raise UsageError(f"fault {item!r}: at most {_MOST_OFTEN:g}/s")
    return Fault(kind, per_second=per_second, length=length)


def _seconds(text: str) -> float:
    number = text.rstrip("hms")
    seconds = float(number) * _SECONDS[text[len(number) :]]
    if seconds > _LONGEST:
        raise UsageError(f"{text} is too long for a simulation: write at most {_LONGEST / 3600:.0f}h")
    return seconds
