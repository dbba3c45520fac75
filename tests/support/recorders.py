"""Recorders that a test plays by hand, a sink that remembers, and clocks that stand still."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import UUID

from lxml import etree

from etl.config import Recorder
from etl.model import Draft, What
from etl.recorder.clock import Clock

NOON = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
CALL = "54bc7c43-561f-11e0-b752-005056c00008"
PATIENCE = 10.0
"""Seconds after which a test that waits for something has failed."""

_END = re.compile(rb"</VerbaApi\s*>")
T = TypeVar("T")


async def soon(awaitable: Awaitable[T]) -> T:
    """What a test waits for, or a failure."""
    async with asyncio.timeout(PATIENCE):
        return await awaitable


async def until(holds: Callable[[], bool]) -> None:
    """Let everything else run until this holds."""
    async with asyncio.timeout(PATIENCE):
        while not holds():
            await asyncio.sleep(0.001)


# What a recorder says


def document(body: str) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<VerbaApi>{body}</VerbaApi>'.encode()


def subscribed(request_id: str, keepalive: float | None = 10) -> bytes:
    beat = "" if keepalive is None else f'<Keepalive time="{keepalive:g}"/>'
    return document(f'<Response code="0"><Request type="SubscribeOnCallEvent" id="{request_id}"/>{beat}</Response>')


def keepalive(seconds: float = 10) -> bytes:
    return document(f'<Response code="0"><Keepalive time="{seconds:g}"/></Response>')


def notification(event: str, call_id: str, fields: str = "<source_caller_id>1000</source_caller_id>") -> bytes:
    return document(f'<Notification type="{event}"><Call id="{call_id}">{fields}</Call></Notification>')


def started(call_id: str = CALL) -> bytes:
    return notification("CallStart", call_id)


def ended(call_id: str = CALL) -> bytes:
    return notification("CallEnd", call_id, "<end_time>2024-05-01 12:00:00.000</end_time>")


def listed(request_id: str, *call_ids: str) -> bytes:
    calls = "".join(f'<Call id="{each}" source_caller_id="1000"/>' for each in call_ids)
    return document(f'<Response code="0"><Request type="GetCallList" id="{request_id}"/>{calls}</Response>')


def detail(request_id: str, call_id: str = CALL, state: str = "1") -> bytes:
    record = (
        f'<verbacdr state="{state}"><ccdr_id>{call_id}</ccdr_id><end_time>2024-05-01 12:00:00</end_time></verbacdr>'
    )
    return document(f'<Response code="0"><Request type="GetCallDetails" id="{request_id}"/>{record}</Response>')


def failed(request_id: str, text: str = "Database error", code: int = 2) -> bytes:
    error = f'<ErrorMessage description="Processing Error">{text}</ErrorMessage>'
    return document(f'<Response code="{code}"><Request id="{request_id}"/>{error}</Response>')


@dataclass(frozen=True)
class Asking:
    """A request as a recorder reads it."""

    type: str
    id: str
    call_id: str | None
    extensions: tuple[str, ...]


class Peer:
    """One connection, as the recorder sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self._waiting = b""

    async def request(self) -> Asking:
        """The next request; raises EOFError when the client has closed."""
        while not (found := _END.search(self._waiting)):
            data = await soon(self._reader.read(65536))
            if not data:
                raise EOFError
            self._waiting += data
        raw, self._waiting = self._waiting[: found.end()], self._waiting[found.end() :]
        request = etree.fromstring(raw).find("Request")
        assert request is not None
        call = request.find("Call")
        return Asking(
            str(request.get("type")),
            str(request.get("id")),
            None if call is None else call.get("id"),
            tuple(str(each.get("number")) for each in request.findall("Extension")),
        )

    def send(self, *documents: bytes) -> None:
        self.writer.write(b"".join(documents))

    async def flood(self, piece: bytes, times: int) -> None:
        """Send a piece again and again, as fast as it is read."""
        for _ in range(times):
            self.writer.write(piece)
            await self.writer.drain()

    async def closed(self) -> None:
        """Returns when the client has closed the connection."""
        with contextlib.suppress(ConnectionError):
            while await soon(self._reader.read(65536)):
                pass

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        sock: socket.socket = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class Puppet:
    """A recorder that does nothing by itself: its connections come out one by one."""

    def __init__(self) -> None:
        self._peers: asyncio.Queue[Peer] = asyncio.Queue()
        self.accepted: list[Peer] = []
        self._server: asyncio.Server | None = None
        self.port = 0

    async def open(self, tls: ssl.SSLContext | None = None) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, ssl=tls, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        self.accepted.append(peer)
        self._peers.put_nowait(peer)

    async def peer(self) -> Peer:
        """The next connection, which is due."""
        return await soon(self._peers.get())

    async def next_peer(self) -> Peer:
        """The next connection, whenever it comes."""
        return await self._peers.get()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for peer in self.accepted:
            peer.writer.transport.abort()
        await asyncio.sleep(0)


