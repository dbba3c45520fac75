"""`cdr capture`: what a recorder sends, byte for byte, and how each message was understood.

A connection of its own beside any worker, subscribed like a worker's. A capture is no archive: it has no journal,
claims no coverage, and stores nothing but its two files.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from uuid import UUID, uuid4

from etl.config import Recorder
from etl.errors import CdrError, RecorderUnavailable, UsageError
from etl.ingest.interpret import Interpreter
from etl.model import Draft, Fact, Json, What
from etl.protocol.dialect import Dialect
from etl.protocol.framing import Document, Framer, Rejected
from etl.protocol.messages import Message, Response
from etl.protocol.subscription import Confirmed, Dead, Event, Refused, Subscription
from etl.recorder.clock import Clock
from etl.recorder.link import Link
from etl.recorder.reading import read_messages

LOOK_EVERY = 0.2
"""Seconds between two looks at what is due."""


@dataclass(slots=True)
class Captured:
    """What a capture holds: bytes as received, documents, and pieces that were none. `ended` is why it ended, empty
    where it was asked to."""

    stream: Path
    lines: Path
    bytes: int = 0
    documents: int = 0
    rejected: int = 0
    ended: str = ""


async def capture(
    recorder: Recorder,
    interpreter: Interpreter,
    out: Path,
    clock: Clock,
    *,
    limit: int,
    stop: asyncio.Event,
    confirmed: Callable[[], None],
) -> Captured:
    """Subscribe and write until `stop` is set or the recorder ends it; `confirmed` is told of the subscription.

    The bytes go to `out`, a JSON line for each document beside it. Raises UsageError where either file exists, and
    RecorderUnavailable where no connection comes about.
    """
    dialect = interpreter.source(recorder.name).dialect
    with _files(out) as (stream, lines):
        try:
            link = await Link.open(recorder, Framer(limit, dialect.root))
        except BaseException:
            _forget(out)
            raise
        captured = Captured(out, lines_of(out))
        running = _Capture(recorder, interpreter, dialect, link, clock, stream, lines, captured, confirmed)
        try:
            await running.run(stop)
        finally:
            link.close()
    return captured


def lines_of(out: Path) -> Path:
    """The file beside it that says how each document was understood."""
    return out.with_name(out.name + ".jsonl")


@contextmanager
def _files(out: Path) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Both files, new, unbuffered, and for nobody else's eyes: they hold who spoke with whom."""
    with _new(out) as stream:
        try:
            lines = _new(lines_of(out))
        except UsageError:
            out.unlink()
            raise
        with lines:
            yield stream, lines


def _new(path: Path) -> BinaryIO:
    try:
        return os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600), "wb", buffering=0)
    except FileExistsError:
        raise UsageError(f"--out {path}: the file exists, and a capture overwrites nothing; name another") from None
    except OSError as error:
        raise UsageError(f"--out {path}: cannot be written: {error.strerror}") from None


def _forget(out: Path) -> None:
    for path in (out, lines_of(out)):
        path.unlink()


