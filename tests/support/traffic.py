"""Calls as plain data, straight into `cdr.call`, and what the views of volumes have to say about them.

Shares no code with the views: days, hours and minutes are counted in Python, the simplest way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from zoneinfo import ZoneInfo

from etl.store.database import Connection

ZERO = timedelta()
QUARTER = timedelta(minutes=15)
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Call:
    """A call's row, as far as volumes look at it; `seen` is when it was first seen. All times are aware UTC."""

    start: datetime | None
    end: datetime | None = None
    recorder: str | None = "ny-1"
    state: str = "complete"
    extension: str | None = None
    seen: datetime = datetime(2024, 1, 1, tzinfo=UTC)

    @property
    def counted_at(self) -> datetime:
        return self.start or self.seen

    @property
    def duration(self) -> timedelta | None:
        return self.end - self.start if self.start and self.end else None


_INSERT = """
INSERT INTO cdr.call (call_id, id_time, recorder, state, source, start_time, end_time, recorded_extension,
    first_seen_at, recorded_at)
VALUES (%s, '1970-01-01 00:00+00', %s, %s, 'detail', %s, %s, %s, %s, now())
"""


def store(conn: Connection, calls: Iterable[Call]) -> None:
    """Makes these the calls of the archive."""
    with conn.transaction(), conn.cursor() as cursor:
        cursor.execute("DELETE FROM cdr.call")
        cursor.executemany(
            _INSERT,
            [
                (str(number), call.recorder, call.state, call.start, call.end, call.extension, call.seen)
                for number, call in enumerate(calls)
            ],
        )


# What the views have to say -------------------------------------------------------------------------------------

Row = tuple[object, ...]
Rows = list[Row]


def _ordered(rows: Iterable[Row]) -> Rows:
    return sorted(rows, key=repr)


def day_of(moment: datetime, zone: ZoneInfo) -> date:
    return moment.astimezone(zone).date()


def hour_of(moment: datetime, zone: ZoneInfo) -> datetime:
    """The moment at which the clock hour of a zone began; the two of a clock that is set back are told apart."""
    local = moment.astimezone(zone)
    return moment - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)


def _volume(calls: Sequence[Call]) -> tuple[int, int, int, timedelta, timedelta | None, timedelta | None]:
    lengths = [call.duration for call in calls if call.duration is not None]
    total = sum(lengths, ZERO)
    complete = sum(call.state == "complete" for call in calls)
    mean = total / len(lengths) if lengths else None
    return len(calls), complete, len(calls) - complete, total, mean, max(lengths, default=None)


def hourly(calls: Iterable[Call]) -> Rows:
    """report.hourly_volume."""
    groups: dict[tuple[str | None, datetime], list[Call]] = defaultdict(list)
    for call in calls:
        groups[call.recorder, hour_of(call.counted_at, ZoneInfo("UTC"))].append(call)
    return _ordered((*key, *_volume(each)[:-1]) for key, each in groups.items())


def daily(calls: Iterable[Call], zone: ZoneInfo) -> Rows:
    """report.daily_volume."""
    groups: dict[tuple[str | None, date], list[Call]] = defaultdict(list)
    for call in calls:
        groups[call.recorder, day_of(call.counted_at, zone)].append(call)
    return _ordered((*key, *_volume(each)) for key, each in groups.items())


def extension_usage(calls: Iterable[Call], zone: ZoneInfo) -> Rows:
    """report.extension_usage."""
    groups: dict[tuple[str | None, str | None, date], list[Call]] = defaultdict(list)
    for call in calls:
        groups[call.recorder, call.extension, day_of(call.counted_at, zone)].append(call)
    rows: Rows = []
    for key, each in groups.items():
        number, complete, _, total, _, longest = _volume(each)
        times = [call.counted_at for call in each]
        rows.append((*key, number, complete, total, longest, min(times), max(times)))
    return _ordered(rows)


def busy_hour(calls: Iterable[Call], zone: ZoneInfo) -> Rows:
    """report.busy_hour: fills hours quarter by quarter, for the hours of every zone begin at one of UTC's quarters."""
    traffic: dict[tuple[str | None, datetime], timedelta] = defaultdict(timedelta)
    started: dict[tuple[str | None, datetime], int] = defaultdict(int)
    for call in calls:
        hour = hour_of(call.counted_at, zone)
        started[call.recorder, hour] += 1
        traffic[call.recorder, hour] += ZERO
        if call.start is None or call.end is None:
            continue
        at = call.start
        while at < call.end and day_of(at, zone) <= day_of(call.start, zone) + timedelta(days=1):
            quarter = at.replace(minute=at.minute // 15 * 15, second=0, microsecond=0)
            until = min(call.end, quarter + QUARTER)
            traffic[call.recorder, hour_of(at, zone)] += until - at
            at = until
    best: dict[tuple[str | None, date], tuple[timedelta, datetime]] = {}
    for (recorder, hour), time in sorted(traffic.items(), key=lambda item: item[0][1]):
        key = recorder, day_of(hour, zone)
        if key not in best or time > best[key][0]:
            best[key] = time, hour
    return _ordered(
        (recorder, day, hour, started[recorder, hour], rounded(time / timedelta(microseconds=1), 3_600_000_000))
        for (recorder, day), (time, hour) in best.items()
    )


def rounded(amount: float, whole: int) -> Decimal:
    return (Decimal(int(amount)) / whole).quantize(Decimal("0.0001"), ROUND_HALF_UP)


def concurrent(calls: Iterable[Call], begin: datetime, end: datetime, now: datetime) -> Rows:
    """report.concurrent_calls, by asking in every minute who was there at each moment at which anything changed."""
    lasting = defaultdict(list)
    for call in calls:
        until = call.end or (now if call.state == "ongoing" else None)
        if call.start and until and call.start.year >= 2000:
            lasting[call.recorder].append((call.start, min(until, now)))
    rows: Rows = []
    for recorder, spans in lasting.items():
        minute = begin
        while minute < end:
            inside = [(max(a, minute), min(b, minute + MINUTE)) for a, b in spans if a < minute + MINUTE and b > minute]
            inside = [(a, b) for a, b in inside if a < b]
            if inside:
                peak = max(sum(a <= moment < b for a, b in inside) for moment, _ in inside)
                total = sum((b - a for a, b in inside), ZERO) / timedelta(microseconds=1)
                rows.append((recorder, minute, peak, rounded(total, 60_000_000)))
            minute += MINUTE
    return _ordered(rows)
