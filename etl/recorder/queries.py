"""Lists and details over a second connection: overlapping requests, matched to their answers by id alone.

A server may close the connection after each response (documented). What was still unanswered then is asked
again on a new connection; once a server has shown that habit, each request of the same session gets a connection
of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from etl.config import Recorder
from etl.errors import RecorderUnavailable
from etl.model import Asked, Json
from etl.protocol import requests
from etl.protocol.answers import Answer, read_answer
from etl.protocol.dialect import Dialect
from etl.protocol.framing import Document, Framer, Rejected
from etl.protocol.messages import Response
from etl.recorder.clock import Clock
from etl.recorder.link import Link
from etl.recorder.reading import read_messages
from etl.recorder.sink import Scribe

TRIES = 3
"""How often one question is put again because the server closed after answering another."""


class SharedLaneClosed(Exception):
    """The connection closed, and other questions had been put on it before or beside this one.

    A server that closes after a response tears down what it has not read: even that response can be lost. So
    this says nothing about the question, which deserves a connection of its own.
    """


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with its document as received; `asked_at` (UTC) is when the question was put. What is received after
    `received_at` is not stamped with an earlier time."""

    answer: Answer
    raw: bytes
    asked_at: datetime
    received_at: datetime


@dataclass(slots=True)
class _Question:
    asked: Asked
    call_id: str | None
    note: dict[str, Json]
    asked_at: datetime
    answer: asyncio.Future[Reply]


@dataclass(slots=True, eq=False)
class _Lane:
    """One connection and what is unanswered on it. A question that timed out stays listed, so that a late
    answer is still journaled for what it is."""

    link: Link
    session: UUID
    open_questions: dict[str, _Question] = field(default_factory=dict)
    put: int = 0
    last_byte: float = 0.0
    task: asyncio.Task[None] | None = None

    @property
    def alive(self) -> bool:
        return self.task is not None and not self.task.done()


