"""The table of gaps: the pure computation of `etl.calls.gaps`, kept up to date from a moment on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from etl.calls import coverage
from etl.calls.gaps import Gap, SessionSpan, gaps_since, session_span
from etl.store.database import Cursor

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
INSERT INTO cdr.gap (recorder, from_time, to_time, reason, extensions) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (recorder, from_time) DO UPDATE
SET to_time = excluded.to_time, reason = excluded.reason, extensions = excluded.extensions, state = 'open'
"""


def recompute(cursor: Cursor, recorder: str, since: datetime, margin: timedelta) -> Mapping[str, float]:
    """Bring the gaps of a recorder up to date, given that nothing has changed before `since`.

    A gap keeps its id for as long as it begins at the same moment. Two writers take turns per recorder: the lock
    comes before the reading, so the second sees what the first has committed. Returns by how many seconds the gaps
    that have an end have grown, by reason.
    """
    cursor.execute(_LOCK, [recorder])
    values = {"recorder": recorder, "since": since}
    known = {gap.start: gap for gap in _known(cursor, values)}
    wanted = {gap.start: gap for gap in gaps_since(since, known.values(), _sessions(cursor, values, margin))}
    gone = [start for start in known if start not in wanted]
    if gone:
        cursor.execute("DELETE FROM cdr.gap WHERE recorder = %s AND from_time = ANY(%s)", [recorder, gone])
    changed = [gap for start, gap in wanted.items() if known.get(start) != gap]
    cursor.executemany(_UPSERT, [_row(recorder, gap) for gap in changed])
    grown: defaultdict[str, float] = defaultdict(float)
    for gap in changed:
        grown[gap.reason] += max(0.0, _seconds(gap) - _seconds(known.get(gap.start)))
    return {reason: seconds for reason, seconds in grown.items() if seconds}


def _seconds(gap: Gap | None) -> float:
    return (gap.end - gap.start).total_seconds() if gap and gap.end else 0.0


def _row(recorder: str, gap: Gap) -> tuple[object, ...]:
    return (recorder, gap.start, gap.end, gap.reason, sorted(gap.extensions))


def _known(cursor: Cursor, values: dict[str, object]) -> Iterable[Gap]:
    rows = cursor.execute(_KNOWN, values).fetchall()
    return [Gap(start, end, reason, frozenset(extensions)) for start, end, reason, extensions in rows]


def _sessions(cursor: Cursor, values: dict[str, object], margin: timedelta) -> list[SessionSpan]:
    rows = cursor.execute(_SESSIONS, values).fetchall()
    spans = (session_span(coverage.load(row[0]), margin) for row in rows)
    return [span for span in spans if span is not None]