class Lobby:
    """Sorts the connections of a puppet by what they ask for first."""

    def __init__(self, server: Puppet) -> None:
        self._server = server
        self.port = server.port
        self._sessions: asyncio.Queue[tuple[Peer, Asking]] = asyncio.Queue()
        self._queries: asyncio.Queue[tuple[Peer, Asking]] = asyncio.Queue()
        self._sorting = asyncio.create_task(self._sort())

    async def session(self) -> tuple[Peer, Asking]:
        """The next connection that wants to subscribe, with its request."""
        return await soon(self._sessions.get())

    async def query(self) -> tuple[Peer, Asking]:
        """The next connection that asks for something, with its first request."""
        return await soon(self._queries.get())

    async def close(self) -> None:
        self._sorting.cancel()
        await asyncio.gather(self._sorting, return_exceptions=True)

    async def _sort(self) -> None:
        async with asyncio.TaskGroup() as greeting:
            while True:
                greeting.create_task(self._greet(await self._server.next_peer()))

    async def _greet(self, peer: Peer) -> None:
        with contextlib.suppress(EOFError, ConnectionError, TimeoutError):
            request = await peer.request()
            queue = self._sessions if request.type == "SubscribeOnCallEvent" else self._queries
            queue.put_nowait((peer, request))


@contextlib.asynccontextmanager
async def puppet(tls: ssl.SSLContext | None = None) -> AsyncIterator[Puppet]:
    server = Puppet()
    await server.open(tls)
    try:
        yield server
    finally:
        await server.close()


# The client's side


def recorder(port: int, **options: object) -> Recorder:
    """A configured recorder on this machine; time-outs are short but never meant to strike by chance."""
    settings = {"name": "ny-1", "host": "127.0.0.1", "port": port, "request_timeout": "5s", **options}
    return Recorder.model_validate(settings)


@dataclass
class Tape:
    """A journal in memory, with a disk that can be held."""

    clock: Clock
    drafts: list[Draft] = field(default_factory=list)
    _gate: asyncio.Event = field(default_factory=asyncio.Event)
    held: bool = False

    def now(self) -> datetime:
        return self.clock.now()

    def append(self, draft: Draft) -> None:
        self.drafts.append(draft)

    async def room(self) -> None:
        if self.held:
            await self._gate.wait()

    def hold(self) -> None:
        self.held = True
        self._gate.clear()

    def release(self) -> None:
        self.held = False
        self._gate.set()

    def of(self, what: What) -> list[Draft]:
        return [draft for draft in self.drafts if draft.what is what]

    @property
    def documents(self) -> list[Draft]:
        return self.of(What.DOCUMENT)

    def count(self, what: What, at_least: int = 1) -> Callable[[], bool]:
        """Whether that many lines of a kind are there."""
        return lambda: len(self.of(what)) >= at_least


class StillClock:
    """A clock that only moves when told to."""

    def __init__(self, now: datetime = NOON) -> None:
        self._now = now
        self._elapsed = 1000.0
        self.boot: str | None = "a boot"

    def now(self) -> datetime:
        return self._now

    def elapsed(self) -> float:
        return self._elapsed

    def advance(self, seconds: float) -> None:
        """Time goes on."""
        self._now += timedelta(seconds=seconds)
        self._elapsed += seconds

    def set_by(self, seconds: float) -> None:
        """Someone sets the wall clock."""
        self._now += timedelta(seconds=seconds)


@dataclass
class Ear:
    """A listener that remembers."""

    confirmations: list[UUID] = field(default_factory=list)
    interruptions: list[UUID] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)

    def opened(self, session: UUID) -> None: ...

    def confirmed(self, session: UUID) -> None:
        self.confirmations.append(session)

    def interrupted(self, session: UUID) -> None:
        self.interruptions.append(session)

    def heard(self, kind: str) -> None:
        self.kinds.append(kind)

    def ended(self, call_id: str) -> None:
        self.ends.append(call_id)
