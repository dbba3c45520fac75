"""A recorder that plays by the rules but for what a test has it say, and a worker in front of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from support.recorders import Asking, Peer, Puppet, document, failed, listed, puppet, subscribed

STARTING = 60.0
"""Seconds."""
Answer = Callable[[Asking], bytes]


class Hostile:
    """Confirms subscriptions, lists no calls, and answers for each call of `records`; `say` is for the rest.

    `records`: the inside of the record of a call, by its id. `answers`: whole answers by request type instead.
    """

    def __init__(self, server: Puppet) -> None:
        self.port = server.port
        self.records: dict[str, str] = {}
        self.answers: dict[str, Answer] = {}
        self.sessions: list[Peer] = []
        """Connections that have subscribed, the newest last."""
        self._server = server
        self._serving = asyncio.create_task(self._serve())

    async def subscribed(self) -> None:
        """Returns when somebody has subscribed."""
        async with asyncio.timeout(STARTING):  # a worker has to start for that
            while not self.sessions:
                await asyncio.sleep(0.01)

    async def say(self, *documents: bytes) -> None:
        """Send these bytes to the newest subscriber."""
        peer = self.sessions[-1]
        for each in documents:
            peer.send(each)
            await peer.writer.drain()

    async def close(self) -> None:
        self._serving.cancel()
        await asyncio.gather(self._serving, return_exceptions=True)

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as talking:
            while True:
                talking.create_task(self._talk(await self._server.next_peer()))

    async def _talk(self, peer: Peer) -> None:
        while True:
            try:
                request = await peer.request()
            except TimeoutError:  # nothing was asked for a while
                continue
            except (EOFError, ConnectionError):
                break
            peer.send(self._answer(request))
            if request.type == "SubscribeOnCallEvent" and request.type not in self.answers:
                self.sessions.append(peer)
        self.sessions = [each for each in self.sessions if each is not peer]

    def _answer(self, request: Asking) -> bytes:
        if answer := self.answers.get(request.type):
            return answer(request)
        if request.type == "SubscribeOnCallEvent":
            return subscribed(request.id, None)
        if request.type == "GetCallList":
            return listed(request.id)
        inside = self.records.get(request.call_id or "")
        if inside is None:
            return failed(request.id, "Call cannot be found")
        record = f'<verbacdr state="1"><ccdr_id>{request.call_id}</ccdr_id>{inside}</verbacdr>'
        return document(f'<Response code="0"><Request type="GetCallDetails" id="{request.id}"/>{record}</Response>')


@asynccontextmanager
async def hostile() -> AsyncIterator[Hostile]:
    """A recorder on a free port of this machine."""
    async with puppet() as server:
        recorder = Hostile(server)
        try:
            yield recorder
        finally:
            await recorder.close()


class Listener:
    """Listens on a port where nobody has any business; counts who comes all the same."""

    def __init__(self) -> None:
        self.came = 0
        self.port = 0
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Listener:
        self._server = await asyncio.start_server(self._note, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _note(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.came += 1
        writer.close()


def peak_memory(pid: int) -> int:
    """The most memory that a process ever held, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def cpu_seconds(pid: int) -> float:
    """The processor time that a process has used, its own and the system's."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
