"""The table of gaps: the pure computation of `etl.calls.gaps`, kept up to date from a moment on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Self

from etl.calls import coverage
from etl.calls.gaps import Gap, GapState, SessionSpan, classify, gaps_since, session_span
from etl.calls.intervals import Spans, span, union
from etl.model import Interval
from etl.store.database import Cursor

BEGINNING = datetime.min.replace(tzinfo=UTC)

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('cdr.gaps.' || %s, 0))"

_SESSIONS = """
SELECT fold FROM cdr.session
WHERE recorder = %(recorder)s AND subscribed_at IS NOT NULL AND (closed_at IS NULL OR closed_at >= %(since)s)
UNION ALL
(SELECT fold FROM cdr.session
WHERE recorder = %(recorder)s AND subscribed_at IS NOT NULL AND closed_at < %(since)s
ORDER BY subscribed_at DESC, (extensions = '{}') DESC, cardinality(extensions) DESC LIMIT 1)
"""

_KNOWN = """
SELECT from_time, to_time, reason, extensions FROM cdr.gap
WHERE recorder = %(recorder)s AND (to_time IS NULL OR to_time >= %(since)s)
"""

_UPSERT = """
INSERT INTO cdr.gap (recorder, from_time, to_time, reason, extensions, state) VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (recorder, from_time) DO UPDATE
SET to_time = excluded.to_time, reason = excluded.reason, extensions = excluded.extensions, state = excluded.state
"""

_DELETE = """
DELETE FROM cdr.gap
WHERE recorder = %(recorder)s AND (to_time IS NULL OR to_time >= %(since)s)
  AND from_time <> ALL(%(kept)s::timestamptz[])
"""

_FILLED = """
SELECT from_time, to_time FROM cdr.history_read
WHERE recorder = %(recorder)s AND to_time > %(since)s AND good ORDER BY from_time
"""

_ACCEPTED = """
SELECT from_time, to_time FROM cdr.gap_acceptance
WHERE recorder = %(recorder)s AND to_time > %(since)s ORDER BY from_time
"""

_OVERLAPPING = """
SELECT id, from_time, to_time, reason, extensions, state FROM cdr.gap
WHERE recorder = %(recorder)s AND from_time < %(end)s AND (to_time IS NULL OR to_time > %(start)s)
"""

_IDS = "SELECT id FROM cdr.gap WHERE recorder = %s AND from_time = ANY(%s)"

_RECOUNT = """
UPDATE cdr.gap g SET calls_recovered = n.calls
FROM (
    SELECT count(c.call_id) AS calls FROM cdr.gap g LEFT JOIN cdr.call c
      ON c.recorder = g.recorder AND c.start_time >= g.from_time AND c.start_time < coalesce(g.to_time, 'infinity')
      AND NOT EXISTS (
        SELECT FROM cdr.fact f WHERE f.call_id = c.call_id AND f.id_time = c.id_time AND f.recorder IS NOT NULL)
    WHERE g.id = %(gap)s
) n
WHERE g.id = %(gap)s AND g.calls_recovered <> n.calls
"""
"""Calls that start in a gap and that only the history has shown: no recorder's stream ever did."""


def recompute(cursor: Cursor, recorder: str, since: datetime, margin: timedelta) -> Mapping[str, float]:
    """Bring the gaps of a recorder up to date, given that nothing has changed before `since`.

    A gap keeps its id for as long as it begins at the same moment. Two writers take turns per recorder: the lock
    comes before the reading, so the second sees what the first has committed. Returns by how many seconds the gaps
    that have an end have grown, by reason.
    """
    lock(cursor, recorder)
    known = _known(cursor, recorder, since)
    return _store(cursor, recorder, since, known, margin)


def rebuild(cursor: Cursor, recorder: str, margin: timedelta) -> None:
    """Derive all gaps of a recorder again, after something was accepted or the recorder retired."""
    lock(cursor, recorder)
    _store(cursor, recorder, BEGINNING, {}, margin)


def lock(cursor: Cursor, recorder: str) -> None:
    """Whoever changes what a recorder's gaps follow from takes turns with the others, until the transaction ends."""
    cursor.execute(_LOCK, [recorder])


def reclassify(cursor: Cursor, recorder: str, window: Interval) -> list[int]:
    """Say anew of the gaps that overlap the window whether they are filled, after something of it was read.

    Their times cannot have changed by that. To be called under the recorder's lock. Returns the ids of those that
    became filled, whose calls are to be counted (`recount`) when the lock is gone.
    """
    found = _overlapping(cursor, recorder, window)
    known = _Known.read(cursor, recorder, [gap for _, gap, _ in found])
    changed = [(known.state(gap), number) for number, gap, state in found if known.state(gap) != state]
    cursor.executemany("UPDATE cdr.gap SET state = %s WHERE id = %s", changed)
    return [number for state, number in changed if state is GapState.FILLED]


