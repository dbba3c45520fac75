"""Takes over what dead processes left behind: their journals on this disk, their sessions in the database."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import UUID

import structlog

from etl.calls.coverage import CLOCK_STEP
from etl.errors import CdrError, DatabaseError, JournalDamaged
from etl.ingest.interpret import Interpreter
from etl.ingest.loader import Loaded, Loader
from etl.ingest.outstanding import outstanding
from etl.journal.held import HeldJournal
from etl.journal.orphans import adopt
from etl.recorder.clock import Clock, read
from etl.store.database import Connection
from etl.store.pending import Owed
from etl.store.sessions import close_session, load_sessions, ownerless, withdraw_repeated
from etl.store.write import Written

LOOK_EVERY = 5.0
"""Seconds between two looks for journals and sessions without an owner."""
GRACE = timedelta(seconds=15)
"""A session counts as ownerless when its owner's lock in the database has been free for this long: a worker
that has only lost its connection is back by then."""


UNKNOWN = 1 << 62
"""The last line of a journal whose end cannot be read."""


class Adopter:
    """A thread that looks for orphans, from the start on and then every few seconds."""

    def __init__(
        self,
        root: Path,
        connect: Callable[[], Connection],
        interpreter: Interpreter,
        clock: Clock,
        *,
        own: UUID,
        recorders: Sequence[str],
        margin: timedelta,
        owed_for: timedelta,
        on_loaded: Callable[[Loaded], None],
        on_owed: Callable[[list[Owed]], None],
        on_adopted: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_adopted` is told when all that could be read of a journal is in the database."""
        self._root = root
        self._connect = connect
        self._interpreter = interpreter
        self._clock = clock
        self._own = own
        self._recorders = recorders
        self._margin = margin
        self._owed_for = owed_for
        self._on_loaded = on_loaded
        self._on_owed = on_owed
        self._on_adopted = on_adopted
        self._log = structlog.get_logger()
        self._stopped = threading.Event()
        self._soon = threading.Event()
        self._doubtful = threading.Event()
        self._loader: Loader | None = None
        self._orphans: list[HeldJournal] = []
        self._free_since: dict[UUID, timedelta] = {}
        self._booted_at: datetime | None = None
        self._thread = threading.Thread(target=self._run, name="adoption", daemon=True)

    @property
    def bytes_on_disk(self) -> int:
        """What the orphans take that are not loaded yet; known without looking at the disk."""
        return sum(orphan.bytes_on_disk for orphan in tuple(self._orphans))

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop after the batch under way; what is left is for whoever starts next."""
        self._stopped.set()
        self._soon.set()
        if self._loader is not None:
            self._loader.stop()
        self._thread.join()

    def clock_was_set(self) -> None:
        """Look at once what that means for the sessions that have ended. May be called from any thread."""
        self._doubtful.set()
        self._soon.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._guarded(self._look)
            self._soon.wait(LOOK_EVERY)
            self._soon.clear()  # whoever sets it has said before what for

    def _guarded(self, work: Callable[[], None]) -> None:
        """Whatever fails is said, and tried again at the next look; it keeps nobody from the rest. Nothing is begun any
        more once we are to stop: it may wait for a lock."""
        if self._stopped.is_set():
            return
        try:
            work()
        except DatabaseError as error:
            self._log.debug("looking for orphans waits for the database", error=str(error))
        except CdrError as error:
            self._log.error("cannot adopt what a dead process left", error=str(error))
        except Exception:  # noqa: BLE001 - the supervisor: adoption must not end, and must not end the worker
            self._log.exception("adoption failed unexpectedly; this is a bug, please report it")

    def _look(self) -> None:
        orphans, refused = adopt(self._root)
        for error in refused:
            self._log.error("a journal cannot be opened", error=str(error))
        self._orphans = list(orphans)
        for orphan in orphans:  # before any is loaded, for which the database may be away
            self._guarded(partial(self._take_up, orphan))
        self._guarded(self._mind_clock)
        for orphan in orphans:
            with orphan:  # each of them is locked by now: none may be forgotten because another one fails
                self._guarded(partial(self._adopt, orphan))
            self._orphans.remove(orphan)
        self._guarded(self._close_ownerless)
        self._guarded(self._mind_clock)

    def _take_up(self, orphan: HeldJournal) -> None:
        """Ask for the details that the dead process still owed."""
        self._log.info("adopting the journal of a dead process", journal=str(orphan.id))
        self._on_owed(outstanding(orphan, self._interpreter, self._clock.now() - self._owed_for))

    def _adopt(self, orphan: HeldJournal) -> None:
        try:
            self._load(orphan)
        except JournalDamaged as error:
            self._set_aside(orphan, error)
        else:
            if self._stopped.is_set():
                return
            self._close_sessions(orphan.id, "crash")
            orphan.remove(orphan.last_sequence)
        self._on_adopted()

    def _load(self, orphan: HeldJournal) -> None:
        """Up to its last line; with a damaged end, up to the damage."""
        try:
            last = orphan.last_sequence
        except JournalDamaged:
            last = UNKNOWN
        self._loader = Loader(orphan, self._connect, self._interpreter, self._margin, self._clock.now, self._on_loaded)
        if not self._stopped.is_set():
            self._loader.run(until=last)
        self._loader = None

    def _set_aside(self, orphan: HeldJournal, error: JournalDamaged) -> None:
        self._log.error("a journal is damaged; what it still held is lost and lies in a gap", error=str(error))
        self._close_sessions(orphan.id, "journal")
        kept = orphan.set_aside()
        self._log.error("the damaged journal was set aside for inspection", path=str(kept))

    def _close_sessions(self, journal: UUID, reason: str) -> None:
        with self._connect() as connection:
            for state in load_sessions(connection, journal):
                self._close(connection, state.id, reason)

    def _close(self, connection: Connection, session: UUID, reason: str) -> None:
        self._doubtful.set()
        ended = close_session(connection, session, self._clock.now(), reason, self._margin)
        if ended:
            self._on_loaded(Loaded(Written(gap_seconds=ended)))

    def _mind_clock(self) -> None:
        """At first, whenever the clock was set, and for sessions that we have ended: what was covered may come again.

        Our sessions notice a step at once, also one that is taken back before we look; without any, it is seen here.
        """
        reading = read(self._clock)
        if self._booted_at is None or abs(reading.booted_at - self._booted_at) > CLOCK_STEP:
            self._doubtful.set()
        if not self._doubtful.is_set():
            return
        self._doubtful.clear()
        try:
            with self._connect() as connection:
                ended = withdraw_repeated(connection, self._recorders, reading, self._margin)
        except Exception:
            self._doubtful.set()
            raise
        self._booted_at = reading.booted_at
        if ended:
            self._on_loaded(Loaded(Written(gap_seconds=ended)))

    def _close_ownerless(self) -> None:
        """Sessions whose owner no longer holds its lock, and whose journal is not on this disk either."""
        now = timedelta(seconds=self._clock.elapsed())
        with self._connect() as connection:
            free = {state.id: state for state in ownerless(connection) if state.worker != str(self._own)}
            self._free_since = {key: self._free_since.get(key, now) for key in free}
            for key, state in free.items():
                if now - self._free_since[key] >= GRACE and not (self._root / state.worker).exists():
                    self._log.warning(
                        "the owner of a session is gone; its time since is a gap", recorder=state.recorder
                    )
                    self._close(connection, key, "journal")
