"""The journal as the recorders see it."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime

from etl.errors import DatabaseUnavailable
from etl.ingest.loader import Loader
from etl.journal.journal import Journal
from etl.journal.writer import Commit
from etl.model import Draft
from etl.recorder.clock import Clock

LINE_BYTES = 300
"""About what a line takes beside its body."""
PATIENCE = 0.01
"""Seconds between two looks whether the journal, or the database, has caught up."""


class JournalSink:
    """Takes drafts into the journal, and stamps them. To be used on the event loop only."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._latest = clock.now()
        self._commit: Commit | None = None
        self.taken: Counter[str] = Counter()
        """Bytes taken by recorder, since whoever minds the journal cleared it."""

    def now(self) -> datetime:
        self._latest = max(self._latest, self._clock.now())
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
