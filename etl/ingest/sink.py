"""The journal as the recorders see it."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime, timedelta

from etl.errors import DatabaseUnavailable
from etl.ingest.loader import Loader
from etl.journal.journal import Journal
from etl.journal.writer import Commit
from etl.model import Draft
from etl.recorder.clock import Clock

TICK = timedelta(microseconds=1)
"""By so much each stamp is later than the one before, while a clock that was set back has to catch up."""
LINE_BYTES = 300
"""About what a line takes beside its body."""
PATIENCE = 0.01
"""Seconds between two looks whether the journal, or the database, has caught up."""


class JournalSink:
    """Takes drafts into the journal, and stamps them. To be used on the event loop only."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._latest = self._now = clock.now()
        self._elapsed = clock.elapsed()
        self._commit: Commit | None = None
        self.taken: Counter[str] = Counter()
        """Bytes taken by recorder, since whoever minds the journal cleared it."""

    def now(self) -> datetime:
        """Later than every stamp before, and never before a moment that the clock has shown already, stamped or not:
        set back, it shows them again, and what is heard the second time must not vouch for what came the first time."""
        shown = self._now + timedelta(seconds=self._clock.elapsed() - self._elapsed)
        self._now = self._clock.now()
        self._elapsed = self._clock.elapsed()  # after the other: looking late must not seem to be a step back
        self._latest = max(self._latest + TICK, self._now, shown)
        return self._latest

    def append(self, draft: Draft) -> None:
        self._commit = self._journal.append(draft)
        self.taken[draft.recorder] += len(draft.body) + LINE_BYTES

    async def room(self) -> None:
        while not self._journal.has_room:
            await asyncio.sleep(PATIENCE)

    async def loaded(self, loader: Loader) -> None:
        """Wait until all that was appended so far is in the database; raises DatabaseUnavailable while that is away."""
        if self._commit is None:
            return
        sequence = await asyncio.wrap_future(self._commit)
        while loader.sequence < sequence:
            if not loader.connected.is_set():
                raise DatabaseUnavailable(loader.database_error)
            await asyncio.sleep(PATIENCE)
