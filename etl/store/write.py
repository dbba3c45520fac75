"""The one write path: facts, quarantine, sessions with their gaps, and the checkpoint, all in one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg

from etl.calls.coverage import SessionState
from etl.errors import DatabaseError
from etl.model import Fact, Quarantined, State
from etl.store import checkpoints, gate, quarantine, reconcile, sessions, staging
from etl.store.database import Connection, Cursor, name_of
from etl.store.errors import conflicts, refuses_row, translate
from etl.store.partitions import Partitions

_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction stores.

    `checkpoint` is the sequence up to which `journal` is stored with it, `observed_at` the receipt of that entry;
    all three are None for what comes from no journal.

    `sightings` come from the list of a run that holds its recorder's lock: those of calls that are ongoing and were
    listed alike before are no facts. `strangers` are facts only if their calls are known; `strange_sightings` are both.
    """

    facts: Sequence[Fact] = ()
    quarantined: Sequence[Quarantined] = ()
    sessions: Sequence[SessionState] = ()
    journal: UUID | None = None
    checkpoint: int | None = None
    observed_at: datetime | None = None
    sightings: Sequence[Fact] = ()
    strangers: Sequence[Fact] = ()
    strange_sightings: Sequence[Fact] = ()


@dataclass(frozen=True, slots=True)
class Completed:
    """A call that has just become `complete`."""

    call_id: str
    recorder: str | None


@dataclass(frozen=True, slots=True)
class Written:
    """What a batch changed.

    `states` counts the calls that newly entered a state, by recorder and state; `completed` are those that
    became complete; `quarantined` the rows added to quarantine, by recorder and reason; `refused` the number of
    facts among them that PostgreSQL would not take; `gap_seconds` the length of gaps that ended, by recorder and
    reason; `expired` the number of facts that were left out, since calls so old are deleted by age.
    """

    states: Mapping[tuple[str | None, str], int] = field(default_factory=dict)
    completed: tuple[Completed, ...] = ()
    quarantined: Mapping[tuple[str | None, str], int] = field(default_factory=dict)
    refused: int = 0
    gap_seconds: Mapping[tuple[str, str], float] = field(default_factory=dict)
    expired: int = 0