class Queries:
    """Asks one recorder for lists and details; every answer is journaled before it is returned."""

    def __init__(self, recorder: Recorder, dialect: Dialect, scribe: Scribe, clock: Clock, limit: int) -> None:
        self._recorder = recorder
        self._dialect = dialect
        self._scribe = scribe
        self._clock = clock
        self._limit = limit
        self._timeout = recorder.request_timeout.total_seconds()
        self._last_id = 0
        self._closing: UUID | None = None
        self._shared: _Lane | None = None
        self._lanes: set[_Lane] = set()
        self._opening = asyncio.Lock()

    async def call_list(self, session: UUID) -> Answer:
        """All calls being recorded. Raises RecorderUnavailable when there is no answer in time."""
        return (await self.list_reply(session)).answer

    async def list_reply(self, session: UUID, **note: Json) -> Reply:
        """As `call_list`, with the document; `note` is journaled with it."""
        return await self._ask(session, Asked.LIST, None, note, lambda at: requests.call_list(at, self._dialect))

    async def call_detail(self, session: UUID, call_id: str, purpose: str) -> Answer:
        """The full record of one call. Raises RecorderUnavailable when there is no answer in time."""
        return (await self.detail_reply(session, call_id, purpose)).answer

    async def detail_reply(self, session: UUID, call_id: str, purpose: str) -> Reply:
        """As `call_detail`, with the document."""
        note: dict[str, Json] = {"call_id": call_id, "purpose": purpose}
        return await self._ask(
            session, Asked.DETAIL, call_id, note, lambda at: requests.call_detail(at, call_id, self._dialect)
        )

    async def close(self) -> None:
        """Close all connections; unanswered questions fail."""
        tasks = [lane.task for lane in self._lanes if lane.task]
        for lane in list(self._lanes):
            lane.link.close()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(
        self, session: UUID, asked: Asked, call_id: str | None, note: dict[str, Json], build: Callable[[str], bytes]
    ) -> Reply:
        for _ in range(TRIES):
            lane = await self._lane(session)
            try:
                return await self._put(lane, asked, call_id, note, build)
            except SharedLaneClosed:
                self._closing = session
            finally:
                if self._one_each(session) and not lane.open_questions:
                    lane.link.close()
        raise RecorderUnavailable(self._recorder.name, "it keeps closing the connection before it answers")

    def _one_each(self, session: UUID) -> bool:
        """The server has shown its habit in this session; the next one finds out anew, for a reset looks the same."""
        return self._closing == session

    async def _lane(self, session: UUID) -> _Lane:
        if self._one_each(session):
            return await self._open(session)
        async with self._opening:
            if self._shared is None or not self._shared.alive:
                self._shared = await self._open(session)
            self._shared.session = session
            return self._shared

    async def _open(self, session: UUID) -> _Lane:
        link = await Link.open(self._recorder, Framer(self._limit, self._dialect.root))
        lane = _Lane(link, session)
        self._lanes.add(lane)
        lane.task = asyncio.create_task(self._listen(lane))
        return lane

    async def _put(
        self, lane: _Lane, asked: Asked, call_id: str | None, note: dict[str, Json], build: Callable[[str], bytes]
    ) -> Reply:
        self._last_id += 1
        request_id = str(self._last_id)
        asked_at = self._scribe.now()
        told = {"asked": asked.value, "requested_at": asked_at.isoformat(), **note}
        question = _Question(asked, call_id, told, asked_at, asyncio.get_running_loop().create_future())
        lane.open_questions[request_id] = question
        lane.put += 1
        lane.link.send(build(request_id))
        return await self._await(lane, question)

    async def _await(self, lane: _Lane, question: _Question) -> Reply:
        """The answer; while a document is arriving the time-out starts anew with each byte."""
        deadline = self._clock.elapsed() + self._timeout
        while True:
            left = deadline - self._clock.elapsed()
            done, _ = await asyncio.wait({question.answer}, timeout=max(left, 0.01))
            if done:
                return question.answer.result()
            if lane.link.receiving:
                deadline = max(deadline, lane.last_byte + self._timeout)
            if self._clock.elapsed() >= deadline:
                question.answer.cancel()
                self._give_up(lane)
                raise RecorderUnavailable(
                    self._recorder.name, f"no answer to {question.asked.value} within {self._timeout:g} s"
                )

    def _give_up(self, lane: _Lane) -> None:
        """A connection over which nothing came for a whole time-out is of no use to the next question."""
        if self._clock.elapsed() - lane.last_byte >= self._timeout:
            lane.link.close()

    async def _listen(self, lane: _Lane) -> None:
        """Read until the connection ends; then everything unanswered on it fails."""
        try:
            while data := await lane.link.receive():
                lane.last_byte = self._clock.elapsed()
                await self._take_all(lane, lane.link.frame(data))
                await self._scribe.room()
        except RecorderUnavailable:
            pass  # the questions below are told
        finally:
            lane.link.close()
            self._lanes.discard(lane)
            await self._take_all(lane, lane.link.finish("cut_off"))
            self._fail(lane)

    async def _take_all(self, lane: _Lane, items: Iterable[Document | Rejected]) -> None:
        """By itself, so that no large document is held while the next one is awaited."""
        for item in items:
            await self._take(lane, item)

    async def _take(self, lane: _Lane, item: Document | Rejected) -> None:
        note: dict[str, Json] = {"channel": "query"}
        messages = await read_messages(item, self._dialect)
        questions = [self._match(lane, message) for message in messages if isinstance(message, Response)]
        for question, _ in questions:
            note |= question.note if question else {}
        self._scribe.received(lane.session, item, note)
        for question, response in questions:
            if question is not None and not question.answer.done():
                answer = read_answer(response, question.asked, question.call_id)
                question.answer.set_result(Reply(answer, item.raw, question.asked_at, self._scribe.now()))

    def _match(self, lane: _Lane, response: Response) -> tuple[_Question | None, Response]:
        return lane.open_questions.pop(response.request_id or "", None), response

    def _fail(self, lane: _Lane) -> None:
        closed: Exception = RecorderUnavailable(self._recorder.name, "it closed the connection before it answered")
        if lane.put > 1:
            closed = SharedLaneClosed()
        for question in lane.open_questions.values():
            if not question.answer.done():
                question.answer.set_exception(closed)
                question.answer.exception()  # counts as looked at: whoever asked may have been cancelled meanwhile
        lane.open_questions.clear()
