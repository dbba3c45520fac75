"""How the answers of `support.known_answers` are counted from the truth of the known archive: without any SQL."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

from support.known import (
    CALLS,
    MASK_SECRET,
)
from support.known_types import (
    BEGIN,
    END,
    KnownCall,
    at,
)

Rows: TypeAlias = list[tuple[Any, ...]]
Key: TypeAlias = Callable[[KnownCall], Any]

NOTHING = timedelta(0)
HOUR = timedelta(hours=1)
FOREVER = datetime.max.replace(tzinfo=UTC)
CAUSES: dict[int | None, str | None] = {
    0: "normal",
    1: "source disconnected",
    2: "destination disconnected",
    5: "cancelled",
    6: "busy",
    8: "error",
    42: "unknown code 42",
    None: None,
}


def within(start: datetime, end: datetime) -> list[KnownCall]:
    """The calls with a start in this time, by start."""
    return sorted((call for call in CALLS if call.start and start <= call.start < end), key=by_start)


def by_start(call: KnownCall) -> datetime:
    assert call.start is not None
    return call.start


def in_march(zone: ZoneInfo | None = None) -> list[KnownCall]:
    """The calls that started in March, by the clock of this zone (None: UTC)."""
    return within(*(march_of(zone) if zone else (BEGIN, END)))


def march_of(zone: ZoneInfo) -> tuple[datetime, datetime]:
    return at(zone, 1, "00:00"), at(zone, 1, "00:00", month=4)


def grouped(calls: Iterable[KnownCall], key: Key) -> dict[Any, list[KnownCall]]:
    """The calls by what `key` says of them, in its order."""
    groups: defaultdict[Any, list[KnownCall]] = defaultdict(list)
    for call in calls:
        groups[key(call)].append(call)
    return dict(sorted(groups.items()))


def recorder_of(call: KnownCall) -> str:
    return call.recorder


def talk(calls: Iterable[KnownCall]) -> timedelta:
    return sum((call.duration or NOTHING for call in calls), NOTHING)


def rounded(value: Decimal, places: int) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)


def percent(part: int, whole: int, places: int) -> Decimal:
    return rounded(Decimal(100 * part) / whole, places)


def week_of(moment: datetime, zone: ZoneInfo) -> date:
    """The Monday of its week."""
    day = moment.astimezone(zone).date()
    return day - timedelta(days=day.weekday())


def masked(value: str | None) -> str | None:
    return value and "#" + hashlib.sha256(MASK_SECRET + value.encode()).hexdigest()[:16]


def complete(calls: Iterable[KnownCall]) -> int:
    return sum(call.state == "complete" for call in calls)
