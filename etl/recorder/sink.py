"""Where an edge puts what it read: the journal, as seen from here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol
from uuid import UUID

from etl.model import Draft, Json, What
from etl.protocol.framing import Document, Rejected
from etl.recorder.clock import Clock


class Sink(Protocol):
    """Takes drafts in order. `append` never waits; `room` holds a reader back while too much waits for disk.

    `now` is the time to stamp things with: UTC, and later than every earlier stamp, also when the clock is set
    back: of two records of a call the one received last counts, and their times must tell. Receipts and requests
    take it from here, so that they can be compared.
    """

    def now(self) -> datetime: ...

    def append(self, draft: Draft) -> None: ...

    async def room(self) -> None: ...


class Nowhere:
    """Takes everything and keeps nothing: for questions that must change nothing."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def now(self) -> datetime:
        return self._clock.now()

    def append(self, draft: Draft) -> None:
        """It is not kept."""

    async def room(self) -> None:
        """There is always room for nothing."""


class Scribe:
    """Writes drafts of one recorder into the sink, stamped with the time of receipt."""

    def __init__(self, recorder: str, sink: Sink) -> None:
        self._recorder = recorder
        self._sink = sink

    def now(self) -> datetime:
        """The time for a stamp, see `Sink`."""
        return self._sink.now()

    def event(self, session: UUID, what: What, **note: Json) -> None:
        """A line about the session itself."""
        self._sink.append(Draft(self.now(), self._recorder, session, what, note=note))

    def received(self, session: UUID, item: Document | Rejected, note: Mapping[str, Json]) -> None:
        """A document, or bytes that are none."""
        what, told = What.DOCUMENT, note
        if isinstance(item, Rejected):
            what, told = What.REJECTED, {**note, "reason": item.reason, "detail": item.detail}
        self._sink.append(Draft(self.now(), self._recorder, session, what, item.raw, told))

    def found_absent(self, session: UUID, call_id: str, answer: bytes, run: str, seen_at: datetime) -> None:
        """A run has found that the recorder neither lists nor knows a call; `answer` is its word as received.

        `seen_at` (UTC) is the receipt of the last document that shows it: what came later is newer than the absence.
        """
        note: dict[str, Json] = {"call_id": call_id, "run": run, "seen_at": seen_at.isoformat()}
        self._sink.append(Draft(self.now(), self._recorder, session, What.ABSENT, answer, note))

    async def room(self) -> None:
        """Wait until the journal has caught up with what was read."""
        await self._sink.room()