class _Capture:
    """One connection, until its end."""

    def __init__(
        self,
        recorder: Recorder,
        interpreter: Interpreter,
        dialect: Dialect,
        link: Link,
        clock: Clock,
        stream: BinaryIO,
        lines: BinaryIO,
        captured: Captured,
        confirmed: Callable[[], None],
    ) -> None:
        self._recorder = recorder
        self._interpreter = interpreter
        self._dialect = dialect
        self._link = link
        self._clock = clock
        self._stream = stream
        self._lines = lines
        self._captured = captured
        self._confirmed = confirmed
        self._session: UUID = uuid4()
        self._subscription = Subscription(
            recorder.extensions,
            dialect,
            probe_every=recorder.probe_every.total_seconds(),
            request_timeout=recorder.request_timeout.total_seconds(),
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Read and write; what is left over when the end comes is written too."""
        self._link.send(self._subscription.start(self._clock.elapsed()))
        stopped = asyncio.create_task(stop.wait())
        reading = asyncio.create_task(self._link.receive())
        try:
            while not stop.is_set() and not self._captured.ended:
                await asyncio.wait({stopped, reading}, timeout=LOOK_EVERY, return_when=asyncio.FIRST_COMPLETED)
                if reading.done():
                    await self._received(reading)
                    reading = asyncio.create_task(self._link.receive())
                self._mind()
        finally:
            for task in (stopped, reading):
                task.cancel()
            await asyncio.gather(stopped, reading, return_exceptions=True)
        await self._take(self._link.finish("cut_off"))

    async def _received(self, reading: asyncio.Task[bytes]) -> None:
        try:
            data = reading.result()
        except RecorderUnavailable as error:
            self._captured.ended = str(error)
            return
        if not data:
            self._captured.ended = f"recorder {self._recorder.name}: it closed the connection"
            return
        self._write(self._stream, data)
        self._captured.bytes += len(data)
        await self._take(self._link.frame(data))
        if self._link.receiving:
            self._subscription.receiving(self._clock.elapsed())

    def _mind(self) -> None:
        """Send the proof of life that is due, and notice that there is none."""
        due, event = self._subscription.tick(self._clock.elapsed())
        if due:
            self._link.send(due)
        if event is not None:
            self._react(event)

    def _react(self, event: Event) -> None:
        if isinstance(event, Confirmed):
            self._confirmed()
        elif isinstance(event, Refused):
            told = f"it refused the subscription (code {event.code}): {event.text}"
            self._captured.ended = f"recorder {self._recorder.name}: {told}"
        elif isinstance(event, Dead):
            self._captured.ended = f"recorder {self._recorder.name}: {event.reason}"

    async def _take(self, items: Iterable[Document | Rejected]) -> None:
        for item in items:
            line = self._rejected(item) if isinstance(item, Rejected) else await self._document(item)
            text = json.dumps({"at": self._clock.now().isoformat(), "bytes": len(item.raw), **line}, ensure_ascii=False)
            self._write(self._lines, text.encode() + b"\n")

    def _rejected(self, item: Rejected) -> dict[str, Json]:
        self._captured.rejected += 1
        return {"what": "rejected", "reason": item.reason, "detail": item.detail}

    async def _document(self, item: Document) -> dict[str, Json]:
        self._captured.documents += 1
        messages = await read_messages(item, self._dialect)
        note = _note(messages, self._subscription)
        for message in messages:
            for event in self._subscription.message(message, self._clock.elapsed()):
                self._react(event)
        draft = Draft(self._clock.now(), self._recorder.name, self._session, What.DOCUMENT, item.raw, note)
        told = self._interpreter.interpret(draft)
        return {
            "what": "document",
            **note,
            "messages": [type(message).__name__.lower() for message in messages],
            "facts": [_fact(fact) for fact in (*told.facts, *told.strangers)],
            "quarantined": [each.reason for each in told.quarantined],
        }

    def _write(self, file: BinaryIO, data: bytes) -> None:
        left = memoryview(data)
        try:
            while left:
                left = left[file.write(left) :]
        except OSError as error:
            raise CdrError(
                f"{file.name}: cannot be written: {error.strerror}; what was captured before is in it"
            ) from None


def _note(messages: Iterable[Message], subscription: Subscription) -> dict[str, Json]:
    asked = [subscription.asked(each.request_id) for each in messages if isinstance(each, Response)]
    return next(({"asked": each.value} for each in asked if each is not None), {})


def _fact(fact: Fact) -> dict[str, Json]:
    """What the archive would take from it: times in UTC, everything that is not typed under `attributes`."""
    values: Mapping[str, Json] = {
        name: value if isinstance(value, str | bool | int) else str(value) for name, value in fact.values.items()
    }
    return {
        "call_id": fact.call_id,
        "kind": fact.kind.value,
        **values,
        "attributes": dict(fact.attributes),
        "quality": list(fact.quality),
    }
