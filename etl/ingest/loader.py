"""Loads a journal into PostgreSQL: reads committed lines in order, interprets them, writes batches.

Synchronous, one thread per journal. The checkpoint stands in PostgreSQL only, in the transaction of the
data it speaks of; whatever fails, the loader connects again and goes on from there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, TypeAlias
from uuid import UUID

import structlog

from etl.calls import coverage
from etl.calls.coverage import SessionState
from etl.errors import CdrError, DatabaseError, JournalFull
from etl.ingest.interpret import Interpreted, Interpreter
from etl.model import Asked, Draft, Entry, Fact, Json, Kind, Quarantined, What
from etl.store.database import Connection, require_schema
from etl.store.errors import CheckpointMoved
from etl.store.sessions import hold_owner_lock, load_sessions, sessions_after
from etl.store.write import Batch, Writer, Written

ROWS = 2_000
"""Lines of the journal in one batch, at the most."""
BYTES = 16_000_000
"""Bytes of bodies in one batch, at the most (a single larger document makes a batch of its own)."""
GATHER = 0.05
"""Seconds in which a batch gathers what else is coming, or came while the last batch was written."""
POLL = 1.0
"""Seconds after which a quiet loader looks whether it should stop."""
PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds between tries to reach the database."""


Sessions: TypeAlias = dict[UUID, SessionState]
"""The sessions of a journal that live, as of some line of it."""


