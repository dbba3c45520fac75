"""What differs between the archive's row of a call, what the history says of it, and what its own facts say. Pure.

A history that is silent about a field says nothing: only what it does say is compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from etl.calls.facts import DURATION_TOLERANCE
from etl.calls.history import SKEW
from etl.calls.ids import id_time, is_timed
from etl.model import FINISHED, Fact, Interval, Json, State, Value

Row: TypeAlias = "Mapping[str, Value | Json]"
"""A row of `cdr.call` by column: times and the reported duration as such, as far as Python can hold them (else as
PostgreSQL's text), everything else as JSON."""
Plain: TypeAlias = "Mapping[str, Json]"
"""The same with every value as PostgreSQL's JSON has it: equal if and only if the column is."""
Units: TypeAlias = Mapping[str, timedelta]
"""How fine the times of a call are known, by field."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE, _SECOND = timedelta(minutes=1), timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Difference:
    """A field, what the archive has, and what it should have: by the history, or by the call's own facts."""

    field: str
    archived: Value | Json
    expected: Value | Json


def is_in(fact: Fact, span: Interval) -> bool:
    """Whether a record belongs to a span: by its start; without one by the id's time, then by its end.

    One that nothing places belongs to every span, since it was shown there.
    """
    placed = fact.values.get("start_time") or (fact.id_time if is_timed(fact.id_time) else fact.values.get("end_time"))
    return not isinstance(placed, datetime) or span.start <= placed < span.end


# The history's word against the archive's ------------------------------------------------------------------------


def differences(fact: Fact, row: Row, units: Units) -> Iterator[Difference]:
    """The fields in which the archive does not say what the history says.

    Times are compared as fine as `units` says (to the microsecond without). A reported duration that the archive
    does not have is no difference if start and end lead to it.
    """
    if fact.kind in FINISHED and row["state"] != State.COMPLETE:
        yield Difference("state", row["state"], State.COMPLETE.value)
    for name, told in fact.values.items():
        if not _agrees(told, row.get(name), row, units.get(name, timedelta.resolution)):
            yield Difference(name, row.get(name), told)
    held = row["attributes"]
    known = held if isinstance(held, dict) else {}
    differing = {name for name, told in fact.attributes.items() if name in known and known[name] != told}
    if differing:
        yield Difference("attributes", _only(known, differing), _only(fact.attributes, differing))


def hang_on_precision(fact: Fact, row: Row) -> list[str]:
    """The times that differ by so little that one of them may only have been written less precisely."""
    return [
        name
        for name, told in fact.values.items()
        if isinstance(told, datetime)
        and isinstance(held := row.get(name), datetime)
        and told != held
        and _cut(told, _MINUTE) == _cut(held, _MINUTE)
    ]


def precision(text: str) -> timedelta:
    """How fine a local time is written: the unit of its last digit."""
    fraction = text.partition(".")[2]
    if fraction:
        return max(timedelta(seconds=10 ** -len(fraction)), timedelta.resolution)
    return _SECOND if text.count(":") == 2 else _MINUTE


def _agrees(told: Value, held: Value | Json, row: Row, unit: timedelta) -> bool:
    if isinstance(told, datetime):
        return isinstance(held, datetime) and _cut(told, unit) == _cut(held, unit)
    if isinstance(told, timedelta):
        return _lasted(told, held, row)
    return told == held


def _lasted(told: timedelta, held: Value | Json, row: Row) -> bool:
    if isinstance(held, timedelta):
        return held == told or held - held % _SECOND == told
    start, end = row.get("start_time"), row.get("end_time")
    if held is not None or not isinstance(start, datetime) or not isinstance(end, datetime):
        return False
    return abs(end - start - told) <= DURATION_TOLERANCE


def _cut(moment: datetime, unit: timedelta) -> datetime:
    return moment - (moment - _EPOCH) % unit


def _only(values: Mapping[str, Json], names: set[str]) -> dict[str, Json]:
    return {name: values[name] for name in sorted(names)}


# The row against its own facts -----------------------------------------------------------------------------------

UNFOUNDED = "call_id"
"""Named where a row has no facts: its key is not that of any evidence."""


def departures(row: Plain, derived: Plain | None, now: datetime) -> Iterator[Difference]:
    """The columns of a row that do not follow from its facts; `derived` is None where it has none.

    `recorded_at` follows from no fact, but it cannot lie before the first of them was seen, nor after
    `now`, the time on the database's clock, which wrote it.
    """
    if derived is None:
        yield from _unfounded(row)
        return
    for name, expected in derived.items():
        if row[name] != expected:
            yield Difference(name, row[name], expected)
    recorded, seen = _moment(row["recorded_at"]), _moment(derived["first_seen_at"])
    if recorded is None or recorded > now + SKEW or (seen is not None and recorded < min(seen, now) - SKEW):
        yield Difference("recorded_at", row["recorded_at"], None)


def _unfounded(row: Plain) -> Iterator[Difference]:
    yield Difference(UNFOUNDED, row["call_id"], None)
    expected = id_time(str(row["call_id"]))
    if _moment(row["id_time"]) != expected:
        yield Difference("id_time", row["id_time"], expected)


def _moment(text: Json) -> datetime | None:
    """A time as PostgreSQL's JSON has it; None for one that Python cannot hold (infinity, years outside 1 to 9999)."""
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        return None
