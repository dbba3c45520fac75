"""`cdr reconcile`: one run for each recorder, by a process of its own beside any worker.

It talks to recorders, so it has a journal of its own like every process that does, and loads it by itself.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from uuid import uuid4

from etl.config import Recorder, Settings
from etl.errors import JournalError
from etl.ingest.interpret import Interpreter
from etl.ingest.loader import Loader
from etl.ingest.sink import JournalSink
from etl.jobs.reconcile import Means, Reconciliation, Report
from etl.journal.journal import Journal
from etl.model import Json
from etl.recorder.clock import Clock, SystemClock
from etl.recorder.queries import Queries
from etl.recorder.sink import Nowhere, Scribe, Sink
from etl.store.database import Connection


async def preview(settings: Settings, names: Sequence[str], connect: Callable[[], Connection]) -> list[Report]:
    """What `reconcile` would do now, for each recorder."""
    clock = SystemClock()

    async def loaded() -> None:
        """Nothing was journaled."""

    runs = _Runs(settings, connect, clock, Nowhere(clock), loaded, set())
    return await asyncio.gather(*(runs.preview(each) for each in chosen(settings, names)))


async def reconcile(settings: Settings, names: Sequence[str], connect: Callable[[], Connection]) -> list[Report]:
    """One run for each recorder named, or for all. Raises DatabaseError, JournalError."""
    clock = SystemClock()
    journal = Journal.create(settings.worker.data_dir / "journal")
    locked: set[Json] = set()
    loader = Loader(journal, connect, Interpreter(settings), settings.worker.margin, clock.now, locked_runs=locked)
    loading = threading.Thread(target=loader.run, name="loader", daemon=True)
    loading.start()
    sink = JournalSink(journal, clock)
    try:
        await asyncio.to_thread(loader.connected.wait, settings.recorder_defaults.connect_timeout.total_seconds())
        runs = _Runs(settings, connect, clock, sink, lambda: sink.loaded(loader), locked)
        return await asyncio.gather(*(runs.run(each) for each in chosen(settings, names)))
    finally:
        await asyncio.to_thread(_close, journal, loader, loading)


def chosen(settings: Settings, names: Sequence[str]) -> list[Recorder]:
    """The recorders named, or all. Raises UsageError for a name that is not configured."""
    return [settings.named(name) for name in names] if names else list(settings.recorder)


def _close(journal: Journal, loader: Loader, loading: threading.Thread) -> None:
    """Let go of the journal: what is not in the database yet is adopted by whoever starts next."""
    try:
        journal.finish(5.0)
    finally:
        loader.stop()
        loading.join()
        _let_go(journal, loader.sequence)


def _let_go(journal: Journal, sequence: int) -> None:
    try:
        journal.remove(sequence)
    except JournalError:
        journal.close()


class _Runs:
    """Makes the runs of all recorders, which share a journal."""

    def __init__(
        self,
        settings: Settings,
        connect: Callable[[], Connection],
        clock: Clock,
        sink: Sink,
        loaded: Callable[[], Awaitable[None]],
        locked: set[Json],
    ) -> None:
        self._settings = settings
        self._connect = connect
        self._clock = clock
        self._sink = sink
        self._loaded = loaded
        self._locked = locked
        self._interpreter = Interpreter(settings)

    async def run(self, recorder: Recorder) -> Report:
        queries, reconciliation = self._for(recorder)
        try:
            return await reconciliation.run(uuid4(), "command")
        finally:
            await queries.close()

    async def preview(self, recorder: Recorder) -> Report:
        queries, reconciliation = self._for(recorder)
        try:
            return await reconciliation.preview(uuid4())
        finally:
            await queries.close()

    def _for(self, recorder: Recorder) -> tuple[Queries, Reconciliation]:
        source = self._interpreter.source(recorder.name)
        scribe = Scribe(recorder.name, self._sink)
        limit = self._settings.worker.document_limit
        queries = Queries(recorder, source.dialect, scribe, self._clock, limit)
        means = Means(
            source=source,
            queries=queries,
            scribe=scribe,
            connect=self._connect,
            loaded=self._loaded,
            locked_runs=self._locked,
            concurrency=recorder.detail_concurrency,
            give_up=self._settings.worker.detail_give_up,
        )
        return queries, Reconciliation(recorder.name, means)