class Source(Protocol):
    """A journal to load: our own, or one whose owner is dead."""

    @property
    def id(self) -> UUID: ...

    def read(self, after: int, max_rows: int, max_bytes: int) -> list[Entry]: ...

    def wait(self, after: int, timeout: float) -> bool: ...

    def discard(self, upto: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Loaded:
    """What one batch came to: `end_to_commit` in seconds, for metrics; whether a session told of a clock set."""

    written: Written
    end_to_commit: tuple[float, ...] = ()
    clock_was_set: bool = False


class Loader:
    """Loads one journal. `sequence` is how far it is in PostgreSQL; `database_error` says what is in the way."""

    def __init__(
        self,
        source: Source,
        connect: Callable[[], Connection],
        interpreter: Interpreter,
        margin: timedelta,
        now: Callable[[], datetime],
        on_loaded: Callable[[Loaded], None] = lambda loaded: None,
        locked_runs: Collection[Json] = (),
    ) -> None:
        """`locked_runs`: the reconciliation runs of this process that hold their recorder's lock, as of any moment."""
        self._source = source
        self._connect = connect
        self._interpreter = interpreter
        self._margin = margin
        self._now = now
        self._on_loaded = on_loaded
        self._locked_runs = locked_runs
        self._ends: dict[str, datetime] = {}
        self._remembered: dict[int, Sessions] = {}
        self._read_at = 0.0
        self._stop = threading.Event()
        self._log = structlog.get_logger().bind(journal=str(source.id))
        self.sequence = 0
        self.connected = threading.Event()
        self.database_error = "not connected yet"

    def stop(self) -> None:
        """Return from `run` after the batch under way."""
        self._stop.set()

    def run(self, *, until: int | None = None) -> None:
        """Load until stopped, or until the line `until` is in PostgreSQL.

        Survives every error of the database that waiting or an administrator can mend; raises JournalError if
        the journal cannot be read, and CheckpointMoved if another process loads the same journal.
        """
        failures = 0
        while not self._stop.is_set():
            try:
                self._run_connected(until)
                return
            except CheckpointMoved:
                raise
            except (DatabaseError, JournalFull) as error:
                failures = 0 if self.connected.is_set() else failures + 1
                self._report(error)
            finally:
                self.connected.clear()
            self._stop.wait(PAUSES[min(failures, len(PAUSES) - 1)])

    def _report(self, error: CdrError) -> None:
        """Say once what is in the way, not at every try."""
        if str(error) != self.database_error:
            self._log.error("the database does not take our data; the journal keeps it", error=str(error))
        self.database_error = str(error)

    def _run_connected(self, until: int | None) -> None:
        with self._connect() as connection:
            require_schema(connection)
            load = _Load(connection, self._source, self._interpreter, self._margin, self._now)
            load.begin(self._remembered, self._locked_runs)
            hold_owner_lock(connection, self._source.id)
            self.sequence = load.sequence
            self.database_error = ""
            self.connected.set()
            self._log.info("loading into the database", after=self.sequence)
            while not self._stop.is_set() and (until is None or self.sequence < until):
                self._step(load, until)

    def _step(self, load: _Load, until: int | None) -> None:
        if until is None and not self._wait(load):
            return
        self._read_at = time.monotonic()
        entries = self._source.read(load.sequence, ROWS, BYTES)
        if entries:
            batch, written = load.write(entries)
            self.sequence = load.sequence
            self._source.discard(self.sequence)
            if written.expired:
                self._log.warning("facts of calls that were deleted by age are left out", facts=written.expired)
            clock_was_set = any(entry.draft.what is What.STEPPED for entry in entries)
            self._on_loaded(Loaded(written, self._waits(batch, written), clock_was_set))

    def _wait(self, load: _Load) -> bool:
        """Wait until there is something to load, and a moment longer for what else is coming.

        What came while the last batch was written has gathered since then.
        """
        since = self._read_at
        if not self._source.wait(load.sequence, 0):
            if not self._source.wait(load.sequence, POLL):
                load.ping()
                self._stop.wait(GATHER)  # a finished journal does not wait
                return False
            since = time.monotonic()
        self._stop.wait(max(since + GATHER - time.monotonic(), 0.0))
        return True

    def _waits(self, batch: Batch, written: Written) -> tuple[float, ...]:
        """How long after the end notification each full record was committed."""
        for fact in batch.facts:
            if fact.kind is Kind.END:
                self._ends.setdefault(fact.call_id, fact.observed_at)
        now = self._now()
        ends = (self._ends.pop(each.call_id, None) for each in written.completed)
        waits = tuple((now - end).total_seconds() for end in ends if end is not None)
        while len(self._ends) > ENDS_REMEMBERED:
            self._ends.pop(next(iter(self._ends)))
        return waits


class _Load:
    """Loading over one connection: where we are, and the sessions as of there."""

    def __init__(
        self,
        connection: Connection,
        source: Source,
        interpreter: Interpreter,
        margin: timedelta,
        now: Callable[[], datetime],
    ) -> None:
        self._connection = connection
        self._journal = source.id
        self._interpreter = interpreter
        self._margin = margin
        self._writer = Writer(connection, margin=margin, now=now)
        self.sequence = self._writer.checkpoint(source.id)

    def begin(self, remembered: dict[int, Sessions], locked_runs: Collection[Json]) -> None:
        """Go on with the sessions as we remember them, or as they are stored.

        While we were away another worker may have taken us for gone and closed our sessions. They live on in our
        memory, and with the next message the truth is stored again.
        """
        self._remembered = remembered
        self._locked_runs = locked_runs
        if self.sequence not in remembered:
            stored = load_sessions(self._connection, self._journal)
            remembered[self.sequence] = {state.id: state for state in stored}

    def ping(self) -> None:
        """Notice a lost connection also while there is nothing to write."""
        self._writer.ping()

    def write(self, entries: Sequence[Entry]) -> tuple[Batch, Written]:
        """Store what these lines say, and move the checkpoint behind them."""
        batch = self._read(entries)
        # Remembered before the commit too: its answer may be lost, and then either may turn out to be true.
        sessions = self._sessions | {state.id: state for state in batch.sessions}
        sequence = entries[-1].sequence
        self._remembered[sequence] = {key: state for key, state in sessions.items() if state.live}
        written = self._writer.write(batch)
        self.sequence = sequence
        for other in [each for each in self._remembered if each != sequence]:
            del self._remembered[other]
        return batch, written

    def _read(self, entries: Sequence[Entry]) -> Batch:
        """What these lines say."""
        facts: list[Fact] = []
        sightings: list[Fact] = []
        strangers: list[Fact] = []
        strange_sightings: list[Fact] = []
        quarantined: list[Quarantined] = []
        changed: dict[UUID, SessionState] = {}
        for entry in entries:
            told = self._interpreter.interpret(entry.draft)
            sighting = self._is_sighting(entry.draft)
            (sightings if sighting else facts).extend(told.facts)
            (strange_sightings if sighting else strangers).extend(told.strangers)
            quarantined += told.quarantined
            self._fold(entry.draft, told, changed)
        last = entries[-1]
        return Batch(
            facts=facts,
            quarantined=quarantined,
            sessions=tuple(changed.values()),
            journal=self._journal,
            checkpoint=last.sequence,
            observed_at=last.draft.observed_at,
            sightings=sightings,
            strangers=strangers,
            strange_sightings=strange_sightings,
        )

    def _is_sighting(self, draft: Draft) -> bool:
        """Whether this is the list of a run of this process that holds its recorder's lock right now."""
        return draft.note.get("asked") == Asked.LIST and draft.note.get("run") in self._locked_runs

    @property
    def _sessions(self) -> Sessions:
        return self._remembered[self.sequence]

    def _fold(self, draft: Draft, told: Interpreted, changed: dict[UUID, SessionState]) -> None:
        before = changed.get(draft.session) or self._sessions.get(draft.session)
        after = coverage.fold(before, draft, told.heard, self._margin)
        if after is not None and after != before:
            changed[draft.session] = after
        if draft.what is What.STEPPED:
            self._withdraw(draft, changed)

    def _withdraw(self, draft: Draft, changed: dict[UUID, SessionState]) -> None:
        """The clock was set back: none of this worker's sessions can vouch for the time after that moment.

        One tells for all, for each has a watch of its own: one that was not looked at for long tells late, and of a
        moment long before the step.
        """
        after = datetime.fromisoformat(str(draft.note["to"]))
        if after >= datetime.fromisoformat(str(draft.note["from"])):
            return
        stored = sessions_after(self._connection, self._journal, after)
        known = {state.id: state for state in stored} | self._sessions | changed
        if any(coverage.knows(state, draft) for state in known.values() if state.id != draft.session):
            return
        for state in known.values():
            withdrawn = coverage.withdrawn(state, after, self._margin)
            if state.id != draft.session and withdrawn != state:
                changed[state.id] = withdrawn


ENDS_REMEMBERED = 100_000
"""End notifications whose full record is awaited, for the latency metric only."""
