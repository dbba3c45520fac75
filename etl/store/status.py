"""What `cdr status` shows of the database: one consistent look, as plain values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, select

from etl.calls import coverage
from etl.calls.coverage import SessionState
from etl.calls.gaps import pending, session_span
from etl.calls.intervals import Spans, intersect, span, union
from etl.model import State
from etl.store import history_reads, sessions
from etl.store.amiss import NOTHING, Amiss, amiss
from etl.store.database import Connection, name_of, run
from etl.store.errors import translate
from etl.store.schema import call, checkpoint, gap, quarantine

_ASIDES = """
SELECT n.name, r.retired_at, s.closed_at, s.reason, t.told
FROM (SELECT name FROM cdr.recorder UNION SELECT DISTINCT recorder FROM cdr.session) n
LEFT JOIN cdr.recorder r ON r.name = n.name
LEFT JOIN LATERAL (
    SELECT closed_at, reason FROM cdr.session
    WHERE recorder = n.name AND closed_at IS NOT NULL ORDER BY closed_at DESC LIMIT 1
) s ON true
LEFT JOIN LATERAL (
    SELECT told FROM cdr.reconcile_run
    WHERE recorder = n.name AND finished_at IS NOT NULL ORDER BY started_at DESC LIMIT 1
) t ON true
"""


@dataclass(frozen=True, slots=True)
class SessionStatus:
    """A session that lives as far as the database knows; `owned` is whether its worker shows signs of life."""

    id: UUID
    worker: str
    extensions: tuple[str, ...]
    opened_at: datetime
    subscribed_at: datetime | None
    last_read_at: datetime | None
    owned: bool


@dataclass(frozen=True, slots=True)
class GapStatus:
    """A gap that is neither filled nor accepted; `to_time` is None while it lasts.

    `told` is why the last read of the history proves nothing of it; None where it was not read.
    """

    id: int
    from_time: datetime
    to_time: datetime | None
    reason: str
    extensions: tuple[str, ...]
    told: str | None = None


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """When a session ended, and why: one of the words used for gaps."""

    at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class RecorderStatus:
    """One recorder. `coverage` and `pending` lie in the time asked for, as does the start of `calls` (by state).

    `unresolved` counts all calls without a finished record, by state; `amiss` what is missing and not accepted.
    `overdue` repeats its count of calls that ended more than five minutes ago. `last_end` is how the session that
    ended last came to its end, `refused_list` why the newest reconciliation failed, None where it did not;
    `retired_at` when the recorder's timeline ended.
    """

    name: str
    sessions: tuple[SessionStatus, ...]
    coverage: Spans
    pending: Spans
    open_gaps: tuple[GapStatus, ...]
    calls: Mapping[str, int]
    unresolved: Mapping[str, int]
    overdue: int
    amiss: Amiss = NOTHING
    last_end: SessionEnd | None = None
    refused_list: str | None = None
    retired_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """The archive as of `at`. `lag` is `at` minus the receipt of the newest document stored, None before the first.

    `quarantined` counts open rows by recorder (None: history) and reason; `absurd_times` the rows in the default
    partition; `amiss_elsewhere` what is missing of calls that no recorder is known for.
    """

    at: datetime
    since: datetime
    recorders: tuple[RecorderStatus, ...]
    lag: timedelta | None
    quarantined: Mapping[tuple[str | None, str], int]
    absurd_times: int
    amiss_elsewhere: Amiss = NOTHING


def status(connection: Connection, now: datetime, margin: timedelta, span_: timedelta = timedelta(days=1)) -> Status:
    """Look at the archive in one snapshot, over the last `span_` where a time is asked for."""
    with translate(name_of(connection)), connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        return _Look(connection, now, now - span_, margin).status()


class _Look:
    """The queries of one status, each for all recorders at once."""

    def __init__(self, connection: Connection, now: datetime, since: datetime, margin: timedelta) -> None:
        self._connection = connection
        self._now = now
        self._since = since
        self._margin = margin

    def status(self) -> Status:
        gaps, calls, unresolved = self._gaps(), self._calls(), self._unresolved()
        missing, states, asides = amiss(self._connection, self._now), self._sessions(), self._asides()
        free = {state.id for state in sessions.ownerless_in(self._connection)}
        names = {str(name) for name in (*gaps, *calls, *unresolved, *states, *asides) if name is not None}
        newest = run(self._connection, select(func.max(checkpoint.c.observed_at))).fetchone()
        return Status(
            at=self._now,
            since=self._since,
            recorders=tuple(
                replace(
                    self._recorder(
                        name, states[name], free, gaps[name], calls[name], unresolved[name], missing.get(name, NOTHING)
                    ),
                    **asides.get(name, {}),
                )
                for name in sorted(names)
            ),
            lag=self._now - newest[0] if newest and newest[0] else None,
            quarantined=self._quarantined(),
            absurd_times=self._absurd_times(),
            amiss_elsewhere=missing.get(None, NOTHING),
        )

    def _recorder(
        self,
        name: str,
        states: list[SessionState],
        free: set[UUID],
        gaps: list[GapStatus],
        calls: Mapping[str, int],
        unresolved: Mapping[str, int],
        missing: Amiss,
    ) -> RecorderStatus:
        window = span(self._since, self._now)
        spans = [each for state in states if (each := session_span(state, self._margin))]
        live = [_session(state, state.id not in free) for state in states if state.live]
        covered = intersect(window, union(*(coverage.covered(state, self._margin) for state in states)))
        waiting = intersect(window, pending(spans))
        return RecorderStatus(
            name, tuple(live), covered, waiting, tuple(gaps), calls, unresolved, missing.overdue, missing
        )

    def _sessions(self) -> Mapping[str, list[SessionState]]:
        """Sessions that live or ended in the time asked for."""
        query = "SELECT fold FROM cdr.session WHERE closed_at IS NULL OR closed_at >= %s ORDER BY opened_at, id"
        found: defaultdict[str, list[SessionState]] = defaultdict(list)
        for row in self._connection.execute(query, [self._since]):
            state = coverage.load(row[0])
            found[state.recorder].append(state)
        return found

    def _gaps(self) -> Mapping[str, list[GapStatus]]:
        c = gap.c
        query = select(c.recorder, c.id, c.from_time, c.to_time, c.reason, c.extensions)
        found: defaultdict[str, list[GapStatus]] = defaultdict(list)
        rows = run(self._connection, query.where(c.state == "open").order_by(c.from_time)).fetchall()
        standing = history_reads.standing(self._connection, [row[1] for row in rows])
        for name, number, start, end, reason, extensions in rows:
            gap_ = GapStatus(number, start, end, reason, tuple(extensions), standing[number].told)
            found[name].append(gap_)
        return found

    def _calls(self) -> Mapping[str, Mapping[str, int]]:
        query = select(call.c.recorder, call.c.state, func.count()).where(call.c.start_time >= self._since)
        return _by_recorder(run(self._connection, query.group_by(call.c.recorder, call.c.state)))

    def _unresolved(self) -> Mapping[str, Mapping[str, int]]:
        query = select(call.c.recorder, call.c.state, func.count()).where(call.c.state != State.COMPLETE.value)
        return _by_recorder(run(self._connection, query.group_by(call.c.recorder, call.c.state)))

    def _asides(self) -> Mapping[str, dict[str, Any]]:
        """Of each recorder ever configured or heard: its retirement, its last session's end, its last error."""
        found: dict[str, dict[str, Any]] = {}
        for name, retired_at, closed_at, reason, told in self._connection.execute(_ASIDES):
            ended = SessionEnd(closed_at, reason or "unknown") if closed_at else None
            found[name] = {"retired_at": retired_at, "last_end": ended, "refused_list": told}
        return found

    def _quarantined(self) -> Mapping[tuple[str | None, str], int]:
        c = quarantine.c
        query = select(c.recorder, c.reason, func.count()).where(c.state == "open").group_by(c.recorder, c.reason)
        return {(name, reason): count for name, reason, count in run(self._connection, query)}

    def _absurd_times(self) -> int:
        row = self._connection.execute("SELECT count(*) FROM cdr.call_default").fetchone()
        return int(row[0]) if row else 0


def _session(state: SessionState, owned: bool) -> SessionStatus:
    return SessionStatus(
        id=state.id,
        worker=state.worker,
        extensions=state.extensions,
        opened_at=state.opened_at,
        subscribed_at=state.subscribed_at,
        last_read_at=state.last_read,
        owned=owned,
    )


def _by_recorder(rows: Any) -> Mapping[str, Mapping[str, int]]:
    found: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for name, state, count in rows:
        found[name][state] = count
    return found
