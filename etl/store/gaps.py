"""The table of gaps: the pure computation of `etl.calls.gaps`, kept up to date from a moment on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from etl.calls import coverage
from etl.calls.gaps import Gap, SessionSpan, classify, gaps_since, session_span
from etl.calls.intervals import Spans, span, union
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

_ACCEPTED = """
SELECT from_time, to_time FROM cdr.gap_acceptance
WHERE recorder = %(recorder)s AND to_time > %(since)s ORDER BY from_time
"""


def recompute(cursor: Cursor, recorder: str, since: datetime, margin: timedelta) -> Mapping[str, float]:
    """Bring the gaps of a recorder up to date, given that nothing has changed before `since`.

    A gap keeps its id for as long as it begins at the same moment. Two writers take turns per recorder: the lock
    comes before the reading, so the second sees what the first has committed. Returns by how many seconds the gaps
    that have an end have grown, by reason.
    """
    cursor.execute(_LOCK, [recorder])
    known = _known(cursor, recorder, since)
    return _store(cursor, recorder, since, known, margin)


def rebuild(cursor: Cursor, recorder: str, margin: timedelta) -> None:
    """Derive all gaps of a recorder again, after something was accepted or the recorder retired."""
    cursor.execute(_LOCK, [recorder])
    _store(cursor, recorder, BEGINNING, {}, margin)


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
    accepted = _accepted(cursor, recorder, min((gap.start for gap in changed), default=since))
    cursor.executemany(_UPSERT, [_row(recorder, gap, accepted) for gap in changed])
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


def _accepted(cursor: Cursor, recorder: str, since: datetime) -> Spans:
    """The times after `since` that someone accepted as gone for good."""
    rows = cursor.execute(_ACCEPTED, {"recorder": recorder, "since": since})
    return union(*(span(start, end) for start, end in rows))


def _row(recorder: str, gap: Gap, accepted: Spans) -> tuple[object, ...]:
    state = classify(gap, (), accepted)
    return (recorder, gap.start, gap.end, gap.reason, sorted(gap.extensions), state)


def _known(cursor: Cursor, recorder: str, since: datetime) -> dict[datetime, Gap]:
    rows = cursor.execute(_KNOWN, {"recorder": recorder, "since": since}).fetchall()
    return {start: Gap(start, end, reason, frozenset(extensions)) for start, end, reason, extensions in rows}


def _sessions(cursor: Cursor, recorder: str, since: datetime, margin: timedelta) -> list[SessionSpan]:
    rows = cursor.execute(_SESSIONS, {"recorder": recorder, "since": since}).fetchall()
    found = (session_span(coverage.load(row[0]), margin) for row in rows)
    return [each for each in found if each is not None]
