"""The worker: recorders on one side, the database on the other, and the journal between them.

The parts run side by side and know nothing of each other; here they are put together, watched over, and
closed in order: stop reading, journal what was read, load it to a deadline, let go.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias

import structlog

from etl.config import Settings
from etl.errors import CdrError, DatabaseError, JournalError
from etl.ingest.interpret import Interpreter
from etl.ingest.loader import Loaded, Loader
from etl.ingest.sink import JournalSink
from etl.jobs.reconcile import Reconciliation
from etl.journal.journal import Journal
from etl.journal.writer import Limits
from etl.model import Json
from etl.recorder.clock import Clock, SystemClock
from etl.store import pending, recorders
from etl.store.connections import Connections
from etl.store.database import Connection
from etl.store.pending import Owed
from etl.worker.adoption import Adopter
from etl.worker.endpoints import Endpoints, Readiness, RecorderLine
from etl.worker.gap_filler import GapFiller
from etl.worker.metrics import Metrics
from etl.worker.recorder_task import RecorderTask

LOOK_EVERY = 0.5
"""Seconds between two looks at the journal's size and at what fails."""
COUNT_EVERY = 30.0
"""Seconds between two counts of what the database holds, for metrics."""
RESUME_BELOW = 0.9
"""Sessions are opened again when the journal is below this share of its limit."""
ALONE = 0.95
"""Share of its limit at which the recorder that fills the journal is held alone: the rest is for the others."""
SEGMENTS = 20
"""A journal at its limit has at least so many segments."""
DRAIN = 20.0
"""Seconds a stopping worker gives the disk and the database to take what was read; what waits longer is cut short."""

Connect: TypeAlias = Callable[[], Connection]


