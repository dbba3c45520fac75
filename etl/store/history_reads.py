"""Which times of a recorder were read from the history, what such a read has to show, and what is still to be read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Literal, TypeAlias
from uuid import UUID

from etl.calls.history import Verdict
from etl.calls.ids import UNTIMED
from etl.calls.intervals import union
from etl.model import Interval, Kind, State
from etl.store import gaps
from etl.store.amiss import OVERDUE, UNLISTED
from etl.store.database import Connection, Cursor, name_of
from etl.store.errors import translate

Source: TypeAlias = Literal["http", "file"]

FARTHEST = timedelta(days=31)
"""How far from a gap a witness may lie."""


@dataclass(frozen=True, slots=True)
class OpenGap:
    """A gap that is neither filled nor accepted; `end` is None while it lasts.

    `read_at` is when the whole of it was read last (of one that lasts: any of its beginning), None if never.
    `extensions`: the filter that was in force in it, empty for all calls.
    """

    id: int
    recorder: str
    start: datetime
    end: datetime | None
    reason: str
    read_at: datetime | None = None
    extensions: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Read:
    """A read of `part` of a recorder's time that began at `read_at`, and what it proves."""

    recorder: str
    part: Interval
    read_at: datetime
    source: Source
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Unresolved:
    """A call without a record that only the history may still have. `near` is when it began, as well as it is known;
    `overdue`: it counts as missing (section 3 of the contract)."""

    call_id: str
    near: datetime
    first_seen_at: datetime
    overdue: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a gap stands; `told` is why the last read of it proves nothing."""

    state: str
    recovered: int
    told: str | None


_OPEN = """
SELECT g.id, g.recorder, g.from_time, g.to_time, g.reason, h.read_at, g.extensions
FROM cdr.gap g LEFT JOIN LATERAL (
    SELECT max(read_at) AS read_at FROM cdr.history_read
    WHERE recorder = g.recorder AND from_time <= g.from_time AND to_time > g.from_time
      AND (g.to_time IS NULL OR to_time >= g.to_time)
) h ON true
WHERE g.state = 'open'
  AND (%(start)s::timestamptz IS NULL OR g.from_time < %(end)s AND (g.to_time IS NULL OR g.to_time > %(start)s))
ORDER BY g.recorder, g.from_time
"""

_SETTLED = f"""
c.state = '{State.COMPLETE}' AND c.end_time <= %(ended_before)s AND c.first_seen_at < %(known_before)s
AND (%(expired_before)s::timestamptz IS NULL OR c.start_time >= %(expired_before)s)
AND NOT EXISTS (SELECT FROM cdr.erased_call e WHERE e.call_id = c.call_id)
"""

_HELD = f"c.recorder = %(recorder)s AND {_SETTLED}"

_KNOWN_OTHERWISE = """
EXISTS (SELECT FROM cdr.fact f
        WHERE f.call_id = c.call_id AND f.id_time = c.id_time AND f.history IS DISTINCT FROM %(source)s)
"""

WITNESSES = f"""
SELECT c.call_id, {_KNOWN_OTHERWISE} FROM cdr.call c
WHERE c.start_time >= %(start)s AND c.start_time < %(end)s AND {_HELD}
"""
"""The calls of a recorder that start in a window and that the history must show, each with whether it bears witness:
whether it is known from elsewhere, too. What a history has told us it will tell again, and that proves nothing."""

_ANY_WITNESS = f"SELECT EXISTS (SELECT FROM ({WITNESSES}) AS found (call_id, witness) WHERE witness)"

_ALL_WITNESSES = f"""
SELECT c.call_id FROM cdr.call c
WHERE c.start_time >= %(start)s AND c.start_time < %(end)s AND {_SETTLED} AND {_KNOWN_OTHERWISE}
"""

_NEAREST = f"""
(SELECT c.start_time FROM cdr.call c WHERE c.start_time >= %(farthest_before)s AND c.start_time < %(start)s
   AND {_HELD} AND {_KNOWN_OTHERWISE} ORDER BY c.start_time DESC LIMIT 1)
UNION ALL
(SELECT c.start_time FROM cdr.call c WHERE c.start_time >= %(end)s AND c.start_time < %(farthest_after)s
   AND {_HELD} AND {_KNOWN_OTHERWISE} ORDER BY c.start_time LIMIT 1)
