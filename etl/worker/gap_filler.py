"""Fills gaps from the history beside the live work: as soon as they close, and again when no row can be late."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import TypeAlias

import structlog

from etl.calls.history import due_at
from etl.config import Settings
from etl.errors import CdrError, DatabaseError
from etl.jobs import history
from etl.jobs.backfill_gaps import GapBackfill, Report, Todo
from etl.jobs.history import OnWritten, Source, Stopped
from etl.store import history_reads
from etl.store.database import Connection

LOOK_EVERY = 2.0
"""Seconds between two looks for gaps that are due."""
PAUSES = (5.0, 15.0, 60.0, 300.0)
"""Seconds until the next try after a history or the database was out of reach, one after the other."""
CALLS_EVERY = timedelta(hours=1)
"""How often calls without a record are searched for."""
YOUNG = timedelta(days=7)
"""Older calls are left to `cdr backfill gaps`: what the history lacks for so long it hardly ever gets."""
STOPPING = 3.0
"""Seconds that a stop waits for an answer of the history; what was read by then is stored."""

Open: TypeAlias = Callable[[Settings, Callable[[float], None]], AbstractContextManager[list[Source]]]


class GapFiller:
    """A thread that looks for gaps that are due, and reads them; one at a time among all workers."""

    def __init__(
        self,
        settings: Settings,
        connect: Callable[[], Connection],
        now: Callable[[], datetime],
        on_written: OnWritten,
        open_sources: Open = history.sources,
    ) -> None:
        self._settings = settings
        self._connect = connect
        self._now = now
        self._on_written = on_written
        self._open_sources = open_sources
        self._delay = history.delay_of(settings)
        self._log = structlog.get_logger()
        self._stopped = threading.Event()
        self._failures = 0
        self._searched_at: datetime | None = None
        self._thread = threading.Thread(target=self._run, name="gap filler", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop after the transaction under way. A history that answers slowly is left: the thread dies with us."""
        self._stopped.set()
        self._thread.join(STOPPING)

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._failures = 0 if self._guarded() else self._failures + 1
            self._stopped.wait(PAUSES[min(self._failures, len(PAUSES)) - 1] if self._failures else LOOK_EVERY)

    def _guarded(self) -> bool:
        """One look; whether it did all that was due. Whatever fails is said and tried again."""
        try:
            return self.look()
        except Stopped:
            return True
        except DatabaseError as error:
            self._log.debug("filling gaps waits for the database", error=str(error))
        except CdrError as error:
            self._log.error("cannot fill gaps", error=str(error))
        except Exception:  # noqa: BLE001 - the supervisor: filling gaps must not end, and must not end the worker
            self._log.exception("filling gaps failed unexpectedly; this is a bug, please report it")
        return False

    def look(self) -> bool:
        """Read what is due, unless another worker is at it; False where a history did not answer."""
        with self._connect() as connection:
            if not history_reads.try_lock(connection):
                return True
            now = self._now()
            todo = self._due(connection, now)
            if not todo:
                return True
            with self._open_sources(self._settings, self._sleep) as sources:
                job = GapBackfill(
                    self._settings,
                    self._connect,
                    sources,
                    now=self._now,
                    on_progress=lambda _: self._check(),
                    on_written=self._on_written,
                )
                report = job.run(todo, "worker")
        self._tell(report)
        if report.reached and todo.calls:
            self._searched_at = now
        return report.reached

    def _due(self, connection: Connection, now: datetime) -> Todo:
        gaps = history_reads.open_gaps(connection)
        due = [gap for gap in gaps if due_at(gap.start, gap.end, gap.read_at, self._delay) <= now]
        if self._searched_at is not None and now < self._searched_at + CALLS_EVERY:
            return Todo(due)
        calls = [call for call in history_reads.unresolved(connection, now) if call.first_seen_at >= now - YOUNG]
        self._searched_at = self._searched_at if calls else now
        return Todo(due, calls)

    def _tell(self, report: Report) -> None:
        for gap in report.gaps:
            tell = self._log.info if gap.after != "open" else self._log.debug
            tell(
                "a gap was read from the history",
                recorder=gap.recorder,
                gap=gap.id,
                state=gap.after,
                recovered=gap.recovered,
                told=gap.told,
            )
        if report.found:
            self._log.info("the history had records of calls that lacked one", calls=report.found)
        if report.failure is not None:
            self._log.warning("the history did not give all", error=report.failure)

    def _sleep(self, seconds: float) -> None:
        """A pause of the source, which a stop cuts short."""
        self._stopped.wait(seconds)
        self._check()

    def _check(self) -> None:
        if self._stopped.is_set():
            raise Stopped