def _limits(journal_limit: int) -> Limits:
    """Only whole segments are deleted: many of them must fit below the limit, or it would never get smaller."""
    usual = Limits()
    return replace(usual, segment_bytes=min(usual.segment_bytes, journal_limit // SEGMENTS))


@dataclass(frozen=True, slots=True)
class Ended:
    """How a worker ended: lines left in its journal for the next one, and what kept them from the database."""

    left: int
    why: str


class Worker:
    """All recorders of a configuration, from `run` until `stop`."""

    def __init__(self, settings: Settings, connect: Connect, clock: Clock | None = None) -> None:
        """Raises JournalError if there is no place for a journal, UsageError for a dialect that is none."""
        self.metrics = Metrics()
        self.settings = settings
        self._connections = Connections(connect)
        self._connect = connect = self._connections.open
        self._clock = clock or SystemClock()
        self._log = structlog.get_logger()
        self._stopping = asyncio.Event()
        self._held = ""
        self._holding = 0
        readers = Interpreter(settings)
        worker, root = settings.worker, settings.worker.data_dir / "journal"
        self.journal = Journal.create(root, _limits(worker.journal_limit))
        self._sink = JournalSink(self.journal, self._clock)
        self.recorders = [
            RecorderTask(
                recorder,
                str(self.journal.id),
                worker,
                readers.source(recorder.name),
                self._sink,
                self._clock,
                self.metrics,
            )
            for recorder in settings.recorder
        ]
        self._locked_runs: set[Json] = set()
        self.loader = Loader(
            self.journal,
            connect,
            Interpreter(settings),
            worker.margin,
            self._clock.now,
            self._on_loaded,
            self._locked_runs,
        )
        for task in self.recorders:
            means = task.means(connect, self._loaded, self._locked_runs)
            task.reconciliation = Reconciliation(task.recorder.name, means)
        self._owed_for = worker.detail_give_up + worker.refetch_after
        self._adopter = Adopter(
            root,
            connect,
            Interpreter(settings),
            self._clock,
            own=self.journal.id,
            recorders=[recorder.name for recorder in settings.recorder],
            margin=worker.margin,
            owed_for=self._owed_for,
            on_loaded=self._on_loaded,
            on_owed=self._on_owed,
            on_adopted=self._on_adopted,
        )
        history = settings.history.http or settings.history.files
        self._gap_filler = self._filler() if worker.backfill_gaps and history else None
        self._failure: CdrError | None = None
        self._counted_at = float("-inf")
        self._introduced = False

    def _filler(self) -> GapFiller:
        return GapFiller(
            self.settings, self._connect, self._clock.now, lambda written: self._on_loaded(Loaded(written))
        )

    def stop(self) -> None:
        """End cleanly. To be called on the worker's event loop."""
        self._stopping.set()

    async def run(self) -> Ended:
        """Work until stopped. Raises JournalError if the own journal fails for good."""
        self._loop = asyncio.get_running_loop()
        self._log.info("worker started", journal=str(self.journal.id), recorders=len(self.recorders))
        endpoints = self._endpoints()
        loading = threading.Thread(target=self._load, name="loader", daemon=True)
        loading.start()
        self._adopter.start()
        if self._gap_filler is not None:
            self._gap_filler.start()
        tasks = [asyncio.create_task(recorder.run()) for recorder in self.recorders]
        try:
            await self._watch()
        finally:
            with self._connections.cut_short(DRAIN):
                for recorder in self.recorders:
                    recorder.stop()
                await asyncio.gather(*tasks, return_exceptions=True)
                ended = await asyncio.to_thread(self._close, loading)
                if endpoints is not None:
                    await asyncio.to_thread(endpoints.stop)
        if self._failure is not None:
            raise self._failure
        self._log.info("worker stopped", left=ended.left, why=ended.why)
        return ended

    # Watching

    async def _watch(self) -> None:
        while not self._stopping.is_set() and self._failure is None:
            self._failure = self._failure or self.journal.broken
            self._mind_backlog()
            self._measure()
            if self.loader.connected.is_set() and time.monotonic() - self._counted_at >= COUNT_EVERY:
                self._counted_at = time.monotonic()
                await asyncio.to_thread(self._count)
            try:
                await asyncio.wait_for(self._stopping.wait(), LOOK_EVERY)
            except TimeoutError:
                continue

    def _mind_backlog(self) -> None:
        """At its limit, or with a full disk, the journal takes no more: say so and stop listening (G6).

        Where one recorder fills it, that one is stopped a little sooner: its flood is not to cost the others.
        """
        limit, size, failing = self.settings.worker.journal_limit, self._bytes_on_disk(), self.journal.failing
        if size < limit / 2:
            self._sink.taken.clear()
        if failing is not None or size >= limit:
            told = str(failing) if failing else f"the journal has reached its limit ({size:,} of {limit:,} bytes)"
            self._hold(self.recorders, told)
        elif size >= limit * ALONE and not self._held and (flooding := self._flooding()):
            name = flooding.recorder.name
            self._hold([flooding], f"recorder {name} alone fills the journal ({size:,} of {limit:,} bytes)")
        elif self._held and size < limit * RESUME_BELOW:
            self._log.info("there is room again; listening")
            self._held, self._holding = "", 0
            for recorder in self.recorders:
                recorder.release()

    def _hold(self, tasks: list[RecorderTask], told: str) -> None:
        if len(tasks) > self._holding:
            self._log.error("not listening until there is room again", why=told)
            self._holding = len(tasks)
        self._held = told
        for recorder in tasks:
            recorder.hold("backlog", told)

    def _flooding(self) -> RecorderTask | None:
        """The one of several recorders that most of what came since the journal was half full is from."""
        taken = self._sink.taken
        total = sum(taken.values())
        if len(self.recorders) < 2 or total < self.settings.worker.journal_limit / 4:
            return None
        return next((task for task in self.recorders if taken[task.recorder.name] > total / 2), None)

    def _bytes_on_disk(self) -> int:
        """Of our journal, and of those of dead processes that wait for the database with it."""
        return self.journal.bytes_on_disk + self._adopter.bytes_on_disk

    def _measure(self) -> None:
        self.metrics.journal_bytes.set(self._bytes_on_disk())
        self.metrics.backlog_messages.set(self.journal.last_sequence - self.loader.sequence)
        self.metrics.database_up.set(self.loader.connected.is_set())

    def _count(self) -> None:
        """What only the database knows, for metrics; and the first time introduce ourselves."""
        try:
            with self._connect() as connection:
                if not self._introduced:
                    self._first_contact(connection)
                self.metrics.show(pending.counts(connection))
        except DatabaseError as error:
            self._log.debug("could not count", error=str(error))

    def _first_contact(self, connection: Connection) -> None:
        """Note which recorders there are, and take up the details that earlier processes still owed."""
        known = [
            recorders.Recorder(each.name, each.location or each.name, each.timezone.key, each.extensions)
            for each in self.settings.recorder
        ]
        recorders.register(connection, known, self.settings.worker.margin)
        since = self._clock.now() - self._owed_for
        self._on_owed(pending.owed(connection, since))
        self._introduced = True

    async def _loaded(self) -> None:
        await self._sink.loaded(self.loader)

    # Callbacks from other threads

    def _on_loaded(self, loaded: Loaded) -> None:
        self.metrics.loaded(loaded)
        if loaded.clock_was_set:
            self._adopter.clock_was_set()

    def _on_owed(self, owed: list[Owed]) -> None:
        self._loop.call_soon_threadsafe(self._resume, owed)

    def _on_adopted(self) -> None:
        """What a dead process heard to begin may have ended since: only the recorders can tell."""
        for task in self.recorders:
            self._loop.call_soon_threadsafe(task.compare)

    def _resume(self, owed: list[Owed]) -> None:
        tasks = {task.recorder.name: task for task in self.recorders}
        now = self._clock.now()
        for call in owed:
            if call.recorder in tasks:
                ago = (now - call.at).total_seconds()
                tasks[call.recorder].resume_detail(call.call_id, ago, refetch=call.refetch)

    def _load(self) -> None:
        try:
            self.loader.run()
        except (JournalError, DatabaseError) as error:
            self._log.error("loading failed for good; the worker ends and must be started again", error=str(error))
            self._failure = error
        except Exception as error:  # noqa: BLE001 - the supervisor: without it nobody would see that nothing is loaded
            self._log.exception("loading failed unexpectedly; this is a bug, please report it")
            self._failure = CdrError(f"loading failed unexpectedly ({error!r}); the journal keeps what was received")

    # Closing

    def _close(self, loading: threading.Thread) -> Ended:
        deadline = time.monotonic() + DRAIN
        if self._gap_filler is not None:
            self._gap_filler.stop()
        self._adopter.stop()
        why = self._finish_journal(deadline)
        while self.loader.sequence < self.journal.last_sequence and time.monotonic() < deadline and self._hopeful():
            time.sleep(0.05)
        self.loader.stop()
        loading.join()
        left = self.journal.last_sequence - self.loader.sequence
        self._let_go(left)
        return Ended(left, why or self.loader.database_error)

    def _finish_journal(self, deadline: float) -> str:
        try:
            self.journal.finish(max(deadline - time.monotonic(), 0.0))
        except JournalError as error:
            self._log.error("the journal could not be finished", error=str(error))
            return str(error)
        return ""

    def _let_go(self, left: int) -> None:
        """Delete a journal that is wholly in the database; keep one that is not, or is damaged, for the next to start:
        it loads what can still be read, sets the rest aside, and says from when on there is a gap."""
        broken = self.journal.broken
        if broken is not None:
            self._log.error("the journal broke: start the worker again, it goes on with a new one", error=str(broken))
        try:
            if left == 0 and broken is None:
                self.journal.remove(self.loader.sequence)
            else:
                self.journal.close()
        except JournalError as error:
            if error is not broken:
                self._log.error("the journal could not be closed", error=str(error))

    def _hopeful(self) -> bool:
        return self._failure is None and self.loader.connected.is_set()

    # Endpoints

    def _endpoints(self) -> Endpoints | None:
        listen = self.settings.http.listen
        if not listen:
            return None
        endpoints = Endpoints(listen, self.metrics.registry, self.readiness)
        endpoints.start()
        return endpoints

    def readiness(self) -> Readiness:
        """Whether every recorder is subscribed, the database reachable, and the backlog below its limit."""
        obstacles = [
            f"recorder {task.recorder.name}: {task.standing.last_error or task.standing.state}"
            for task in self.recorders
            if not task.subscribed
        ]
        if not self.loader.connected.is_set():
            obstacles.append(f"database: {self.loader.database_error}")
        if self._held:
            obstacles.append(f"journal: {self._held}")
        lines = tuple(
            RecorderLine(
                task.recorder.name, task.standing.state, _moment(task.standing.since), task.standing.last_error
            )
            for task in self.recorders
        )
        return Readiness(tuple(obstacles), lines, self._facts())

    def _facts(self) -> tuple[tuple[str, str], ...]:
        return (
            ("Journaled messages not yet in the database", f"{self.journal.last_sequence - self.loader.sequence:,}"),
            ("Journals on disk", f"{self._bytes_on_disk():,} bytes"),
            ("Database", "connected" if self.loader.connected.is_set() else self.loader.database_error),
        )


def _moment(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}" if at else ""