def about_to_fill(cursor: Cursor, recorder: str, window: Interval, read: Spans) -> list[int]:
    """The ids of the gaps in the window that good reads of these spans are going to fill, as far as is known now."""
    found = _overlapping(cursor, recorder, window)
    known = _Known.read(cursor, recorder, [gap for _, gap, _ in found])
    then = replace(known, filled=union(known.filled, read))
    unfilled = [(number, gap) for number, gap, state in found if state != GapState.FILLED]
    return [number for number, gap in unfilled if then.state(gap) is GapState.FILLED]


def _overlapping(cursor: Cursor, recorder: str, window: Interval) -> list[tuple[int, Gap, str]]:
    """The gaps of a recorder that overlap the window: id, gap and state."""
    values = {"recorder": recorder, "start": window.start, "end": window.end}
    rows = cursor.execute(_OVERLAPPING, values).fetchall()
    return [(row[0], Gap(row[1], row[2], row[3], frozenset(row[4])), row[5]) for row in rows]


def recount(cursor: Cursor, number: int) -> None:
    """Count the calls of a gap that the history recovered. That goes through all its calls: only where it matters."""
    cursor.execute(_RECOUNT, {"gap": number})


def _store(
    cursor: Cursor, recorder: str, since: datetime, known: Mapping[datetime, Gap], margin: timedelta
) -> Mapping[str, float]:
    retired = _retired_at(cursor, recorder)
    lasting = [replace(gap, end=None) if gap.end == retired else gap for gap in known.values()]
    found = gaps_since(since, lasting, _sessions(cursor, recorder, since, margin))
    wanted = {gap.start: gap for gap in _until(found, retired)}
    values = {"recorder": recorder, "since": since, "kept": list(wanted)}
    cursor.execute(_DELETE, values)
    changed = [gap for start, gap in wanted.items() if known.get(start) != gap]
    states = _Known.read(cursor, recorder, changed)
    cursor.executemany(_UPSERT, [_row(recorder, gap, states.state(gap)) for gap in changed])
    filled = [gap.start for gap in changed if states.state(gap) is GapState.FILLED]
    for (number,) in cursor.execute(_IDS, [recorder, filled]).fetchall() if filled else ():
        recount(cursor, number)
    grown: defaultdict[str, float] = defaultdict(float)
    for gap in changed:
        grown[gap.reason] += max(0.0, _seconds(gap) - _seconds(known.get(gap.start)))
    return {reason: seconds for reason, seconds in grown.items() if seconds}


def _until(gaps: Iterable[Gap], retired: datetime | None) -> Iterator[Gap]:
    """The gaps of a recorder's timeline, which ends where the recorder was retired."""
    for gap in gaps:
        if retired is None or (gap.end is not None and gap.end <= retired):
            yield gap
        elif gap.start < retired:
            yield replace(gap, end=retired)


def _retired_at(cursor: Cursor, recorder: str) -> datetime | None:
    row = cursor.execute("SELECT retired_at FROM cdr.recorder WHERE name = %s", [recorder]).fetchone()
    return row[0] if row else None


def _seconds(gap: Gap | None) -> float:
    return (gap.end - gap.start).total_seconds() if gap and gap.end else 0.0


@dataclass(frozen=True, slots=True)
class _Known:
    """The times that were filled from the history, and those that someone accepted as gone for good."""

    filled: Spans
    accepted: Spans

    @classmethod
    def read(cls, cursor: Cursor, recorder: str, gaps: Sequence[Gap]) -> Self:
        """As far as they matter to these gaps."""
        if not gaps:
            return cls((), ())
        values = {"recorder": recorder, "since": min(gap.start for gap in gaps)}
        return cls(*(union(*(span(*row) for row in cursor.execute(query, values))) for query in (_FILLED, _ACCEPTED)))

    def state(self, gap: Gap) -> GapState:
        return classify(gap, self.filled, self.accepted)


def _row(recorder: str, gap: Gap, state: GapState) -> tuple[object, ...]:
    return (recorder, gap.start, gap.end, gap.reason, sorted(gap.extensions), state)


def _known(cursor: Cursor, recorder: str, since: datetime) -> dict[datetime, Gap]:
    rows = cursor.execute(_KNOWN, {"recorder": recorder, "since": since}).fetchall()
    return {start: Gap(start, end, reason, frozenset(extensions)) for start, end, reason, extensions in rows}


def _sessions(cursor: Cursor, recorder: str, since: datetime, margin: timedelta) -> list[SessionSpan]:
    rows = cursor.execute(_SESSIONS, {"recorder": recorder, "since": since}).fetchall()
    found = (session_span(coverage.load(row[0]), margin) for row in rows)
    return [each for each in found if each is not None]
