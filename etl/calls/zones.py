"""Local times without a zone, as recorders write them, and the instants they can mean.

Source: section 3 of the protocol for the format; section 6 of the contract for what to do on the nights when
clocks change.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

_LOCAL = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LOCAL_EPOCH = _EPOCH.replace(tzinfo=None)
_LAST_OF_THE_HOUR = timedelta(minutes=59, seconds=59, microseconds=999_999)


class Readings(NamedTuple):
    """The instants (UTC) that a local time can mean, earliest first.

    One as a rule; two in the hour that a clock set back repeats; none where the instant lies outside the
    years 1 to 9999. `nonexistent` says that a clock set forward skipped this time: the one reading uses the
    offset before the change.
    """

    instants: tuple[datetime, ...]
    nonexistent: bool = False


def parse_local(text: str) -> datetime | None:
    """Reads `YYYY-MM-DD hh:mm[:ss[.fraction]]` (or with a `T`) as a naive local time; None for anything else.

    A fraction may have 1 to 9 digits; what is finer than a microsecond is cut off.
    """
    if not _LOCAL.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def readings(local: datetime, zone: ZoneInfo) -> Readings:
    """The instants that a naive local time can mean in a zone."""
    offset = _offset_of_hour(local.year, local.month, local.day, local.hour, zone)
    if offset is not None:
        return Readings(_instants(local, (offset,)))
    before, after = _offsets(local, zone)
    if before > after:
        return Readings(_instants(local, (before, after)))
    return Readings(_instants(local, (before,)), nonexistent=before < after)


def _offsets(local: datetime, zone: ZoneInfo) -> tuple[timedelta, timedelta]:
    """The offsets before and after a change at this local time; equal where there is none (PEP 495)."""
    before, after = zone.utcoffset(local.replace(fold=0)), zone.utcoffset(local.replace(fold=1))
    assert before is not None
    assert after is not None
    return before, after


@lru_cache(maxsize=4096)
def _offset_of_hour(year: int, month: int, day: int, hour_of_day: int, zone: ZoneInfo) -> timedelta | None:
    """The offset of a whole local hour, None where it changes within: nearly all times come at this price."""
    hour = datetime(year, month, day, hour_of_day)  # noqa: DTZ001 - local
    offsets = {*_offsets(hour, zone), *_offsets(hour + _LAST_OF_THE_HOUR, zone)}
    return offsets.pop() if len(offsets) == 1 else None


def _instants(local: datetime, offsets: tuple[timedelta, ...]) -> tuple[datetime, ...]:
    since = local - _LOCAL_EPOCH  # to add and subtract costs a tenth of replacing a zone
    try:
        return tuple([_EPOCH + (since - offset) for offset in offsets])
    except OverflowError:
        return ()
