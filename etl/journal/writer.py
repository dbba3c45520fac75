"""The thread that writes the journal: it takes whatever waits and commits it at once, one commit in flight.

Under load each commit carries more, so the cost of a sync is shared, and a quiet line waits for nobody.
"""

from __future__ import annotations

from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field
from threading import Condition, RLock, Thread
from time import monotonic
from typing import TypeAlias

from etl.errors import JournalError, JournalFull
from etl.journal.segment import Line, Segment
from etl.journal.shelf import Shelf
from etl.model import Draft

Commit: TypeAlias = "Future[int]"
"""A commit to come: shared by all drafts it will hold, its result the last sequence it wrote."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When a segment is full, how much may wait for the disk, and how long to pause before trying it again."""

    segment_bytes: int = 64_000_000
    waiting_rows: int = 20_000
    waiting_bytes: int = 64_000_000
    retry_seconds: float = 1.0


@dataclass(slots=True)
class _Batch:
    """The lines of one commit."""

    lines: list[Line] = field(default_factory=list)
    size: int = 0
    commit: Commit = field(default_factory=Future)

    def __post_init__(self) -> None:
        self.commit.set_running_or_notify_cancel()  # it is shared: nobody may cancel it for the others

    def add(self, line: Line) -> None:
        self.lines.append(line)
        self.size += line.size


class Tape:
    """The end of the journal: writes to the last segment, and begins a new one when that is full."""

    def __init__(self, shelf: Shelf, segment_bytes: int) -> None:
        self._shelf = shelf
        self._segment_bytes = segment_bytes
        self._segment: Segment | None = None
        self._written = 0
        self.last = 0

    def write(self, lines: list[Line]) -> None:
        """Commit `lines` behind the last entry: all of them or none.

        Raises:
            JournalFull: no room; to be tried again with the same lines.
            JournalDamaged: the segment is no longer what was written.
        """
        if self._written >= self._segment_bytes:
            self._begin_next()
        segment = self._segment = self._segment or self._shelf.open(self._shelf.firsts[-1])
        segment.write(self.last + 1, lines)
        self.last += len(lines)
        self._written += sum(line.size for line in lines)
        self._shelf.measure(segment.first)  # SQLite would go on in a deleted file

    def _begin_next(self) -> None:
        self._shelf.add(self.last + 1)
        self._written = 0
        self.close()

    def close(self) -> None:
        """Close the segment that is being written."""
        if self._segment is not None:
            segment, self._segment = self._segment, None
            segment.close()
            self._shelf.measure(segment.first)


class Writer:
    """The queue and its thread. All methods may be called from any thread."""

    def __init__(self, shelf: Shelf, limits: Limits) -> None:
        self._shelf = shelf
        self._limits = limits
        self._tape = Tape(shelf, limits.segment_bytes)
        self._lock = RLock()
        self._work = Condition(self._lock)
        self._news = Condition(self._lock)
        self._next = _Batch()
        self._in_flight: _Batch | None = None
        self._observed_at = -(2**63)  # before any time
        self._deadline: float | None = None
        self._done = False
        self.committed = 0
        self.failing: JournalFull | None = None
        self.broken: JournalError | None = None
        self._thread = Thread(target=self._run, name=f"journal {shelf.folder.name}", daemon=True)
        self._thread.start()

    def append(self, draft: Draft) -> Commit:
        """Queue `draft`; see `Journal.append`."""
        with self._lock:
            if self.broken is not None:
                raise self.broken
            if self._deadline is not None:
                raise JournalError(str(self._shelf.folder), "it is finished and takes no more entries")
            line = Line.of(draft, not_before=self._observed_at)
            self._observed_at = line.observed_at
            self._next.add(line)
            self._work.notify()
            return self._next.commit

    @property
    def waiting(self) -> int:
        """How many drafts are not committed yet."""
        with self._lock:
            return len(self._next.lines) + (len(self._in_flight.lines) if self._in_flight else 0)

    @property
    def waiting_bytes(self) -> int:
        """About how much memory they take."""
        with self._lock:
            return self._next.size + (self._in_flight.size if self._in_flight else 0)

    @property
    def has_room(self) -> bool:
        """Whether a reader may go on reading without waiting for the disk."""
        return self.waiting < self._limits.waiting_rows and self.waiting_bytes < self._limits.waiting_bytes

    def wait(self, after: int, timeout: float) -> bool:
        """Wait until something behind `after` is committed; see `Journal.wait`."""
        with self._lock:
            self._news.wait_for(lambda: self._done or self.committed > after, timeout)
            return self.committed > after

    def finish(self, timeout: float) -> None:
        """Take no more drafts and commit what waits; see `Journal.finish`."""
        with self._lock:
            if self._deadline is None:
                self._deadline = monotonic() + timeout
            self._work.notify()
        self._thread.join(timeout + self._limits.retry_seconds)
        if self._thread.is_alive():
            raise JournalFull(str(self._shelf.folder), f"its disk does not answer; {self._unwritten()}")
        if self.broken is not None:
            raise self.broken

    @property
    def done(self) -> bool:
        """Whether the thread has ended, so that nothing more will be committed."""
        return self._done

    def _unwritten(self) -> str:
        return f"{self.waiting} entries are not written, a gap opens for them"

    def _run(self) -> None:
        """The thread. Whatever ends it too early reaches everyone who waits, as `broken`."""
        try:
            with closing(self._tape):
                while (batch := self._take()) is not None:
                    self._commit(batch)
                    del batch  # it may be large, and the wait for the next one long
        except JournalError as error:
            self._break(error)
        except Exception as error:  # noqa: BLE001 - supervisor: without it all who await a commit would hang
            self._break(JournalError(str(self._shelf.folder), f"its writer failed unexpectedly: {error!r}"))
        finally:
            self._end()

    def _take(self) -> _Batch | None:
        """Wait for work; None when there will be no more."""
        with self._lock:
            self._work.wait_for(lambda: self._next.lines or self._deadline is not None)
            if not self._next.lines:
                return None
            self._in_flight, self._next = self._next, _Batch()
            return self._in_flight

    def _commit(self, batch: _Batch) -> None:
        while True:
            try:
                self._tape.write(batch.lines)
            except JournalFull as error:
                self._pause(error)
            else:
                break
        with self._lock:
            self.failing = None
            self._in_flight = None
            self.committed = self._tape.last
            self._news.notify_all()
        batch.commit.set_result(self._tape.last)

    def _pause(self, error: JournalFull) -> None:
        """Show that the disk takes nothing and wait a little; give up only at the deadline of `finish`."""
        with self._lock:
            self.failing = error
            pause = self._limits.retry_seconds
            if self._deadline is not None:
                pause = min(pause, self._deadline - monotonic())
            if pause <= 0:
                reason = f"its disk still takes nothing; {self._unwritten()}"
                raise JournalFull(str(self._shelf.folder), reason) from error
            self._work.wait_for(lambda: False, pause)

    def _break(self, error: JournalError) -> None:
        with self._lock:
            self.broken = error
            commits = [batch.commit for batch in (self._in_flight, self._next) if batch is not None]
        for commit in commits:
            commit.set_exception(error)

    def _end(self) -> None:
        with self._lock:
            self._done = True
            self._news.notify_all()