"""

_FIND_UNRESOLVED = f"""
WITH stale AS (
    SELECT c.call_id, c.id_time {UNLISTED}
    UNION
    SELECT c.call_id, c.id_time FROM cdr.call c WHERE c.state = '{State.ONGOING}' AND NOT EXISTS (
        SELECT FROM cdr.session s WHERE s.recorder = c.recorder AND s.closed_at IS NULL)
)
SELECT c.call_id, coalesce(c.start_time, nullif(c.id_time, %(untimed)s), c.first_seen_at), c.first_seen_at,
    c.state <> '{State.ENDED}' OR EXISTS (
        SELECT FROM cdr.fact f WHERE f.call_id = c.call_id AND f.id_time = c.id_time
          AND (f.kind = '{Kind.END}' OR f.end_time IS NOT NULL) AND f.first_observed_at < %(late)s)
FROM cdr.call c
WHERE c.state <> '{State.COMPLETE}'
  AND (c.state <> '{State.ONGOING}' OR (c.call_id, c.id_time) IN (SELECT call_id, id_time FROM stale))
  AND NOT EXISTS (SELECT FROM cdr.call_acceptance a WHERE a.call_id = c.call_id)
  AND NOT EXISTS (SELECT FROM cdr.erased_call e WHERE e.call_id = c.call_id)
