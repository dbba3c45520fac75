"""Calls that may be copies of each other, and which conversations they are: by the definition, pair by pair.

Shares no code with `report.conversations`, and knows neither its order of work nor its hashes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from etl.store.database import Connection

APART = timedelta(seconds=5)
LATE = timedelta(minutes=1)
LONG = timedelta(hours=24)
SEEN = datetime(2024, 5, 1, tzinfo=UTC)
"""When calls without a start were first seen."""


@dataclass(frozen=True)
class Copy:
    """A call's row, as far as conversations look at it. Times are aware UTC."""

    call_id: str
    start: datetime | None
    end: datetime | None = None
    recorder: str | None = "ny-1"
    platform: str | None = None
    native: str | None = None
    source: str | None = "1"
    destination: str | None = "2"
    secondary: bool | None = None
    state: str = "complete"


Conversation = tuple[tuple[str, ...], tuple[str | None, ...], str | None]
"""Ids of its copies, the one shown first; their recorders; the shown id of the one that it continues."""

_INSERT = """
INSERT INTO cdr.call (call_id, id_time, recorder, state, source, start_time, end_time, platform_call_id, native_call_id,
    source_caller_id, destination_caller_id, secondary, first_seen_at, recorded_at)
VALUES (%s, '1970-01-01 00:00+00', %s, %s, 'detail', %s, %s, %s, %s, %s, %s, %s, %s, now())
"""


def store(conn: Connection, calls: Iterable[Copy]) -> None:
    """Makes these the calls of the archive."""
    with conn.transaction(), conn.cursor() as cursor:
        cursor.execute("DELETE FROM cdr.call")
        cursor.executemany(_INSERT, [_row(call) for call in calls])


def _row(call: Copy) -> tuple[object, ...]:
    times = call.start, call.end
    parties = call.source, call.destination
    return (call.call_id, call.recorder, call.state, *times, call.platform, call.native, *parties, call.secondary, SEEN)


# What report.conversations has to say ---------------------------------------------------------------------------


def conversations(calls: Iterable[Copy]) -> list[Conversation]:
    """All of them, in no order."""
    told = [call for call in calls if call.start is not None]
    found = [_best_first(group) for linked in _linked(told) for group in _paired(linked)]
    earlier = _earlier(found)
    alone = [[call] for call in calls if call.start is None]
    return [
        (tuple(call.call_id for call in group), tuple(call.recorder for call in group), earlier.get(group[0].call_id))
        for group in found + alone
    ]


def _linked(calls: Sequence[Copy]) -> list[list[Copy]]:
    """Calls that are copies of each other, or linked by such calls."""
    left, groups = list(calls), []
    while left:
        group = [left.pop()]
        for call in group:  # grows meanwhile
            near = [other for other in left if _share(call, other)]
            left = [other for other in left if other not in near]
            group.extend(near)
        groups.append(group)
    return groups


def _share(one: Copy, other: Copy) -> bool:
    ids = (one.platform, other.platform), (one.native, other.native)
    return (
        any(first == second and first for first, second in ids)
        and (one.source, one.destination) == (other.source, other.destination)
        and abs(_start(one) - _start(other)) <= APART
    )


def _paired(linked: Iterable[Copy]) -> list[list[Copy]]:
    """The first of each recorder, the second of each, and so on; those marked secondary counted for themselves."""
    places: defaultdict[tuple[str | None, bool], int] = defaultdict(int)
    groups: defaultdict[int, list[Copy]] = defaultdict(list)
    for call in sorted(linked, key=_in_order):
        side = call.recorder, bool(call.secondary)
        groups[places[side]].append(call)
        places[side] += 1
    return list(groups.values())


def _best_first(group: Iterable[Copy]) -> list[Copy]:
    return sorted(group, key=lambda call: (call.state != "complete", bool(call.secondary), _in_order(call)))


def _earlier(found: Iterable[Sequence[Copy]]) -> dict[str, str]:
    """By the id of the copy shown: that of the conversation before, where this one took over from it."""
    along: defaultdict[tuple[str | None, ...], list[Sequence[Copy]]] = defaultdict(list)
    for group in sorted(found, key=lambda group: _in_order(group[0])):
        shown = group[0]
        if shown.platform:
            along[shown.platform, shown.source, shown.destination].append(group)
    return {
        after[0].call_id: before[0].call_id
        for groups in along.values()
        for before, after in pairwise(groups)
        if _took_over(before, after[0])
    }


def _took_over(before: Sequence[Copy], after: Copy) -> bool:
    recorders, end = {call.recorder for call in before}, before[0].end
    return (
        after.recorder is not None
        and None not in recorders
        and after.recorder not in recorders
        and end is not None
        and -APART <= _start(after) - end <= LATE
        and _start(after) - _start(before[0]) <= LONG
    )


def _start(call: Copy) -> datetime:
    assert call.start is not None
    return call.start


def _in_order(call: Copy) -> tuple[datetime, bytes]:
    return _start(call), call.call_id.encode()
