"""Sessions with the state of their coverage, and who still owns them.

The journal of a session is the truth about it: what is stored here is the fold over the entries up to the
checkpoint, and moves in the same transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb
from psycopg.types.multirange import TimestamptzMultirange
from psycopg.types.range import Range

from etl.calls import coverage
from etl.calls.coverage import Reading, SessionState
from etl.calls.intervals import Spans, span, subtract, union
from etl.calls.repeats import comes_again
from etl.store import gaps
from etl.store.database import Connection, Cursor, name_of
from etl.store.errors import translate

_UPSERT = """
INSERT INTO cdr.session (id, recorder, worker, extensions, opened_at, subscribed_at, closed_at, reason, coverage,
    last_read_at, fold)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (id) DO UPDATE SET subscribed_at = excluded.subscribed_at, closed_at = excluded.closed_at,
    reason = excluded.reason, coverage = excluded.coverage, last_read_at = excluded.last_read_at, fold = excluded.fold
"""


def store(cursor: Cursor, states: Sequence[SessionState], margin: timedelta) -> Mapping[tuple[str, str], float]:
    """Store where these sessions stand, and the gaps of their recorders from the first moment that changed.

    Call it in the batch's transaction, after the calls were locked. Returns the seconds of gaps that ended, by
    recorder and reason.
    """
    latest = {state.id: state for state in states}
    ordered = [latest[key] for key in sorted(latest)]
    stored = _stored(cursor, list(latest))
    cursor.executemany(_UPSERT, [_row(state, margin) for state in ordered])
    changed: dict[str, datetime] = {}
    for state in ordered:
        since = changed_since(stored.get(state.id), state, margin)
        if since is not None:
            changed[state.recorder] = min(since, changed.get(state.recorder, since))
    seconds: dict[tuple[str, str], float] = {}
    for recorder in sorted(changed):
        ended = gaps.recompute(cursor, recorder, changed[recorder], margin)
        seconds |= {(recorder, reason): length for reason, length in ended.items()}
    return seconds


def changed_since(old: SessionState | None, new: SessionState, margin: timedelta) -> datetime | None:
    """The first moment for which the recorder's gaps can differ; None where nothing but time went on.

    A live session that reads on only turns pending time into covered time, which is no gap either way.
    """
    if new.subscribed_at is None:
        return None
    if old is None or old.subscribed_at is None:
        return new.subscribed_at
    if _shape(old, margin) == _shape(new, margin):
        return None
    before, after = coverage.covered(old, margin), coverage.covered(new, margin)
    differs = [span.start for span in (*subtract(before, after), *subtract(after, before))]
    broke = [each.at for each in set(old.breaks) ^ set(new.breaks)]
    # What a live session has taken back is pending again, from the end of what is left.
    ends = [spans[-1].end if spans else old.subscribed_at for spans in (before, after)]
    return min([*ends, *differs, *broke])


def _shape(state: SessionState, margin: timedelta) -> tuple[object, ...]:
    """All of a session but the end of its last piece of coverage, which moves while it lives."""
    return state.live, state.breaks, [span.start for span in coverage.covered(state, margin)]


def _row(state: SessionState, margin: timedelta) -> tuple[Any, ...]:
    covered = TimestamptzMultirange(Range(span.start, span.end) for span in coverage.covered(state, margin))
    return (
        state.id,
        state.recorder,
        state.worker,
        list(state.extensions),
        state.opened_at,
        state.subscribed_at,
        state.closed_at,
        state.reason,
        covered,
        state.last_read,
        Jsonb(coverage.dump(state)),
    )


def _stored(cursor: Cursor, ids: list[UUID]) -> dict[UUID, SessionState]:
    rows = cursor.execute("SELECT fold FROM cdr.session WHERE id = ANY(%s) ORDER BY id FOR UPDATE", [ids])
    return {state.id: state for state in _loaded(rows)}


def _loaded(rows: Iterable[tuple[Any, ...]]) -> list[SessionState]:
    return [coverage.load(row[0]) for row in rows]


def load_sessions(connection: Connection, journal: UUID) -> list[SessionState]:
    """The sessions of a journal that live, as far as it is stored: what a loader goes on from."""
    query = "SELECT fold FROM cdr.session WHERE worker = %s AND closed_at IS NULL ORDER BY opened_at, id"
    with translate(name_of(connection)), connection.transaction():
        return _loaded(connection.execute(query, [str(journal)]))


def sessions_after(connection: Connection, journal: UUID, after: datetime) -> list[SessionState]:
    """The sessions of a journal, ended ones too, that cover any time after a moment."""
    query = "SELECT fold FROM cdr.session WHERE worker = %s AND upper(coverage) > %s ORDER BY opened_at, id"
    with translate(name_of(connection)), connection.transaction():
        return _loaded(connection.execute(query, [str(journal), after]))


def close_session(
    connection: Connection, session: UUID, at: datetime, reason: str, margin: timedelta
) -> Mapping[tuple[str, str], float] | None:
    """End a session whose owner is gone, with the gap that follows; None where it has ended already.

    Returns what `store` returns: where another session covers already, the gap has its end at once.
    Should its owner come back with the journal, what that tells replaces this word.
    """
    with translate(name_of(connection)), connection.transaction(), connection.cursor() as cursor:
        state = _stored(cursor, [session]).get(session)
        if state is None or not state.live:
            return None
        ended = max(at, state.opened_at, state.last_read or at)
        return store(cursor, [coverage.closed(state, ended, reason, margin)], margin)


AHEAD = timedelta(days=1)
"""How far a clock can have been set back for what another machine covered to come again. Beyond that it is this clock
that is wrong: it will be set right, and must not undo the history meanwhile."""


def withdraw_repeated(
    connection: Connection, recorders: Sequence[str], reading: Reading, margin: timedelta
) -> Mapping[tuple[str, str], float]:
    """Take back what ended sessions have covered of times that come a second time, or will.

    That is what a session on this machine covered before its clock was set back, also where it has caught up or was
    set right since; and of these recorders what lies in the future, whichever machine covered it. Returns what `store`
    returns."""
    with translate(name_of(connection)), connection.transaction(), connection.cursor() as cursor:
        again = comes_again(_since_boot(cursor, reading.boot), reading)
        doubtful = _doubtful(cursor, again, recorders, reading.now)
        left = [coverage.taken_back(state, away) for state, away in doubtful]
        changed = [state for state, (before, _) in zip(left, doubtful, strict=True) if state != before]
        return store(cursor, changed, margin) if changed else {}


def _since_boot(cursor: Cursor, boot: str | None) -> list[SessionState]:
    """All sessions that lived on this machine since it started."""
    return _loaded(cursor.execute("SELECT fold FROM cdr.session WHERE fold ->> 'boot' = %s", [boot]))


_DOUBTFUL = """
SELECT s.fold FROM cdr.session s LEFT JOIN unnest(%s::uuid[], %s::timestamptz[]) AS again (id, after) USING (id)
WHERE s.closed_at IS NOT NULL
    AND (upper(s.coverage) > again.after OR s.recorder = ANY(%s) AND upper(s.coverage) > %s)