ORDER BY 2
"""

_SUPERSEDED = """
DELETE FROM cdr.history_read
WHERE recorder = %s AND from_time = %s AND to_time <= %s AND source = %s AND NOT good AND read_at <= %s
"""
"""A read that proved nothing is of no more use once the same was read again: hourly reads must not pile up."""

_INSERT = """
INSERT INTO cdr.history_read (run, recorder, from_time, to_time, read_at, source, good, witnesses, told)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
"""

_OVERLAPPING = "SELECT id FROM cdr.gap WHERE from_time < %s AND (to_time IS NULL OR to_time > %s)"

_STANDING = """
SELECT g.id, g.state, g.calls_recovered, h.told
FROM cdr.gap g LEFT JOIN LATERAL (
    SELECT told FROM cdr.history_read
    WHERE recorder = g.recorder AND from_time < coalesce(g.to_time, 'infinity') AND to_time > g.from_time AND NOT good
    ORDER BY read_at DESC, id DESC LIMIT 1
) h ON g.state = 'open'
WHERE g.id = ANY(%s)
"""

_STATES = """
SELECT c.state, count(*) FROM unnest(%s::text[], %s::timestamptz[]) k (call_id, id_time)
LEFT JOIN LATERAL (SELECT state FROM cdr.call WHERE call_id = k.call_id AND id_time = k.id_time OFFSET 0) c ON true
GROUP BY c.state
"""

_UNDOUBTED = f"""
SELECT k.call_id FROM unnest(%s::text[], %s::timestamptz[]) k (call_id, id_time)
CROSS JOIN LATERAL (
    SELECT FROM cdr.call WHERE call_id = k.call_id AND id_time = k.id_time AND state = '{State.COMPLETE}'
      AND 'zone_suspect' <> ALL(quality) OFFSET 0
) c
"""


@dataclass(frozen=True, slots=True)
class Held:
    """Which calls a `source` must show: complete ones that ended before `ended_before`, were known before
    `known_before`, were not erased, and did not start before `expired_before` (None: nothing expires)."""

    source: Source
    ended_before: datetime
    known_before: datetime
    expired_before: datetime | None = None

    def values(self, recorder: str | None, window: Interval) -> dict[str, object]:
        return {
            "recorder": recorder,
            "start": window.start,
            "end": window.end,
            "source": self.source,
            "ended_before": self.ended_before,
            "known_before": self.known_before,
            "expired_before": self.expired_before,
        }


def open_gaps(connection: Connection, window: Interval | None = None) -> list[OpenGap]:
    """The gaps that are open, by recorder and time; with `window` those that overlap it."""
    values = {"start": window.start if window else None, "end": window.end if window else None}
    with translate(name_of(connection)), connection.transaction():
        return [OpenGap(*(*row[:-1], frozenset(row[-1]))) for row in connection.execute(_OPEN, values)]


def has_witness(connection: Connection, recorder: str, window: Interval, held: Held) -> bool:
    """Whether among the calls of a recorder that start in the window and that the history must show is one that bears
    witness, since it is known from elsewhere, too."""
    with translate(name_of(connection)), connection.transaction():
        return connection.execute(_ANY_WITNESS, held.values(recorder, window)).fetchone() == (True,)


def all_witnesses(connection: Connection, window: Interval, held: Held) -> set[str]:
    """The calls of all recorders that start in the window, are known from elsewhere, and that the history must show."""
    with translate(name_of(connection)), connection.transaction():
        return {row[0] for row in connection.execute(_ALL_WITNESSES, held.values(None, window))}


def nearest_witness(connection: Connection, recorder: str, window: Interval, held: Held) -> datetime | None:
    """The start of the witness outside of the window that is nearest to it; None where none is within `FARTHEST`."""
    reach = {"farthest_before": window.start - FARTHEST, "farthest_after": window.end + FARTHEST}
    with translate(name_of(connection)), connection.transaction():
        found = [row[0] for row in connection.execute(_NEAREST, held.values(recorder, window) | reach)]
    return min(found, key=lambda at: max(window.start - at, at - window.end), default=None)


def unresolved(connection: Connection, now: datetime) -> list[Unresolved]:
    """Every call that is `ended`, `lost`, or `ongoing` and stale (absent from the last good list, or of a recorder
    without a live session), and is neither accepted nor erased; by their time."""
    values = {"late": now - OVERDUE, "untimed": UNTIMED}
    with translate(name_of(connection)), connection.transaction():
        return [Unresolved(*row) for row in connection.execute(_FIND_UNRESOLVED, values)]


def note_reads(connection: Connection, run: UUID, reads: Sequence[Read]) -> None:
    """Store what was read, and derive which gaps that fills, with the number of calls recovered in these.

    They are counted before they are marked: nobody looks at a filled gap again, so whoever is killed in between must
    leave one that is counted, or one that is open.
    """
    groups = {recorder: list(group) for recorder, group in groupby(sorted(reads, key=_recorder), key=_recorder)}
    counted: set[int] = set()
    filled: set[int] = set()
    with translate(name_of(connection)), connection.transaction(), connection.cursor() as cursor:
        for recorder, group in groups.items():
            good = union(each.part for each in group if each.verdict.good)
            counted.update(gaps.about_to_fill(cursor, recorder, _extent(group), good) if good else ())
    recount_gaps(connection, sorted(counted))
    with translate(name_of(connection)), connection.transaction(), connection.cursor() as cursor:
        for recorder, group in groups.items():
            filled.update(_note(cursor, run, recorder, group))
    recount_gaps(connection, sorted(filled - counted))  # those that came meanwhile


def _recorder(read: Read) -> str:
    return read.recorder


def _extent(reads: Sequence[Read]) -> Interval:
    return Interval(min(each.part.start for each in reads), max(each.part.end for each in reads))


def _note(cursor: Cursor, run: UUID, recorder: str, reads: Sequence[Read]) -> list[int]:
    gaps.lock(cursor, recorder)
    for each in reads:
        part, verdict = each.part, each.verdict
        cursor.execute(_SUPERSEDED, [recorder, part.start, part.end, each.source, each.read_at])
        told = None if verdict.good else verdict.told
        row = [run, recorder, part.start, part.end, each.read_at, each.source, verdict.good, verdict.witnesses, told]
        cursor.execute(_INSERT, row)
    return gaps.reclassify(cursor, recorder, _extent(reads))


def recount(connection: Connection, window: Interval) -> None:
    """Count again which calls only the history knows, for all gaps that overlap the window."""
    with translate(name_of(connection)), connection.transaction():
        numbers = [row[0] for row in connection.execute(_OVERLAPPING, [window.end, window.start])]
    recount_gaps(connection, numbers)


def recount_gaps(connection: Connection, numbers: Iterable[int]) -> None:
    """The same for these gaps; each in a transaction of its own, without keeping anybody waiting."""
    for number in numbers:
        with translate(name_of(connection)), connection.transaction(), connection.cursor() as cursor:
            gaps.recount(cursor, number)


def standing(connection: Connection, numbers: Sequence[int]) -> Mapping[int, Standing]:
    """Where these gaps stand now; one that is gone (its time turned out to be covered) is missing."""
    with translate(name_of(connection)), connection.transaction():
        return {row[0]: Standing(*row[1:]) for row in connection.execute(_STANDING, [list(numbers)])}


def states(connection: Connection, keys: Collection[tuple[str, datetime]]) -> Mapping[str | None, int]:
    """How many of these calls (id and the time in it) are stored in which state; None: not stored."""
    values = [[call_id for call_id, _ in keys], [time for _, time in keys]]
    with translate(name_of(connection)), connection.transaction():
        return {row[0]: row[1] for row in connection.execute(_STATES, values)}


def undoubted(connection: Connection, keys: Collection[tuple[str, datetime]]) -> set[str]:
    """Which of these calls are complete, with a start that nothing speaks against."""
    values = [[call_id for call_id, _ in keys], [time for _, time in keys]]
    with translate(name_of(connection)), connection.transaction():
        return {row[0] for row in connection.execute(_UNDOUBTED, values)}


_TRY_LOCK = "SELECT pg_try_advisory_lock(hashtextextended('cdr.gap_filler', 0))"


def try_lock(connection: Connection) -> bool:
    """Take the lock of those that fill gaps by themselves, for as long as this connection lives."""
    with translate(name_of(connection)), connection.transaction():
        return connection.execute(_TRY_LOCK).fetchone() == (True,)
