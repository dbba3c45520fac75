"""The database as the product sees it, in memory: the merge is its oracle, everything else a few lines of Python.

Each function stands in the place of the one of the same name in `etl.store`. Where a world has a real PostgreSQL
(`explore.mirror`), it is asked the same, and must say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import SimpleNamespace, TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID

from explore.threads import here, world
from explore.world import Process, World
from support.merge_oracle import Row, keep, merge

from etl.calls import coverage
from etl.calls.coverage import Reading, SessionState
from etl.calls.intervals import span, union
from etl.calls.reconcile import Action, Stored
from etl.calls.repeats import comes_again
from etl.errors import DatabaseUnavailable
from etl.model import FINISHED, Fact, Kind, Quarantined, State
from etl.store.errors import CheckpointMoved
from etl.store.pending import Counts, Owed
from etl.store.reconcile import Result, Run
from etl.store.recorders import Recorder
from etl.store.sessions import AHEAD
from etl.store.write import Batch, Completed, Written

T = TypeVar("T")

_ENDS = {Kind.END, *FINISHED}


@dataclass(eq=False)
class Connected:
    """A connection to the database; it breaks with its process, and when the database is cut off."""

    archive: Archive
    process: Process
    open: bool = True
    real: Any = None

    def check(self) -> Archive:
        if not self.open or self.archive.away or self.process.dead:
            self.close()
            raise DatabaseUnavailable("database: the connection is lost")
        return self.archive

    def close(self) -> None:
        if self.open:
            self.open = False
            self.archive.release(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass
class Ran:
    """A run as it is noted."""

    run: Run
    finished_at: datetime | None = None
    result: Result | None = None
    actions: tuple[Action, ...] = ()


@dataclass
class Archive:
    """What is stored, and how the database is at the moment."""

    world: World
    away: bool = False
    slow: float = 0.0
    lose_answers: int = 0
    facts: dict[str, list[Fact]] = field(default_factory=dict)
    quarantined: list[Quarantined] = field(default_factory=list)
    sessions: dict[UUID, SessionState] = field(default_factory=dict)
    checkpoints: dict[UUID, int] = field(default_factory=dict)
    runs: dict[UUID, Ran] = field(default_factory=dict)
    owners: dict[UUID, Connected] = field(default_factory=dict)
    locks: dict[str, Connected] = field(default_factory=dict)
    connections: list[Connected] = field(default_factory=list)
    mirror: Any = None
    on_entered: Callable[[Row], None] = lambda row: None
    """Told of every call that enters a state."""
    on_covered: Callable[[SessionState], None] = lambda state: None
    """Told of every session that is stored anew."""
    _rows: dict[str, Row] = field(default_factory=dict)

    def connect(self, process: Process) -> Connected:
        """Open a connection, as `etl.store.database.connect` does."""
        process.park(self.world.dice.expovariate(1 / 0.003))
        if self.away:
            raise DatabaseUnavailable("database: out of reach")
        connected = Connected(self, process)
        self.connections.append(connected)
        process.closers.append(connected.close)
        if self.mirror is not None:
            self.mirror.connect(connected)
        return connected

    def release(self, connected: Connected) -> None:
        self.owners = {key: owner for key, owner in self.owners.items() if owner is not connected}
        self.locks = {key: owner for key, owner in self.locks.items() if owner is not connected}
        self.connections.remove(connected)
        if connected.real is not None:
            self.mirror.disconnect(connected)

    def cut(self) -> None:
        """All connections break."""
        for connected in list(self.connections):
            connected.close()

    def row(self, call_id: str) -> Row:
        if call_id not in self._rows:
            self._rows[call_id] = merge(self.facts[call_id])
        return self._rows[call_id]

    def rows(self) -> dict[str, Row]:
        return {call_id: self.row(call_id) for call_id in self.facts}

    def add(self, facts: Iterable[Fact]) -> set[str]:
        changed = set()
        for fact in facts:
            self.facts.setdefault(fact.call_id, []).append(fact)
            self._rows.pop(fact.call_id, None)
            changed.add(fact.call_id)
        return changed

    def news(self, sightings: Sequence[Fact], at_hand: Collection[str]) -> list[Fact]:
        return [each for each in sightings if each.call_id in at_hand or not self._sighted(each)]

    def _sighted(self, sighting: Fact) -> bool:
        if sighting.call_id not in self.facts or self.row(sighting.call_id).state is not State.ONGOING:
            return False
        known = keep(self.facts[sighting.call_id]).get(Kind.LIST)
        return known is not None and known.fact.digest == sighting.digest


class MemoryWriter:
    """`etl.store.write.Writer`."""

    def __init__(self, connection: Connected, *, margin: timedelta, now: Any) -> None:
        self._connection = connection
        self._archive = connection.check()
        self._margin = margin
        self._known: dict[UUID, int] = {}
        self._real = self._archive.mirror.writer(connection, margin) if connection.real is not None else None

    def checkpoint(self, journal: UUID) -> int:
        self._connection.check()
        self._known[journal] = self._archive.checkpoints.get(journal, 0)
        if self._real is not None:
            self._archive.mirror.same("checkpoint", self._known[journal], self._real.checkpoint(journal))
        return self._known[journal]

    def ping(self) -> None:
        self._connection.check()

    def write(self, batch: Batch) -> Written:
        archive, dice = self._archive, self._archive.world.dice
        here().park(dice.expovariate(1 / 0.004) + archive.slow)
        self._connection.check()
        written = self._commit(batch)
        here().park(dice.expovariate(1 / 0.001))
        if archive.lose_answers:
            archive.lose_answers -= 1
            archive.world.say("database: the answer to a commit is lost")
            self._connection.close()
        self._connection.check()
        if batch.journal is not None and batch.checkpoint is not None:
            self._known[batch.journal] = batch.checkpoint
        return written

    def _commit(self, batch: Batch) -> Written:
        archive = self._archive
        if batch.journal is not None and archive.checkpoints.get(batch.journal, 0) != self._known[batch.journal]:
            raise CheckpointMoved(f"journal {batch.journal}: its checkpoint has moved")
        facts = self._counting(batch)
        before = {each.call_id: archive.row(each.call_id).state for each in facts if each.call_id in archive.facts}
        changed = archive.add(facts)
        archive.quarantined += batch.quarantined
        archive.sessions |= {state.id: state for state in batch.sessions}
        if batch.journal is not None and batch.checkpoint is not None:
            archive.checkpoints[batch.journal] = batch.checkpoint
        if self._real is not None:
            self._real.write(batch)
            archive.mirror.compare(archive, changed, {state.recorder for state in batch.sessions})
        entered = [archive.row(each) for each in sorted(changed) if archive.row(each).state is not before.get(each)]
        for row in entered:
            archive.world.say(f"archive: call {int(row.call_id[:8], 16)} is {row.state.value}")
            archive.on_entered(row)
        for state in batch.sessions:
            archive.on_covered(state)
        done = tuple(Completed(row.call_id, row.recorder) for row in entered if row.state is State.COMPLETE)
        return Written(completed=done)

    def _counting(self, batch: Batch) -> list[Fact]:
        archive = self._archive
        at_hand = {fact.call_id for fact in batch.facts}
        sightings = archive.news(batch.sightings, at_hand)
        at_hand |= {fact.call_id for fact in sightings}
        strange = [*batch.strangers, *archive.news(batch.strange_sightings, at_hand)]
        known = [fact for fact in strange if fact.call_id in archive.facts or fact.call_id in at_hand]
        return [*batch.facts, *sightings, *known]


def require_schema(connection: Connected) -> None:
    connection.check()


# Sessions


def _ordered(states: Iterable[SessionState]) -> list[SessionState]:
    return sorted(states, key=lambda state: (state.opened_at, state.id))


def load_sessions(connection: Connected, journal: UUID) -> list[SessionState]:
    archive = connection.check()
    found = _ordered(each for each in archive.sessions.values() if each.worker == str(journal) and each.live)
    return _same(connection, "load_sessions", found, journal)


def sessions_after(connection: Connected, journal: UUID, after: datetime) -> list[SessionState]:
    archive = connection.check()
    found = _ordered(
        each
        for each in archive.sessions.values()
        if each.worker == str(journal) and any(span.end > after for span in coverage.covered(each, MARGIN))
    )
    return _same(connection, "sessions_after", found, journal, after)


def hold_owner_lock(connection: Connected, journal: UUID) -> bool:
    archive = connection.check()
    held = archive.owners.setdefault(journal, connection) is connection
    return bool(_same(connection, "hold_owner_lock", held, journal))


def ownerless(connection: Connected) -> list[SessionState]:
    archive = connection.check()
    found = [each for each in archive.sessions.values() if each.live and UUID(each.worker) not in archive.owners]
    return _same(connection, "ownerless", _ordered(found))


def close_session(connection: Connected, session: UUID, at: datetime, reason: str, margin: timedelta) -> Any:
    archive = connection.check()
    state = archive.sessions.get(session)
    if state is None or not state.live:
        return None
    ended = max(at, state.opened_at, state.last_read or at)
    archive.sessions[session] = coverage.closed(state, ended, reason, margin)
    _also(connection, "close_session", session, at, reason, margin)
    archive.world.say(f"archive: session {str(session)[:8]} is closed ({reason})")
    return {}


def withdraw_repeated(connection: Connected, recorders: Sequence[str], reading: Reading, margin: timedelta) -> Any:
    archive = connection.check()
    again = comes_again(archive.sessions.values(), reading)
    for state in [each for each in archive.sessions.values() if not each.live]:
        away = again.get(state.id, ())
        if state.recorder in recorders and any(each.end > reading.now + coverage.CLOCK_STEP for each in state.coverage):
            away = union(away, span(reading.now, reading.now + AHEAD))
        archive.sessions[state.id] = coverage.taken_back(state, away)
    _also(connection, "withdraw_repeated", recorders, reading, margin)
    return {}


# Runs


def lock(connection: Connected, recorder: str) -> bool:
    archive = connection.check()
    held = archive.locks.setdefault(recorder, connection) is connection
    return bool(_same(connection, "lock", held, recorder))


def unlock(connection: Connected, recorder: str) -> None:
    archive = connection.check()
    if archive.locks.get(recorder) is connection:
        del archive.locks[recorder]
    _also(connection, "unlock", recorder)


def begin(connection: Connected, run: Run) -> None:
    connection.check().runs[run.id] = Ran(run)
    _also(connection, "begin", run)
    world().say(f"run {str(run.id)[:8]} begins ({run.trigger})")


def finish(connection: Connected, run: Run, result: Result) -> None:
    ran = connection.check().runs[run.id]
    ran.finished_at, ran.result = here().now(), result
    _also(connection, "finish", run, result)
    world().say(f"run {str(run.id)[:8]} ends: {result.told or 'done'}")


def add_actions(
    connection: Connected,
    run: Run,
    actions: Iterable[Action],
    outcomes: Mapping[str, str],
    lists: Sequence[bytes] = (),
) -> None:
    ran = connection.check().runs[run.id]
    ran.actions = tuple(actions)
    _also(connection, "add_actions", run, ran.actions, outcomes, lists)
    for action in ran.actions:
        world().say(f"run {str(run.id)[:8]}: {action.act.value} call {int(action.call_id[:8], 16)}: {action.told}")


def last_success(connection: Connected, recorder: str) -> datetime | None:
    runs = connection.check().runs.values()
    done = [each.finished_at for each in runs if each.finished_at and each.result and each.result.told is None]
    return max(done, default=None)


def stored(connection: Connected, recorder: str, listed: Collection[str]) -> list[Stored]:
    archive = connection.check()
    found = [
        _stored(archive, row)
        for row in archive.rows().values()
        if (row.recorder == recorder and row.state is not State.COMPLETE) or row.call_id in listed
    ]
    return _same(connection, "stored", sorted(found, key=lambda each: each.call_id), recorder, listed)


def _stored(archive: Archive, row: Row) -> Stored:
    ends: list[datetime] = []
    if row.state is not State.ONGOING:
        kept = keep(archive.facts[row.call_id]).items()
        ends = [each.first_observed_at for kind, each in kept if kind in _ENDS or "end_time" in each.fact.values]
    return Stored(row.call_id, row.state, row.first_seen_at, min(ends, default=None), row.source is Kind.LIST)


def lost(connection: Connected, recorder: str) -> set[str]:
    archive = connection.check()
    found = {each.call_id for each in archive.rows().values() if each.state is State.LOST and each.recorder == recorder}
    return _same(connection, "lost", found, recorder)


# What is owed


def owed(connection: Connected, since: datetime) -> list[Owed]:
    archive = connection.check()
    found = []
    for call_id, row in archive.rows().items():
        kept = keep(archive.facts[call_id])
        end, detail = kept.get(Kind.END), kept.get(Kind.DETAIL)
        if row.state in (State.ENDED, State.LOST) and end and end.fact.recorder and end.first_observed_at >= since:
            found.append(Owed(end.fact.recorder, call_id, end.first_observed_at, refetch=False))
        if detail and detail.fact.recorder and detail.fact.observed_at == detail.first_observed_at >= since:
            found.append(Owed(detail.fact.recorder, call_id, detail.first_observed_at, refetch=True))
    return _same(connection, "owed", sorted(found, key=lambda each: (each.at, each.call_id)), since)


def counts(connection: Connected) -> Counts:
    connection.check()
    return Counts({}, 0)


def register(connection: Connected, recorders: Sequence[Recorder], margin: timedelta) -> None:
    connection.check()
    _also(connection, "register", recorders, margin)


# The same of PostgreSQL


def _same(connection: Connected, name: str, answer: T, *args: Any) -> T:
    if connection.real is not None:
        connection.archive.mirror.ask(connection, name, answer, *args)
    return answer


def _also(connection: Connected, name: str, *args: Any) -> None:
    if connection.real is not None:
        connection.archive.mirror.do(connection, name, *args)


MARGIN = timedelta(seconds=1)

SEAMS: dict[str, object] = {
    "etl.ingest.loader.require_schema": require_schema,
    "etl.ingest.loader.hold_owner_lock": hold_owner_lock,
    "etl.ingest.loader.load_sessions": load_sessions,
    "etl.ingest.loader.sessions_after": sessions_after,
    "etl.ingest.loader.Writer": MemoryWriter,
    "etl.jobs.reconcile.require_schema": require_schema,
    "etl.jobs.reconcile.store": SimpleNamespace(
        lock=lock,
        unlock=unlock,
        begin=begin,
        finish=finish,
        add_actions=add_actions,
        last_success=last_success,
        stored=stored,
        lost=lost,
        Run=Run,
        Result=Result,
    ),
    "etl.worker.adoption.load_sessions": load_sessions,
    "etl.worker.adoption.close_session": close_session,
    "etl.worker.adoption.ownerless": ownerless,
    "etl.worker.adoption.withdraw_repeated": withdraw_repeated,
    "etl.worker.worker.pending": SimpleNamespace(owed=owed, counts=counts),
    "etl.worker.worker.recorders": SimpleNamespace(Recorder=Recorder, register=register),
}