class Writer:
    """Writes batches over one connection, which it must have for itself.

    `margin` is that of coverage (configuration: `worker.margin`). After `DatabaseUnavailable` the connection is of
    no more use: open a new one, make a new writer, and ask for the checkpoint again, since a commit whose answer was
    lost may have happened.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        margin: timedelta = timedelta(seconds=1),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._connection = connection
        self._margin = margin
        self._now = now
        self._partitions = Partitions(connection)
        self._checkpoints: dict[UUID, int] = {}
        with translate(name_of(connection)):
            staging.prepare(connection)

    def checkpoint(self, journal: UUID) -> int:
        """The sequence up to which a journal is stored, 0 for a new one; the next batch must follow it."""
        with translate(name_of(self._connection)), self._connection.transaction():
            self._checkpoints[journal] = checkpoints.read(self._connection, journal)
        return self._checkpoints[journal]

    def ping(self) -> None:
        """Raise `DatabaseUnavailable` where the connection is lost."""
        with translate(name_of(self._connection)), self._connection.transaction():
            self._connection.execute("SELECT 1")

    def write(self, batch: Batch) -> Written:
        """Store a batch, all or nothing, and say what it changed.

        A fact that PostgreSQL refuses goes to quarantine with its element, and the rest lands. Serialization
        failures and deadlocks are tried again. Raises `CheckpointMoved` where another process writes from the same
        journal, `DatabaseUnavailable` where the database is out of reach.
        """
        if batch.journal is not None and batch.journal not in self._checkpoints:
            self.checkpoint(batch.journal)
        with translate(name_of(self._connection)):
            listed = (*batch.facts, *batch.sightings, *batch.strangers, *batch.strange_sightings)
            self._partitions.ensure((fact.id_time for fact in listed), self._now().date())
            written = self._retried(batch)
        if batch.journal is not None and batch.checkpoint is not None:
            self._checkpoints[batch.journal] = batch.checkpoint
        return written

    def _retried(self, batch: Batch) -> Written:
        merge = _whole
        for _ in range(_ATTEMPTS):
            try:
                return self._attempt(batch, merge)
            except (psycopg.Error, UnicodeEncodeError, RecursionError) as error:
                if refuses_row(error) and merge is _whole:
                    merge = _piecewise
                elif not (isinstance(error, psycopg.Error) and conflicts(error)):
                    raise
        raise DatabaseError(
            f"database {name_of(self._connection)}: {_ATTEMPTS} conflicts with others in a row; try again"
        )

    def _attempt(self, batch: Batch, merge: Callable[[Cursor, Sequence[Fact]], _Merged]) -> Written:
        with self._connection.transaction(), self._connection.cursor() as cursor:
            facts = self._counting(cursor, batch)
            admitted = gate.admit(cursor, facts) if facts else gate.Admitted([], 0)
            merged = merge(cursor, admitted.facts) if admitted.facts else _Merged()
            found = [*batch.quarantined, *merged.refused]
            added = quarantine.add(cursor, found) if found else {}
            ended = sessions.store(cursor, batch.sessions, self._margin) if batch.sessions else {}
            if batch.journal is not None and batch.checkpoint is not None:
                known = self._checkpoints[batch.journal]
                checkpoints.move(cursor, batch.journal, known, batch.checkpoint, batch.observed_at)
        return replace(merged.written(added), gap_seconds=ended, expired=admitted.expired)

    def _counting(self, cursor: Cursor, batch: Batch) -> list[Fact]:
        """All that counts as a fact, in the order of the key."""
        at_hand = {(fact.call_id, fact.id_time) for fact in batch.facts}
        sightings = reconcile.news(cursor, batch.sightings, at_hand)
        at_hand |= {(fact.call_id, fact.id_time) for fact in sightings}
        strange = [*batch.strangers, *reconcile.news(cursor, batch.strange_sightings, at_hand)]
        facts = [*batch.facts, *sightings, *gate.of_known_calls(cursor, strange, at_hand)]
        return sorted(facts, key=lambda fact: (fact.call_id, fact.id_time))


@dataclass(slots=True)
class _Merged:
    """What came of the facts of a batch."""

    before: dict[staging.Key, str | None] = field(default_factory=dict)
    after: dict[staging.Key, tuple[str | None, str]] = field(default_factory=dict)
    refused: list[Quarantined] = field(default_factory=list)

    def add(self, merge: staging.Merge) -> None:
        for key, state in merge.before.items():
            self.before.setdefault(key, state)
        self.after.update(merge.after)

    def written(self, added: Mapping[tuple[str | None, str], int]) -> Written:
        entered = {key: now for key, now in self.after.items() if now[1] != self.before[key]}
        completed = tuple(
            Completed(key[0], recorder) for key, (recorder, state) in entered.items() if state == State.COMPLETE
        )
        return Written(Counter(entered.values()), completed, added, len(self.refused))


def _whole(cursor: Cursor, facts: Sequence[Fact]) -> _Merged:
    """Merge all facts at once, as nearly always."""
    merge = staging.Merge(cursor, facts)
    merge.run()
    merged = _Merged()
    merged.add(merge)
    return merged


def _piecewise(cursor: Cursor, facts: Sequence[Fact]) -> _Merged:
    """Merge what PostgreSQL takes, halving what it refuses until the refused facts stand alone.

    Halves are halves in the order of the key, so locks are still taken in that order.
    """
    merged = _Merged()
    pieces: list[Sequence[Fact]] = [sorted(facts, key=lambda fact: (fact.call_id, fact.id_time))]
    while pieces:
        piece = pieces.pop()
        merge = staging.Merge(cursor, piece)
        try:
            with cursor.connection.transaction():
                merge.run()
        except (psycopg.Error, UnicodeEncodeError, RecursionError) as error:
            if not refuses_row(error):
                raise
            middle = len(piece) // 2
            if middle:
                pieces += [piece[middle:], piece[:middle]]
            else:
                merged.refused.append(quarantine.refused(piece[0], error))
        else:
            merged.add(merge)
    return merged