ORDER BY id FOR UPDATE OF s
"""


def _doubtful(
    cursor: Cursor, again: Mapping[UUID, Spans], recorders: Sequence[str], now: datetime
) -> list[tuple[SessionState, Spans]]:
    """The ended sessions that may cover what comes again, locked, and what that is."""
    after = [spans[0].start for spans in again.values()]
    rows = cursor.execute(_DOUBTFUL, [list(again), after, list(recorders), now + coverage.CLOCK_STEP])
    future = span(now, now + AHEAD)
    return [
        (state, union(again.get(state.id, ()), future if state.recorder in recorders and _ahead(state, now) else ()))
        for state in _loaded(rows)
    ]


def _ahead(state: SessionState, now: datetime) -> bool:
    return bool(state.coverage) and state.coverage[-1].end > now + coverage.CLOCK_STEP


_OWNER = "hashtextextended('cdr.owner.' || %s, 0)"


def hold_owner_lock(connection: Connection, journal: UUID) -> bool:
    """Show, for as long as this connection lives, that the journal's owner lives; False where another one does."""
    with translate(name_of(connection)), connection.transaction():
        row = connection.execute(f"SELECT pg_try_advisory_lock({_OWNER})", [str(journal)]).fetchone()
    return row == (True,)


_OWNERLESS = """
SELECT s.fold FROM cdr.session s
WHERE s.closed_at IS NULL AND NOT EXISTS (
    SELECT FROM pg_locks l
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND (l.classid::bigint << 32 | l.objid::bigint) = hashtextextended('cdr.owner.' || s.worker, 0)
)
ORDER BY s.opened_at, s.id
"""


def ownerless(connection: Connection) -> list[SessionState]:
    """Live sessions whose owner shows no sign of life here. It may only have lost its connection for the moment:
    end them by `close_session` when their `last_read` lies well back and their journal is not here to adopt."""
    with translate(name_of(connection)), connection.transaction():
        return ownerless_in(connection)


def ownerless_in(connection: Connection) -> list[SessionState]:
    """The same inside a transaction of the caller."""
    return _loaded(connection.execute(_OWNERLESS))
