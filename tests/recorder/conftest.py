"""A session of ours on one side, a recorder played by hand on the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from support.keys import make_keys
from support.recorders import Ear, Peer, Puppet, StillClock, Tape, puppet, recorder, soon, subscribed, until

from etl.model import What
from etl.protocol.dialect import Dialect
from etl.recorder import session as session_module
from etl.recorder.clock import Clock
from etl.recorder.queries import Queries
from etl.recorder.session import Ending, Session
from etl.recorder.sink import Scribe

LIMIT = 1_000_000


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines are kept by the clock that a test moves; how soon they are noticed must not cost it time."""
    monkeypatch.setattr(session_module, "LOOK_EVERY", 0.002)


@pytest.fixture
async def server() -> AsyncIterator[Puppet]:
    async with puppet() as opened:
        yield opened


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, and certificates for the recorder, for us, and of somebody else."""
    return make_keys(tmp_path_factory.mktemp("keys"))


@dataclass
class Line:
    """A session that runs, and both ends of its line."""

    session: Session
    task: asyncio.Task[Ending]
    tape: Tape
    ear: Ear
    clock: Clock
    peer: Peer | None = None

    @property
    def reasons(self) -> list[object]:
        """Why the session was closed, as journaled."""
        return [draft.note["reason"] for draft in self.tape.of(What.CLOSED)]

    async def ending(self) -> Ending:
        return await soon(self.task)


Connect = Callable[..., Awaitable[Line]]


@pytest.fixture
async def connect(server: Puppet) -> AsyncIterator[Connect]:
    """Opens a session; the recorder's end is there when the request for the subscription was read."""
    lines: list[Line] = []

    async def start(
        clock: Clock | None = None, *, margin: float = 3600, to: Puppet | None = None, **options: object
    ) -> Line:
        clock = clock or StillClock()
        tape, ear = Tape(clock), Ear()
        settings = recorder((to or server).port, **options)
        session = Session(
            uuid4(),
            "worker-1",
            settings,
            Dialect.from_overrides(settings.dialect),
            Scribe(settings.name, tape),
            ear,
            clock,
            margin=timedelta(seconds=margin),
            limit=LIMIT,
        )
        line = Line(session, asyncio.create_task(session.run()), tape, ear, clock)
        lines.append(line)
        line.peer = await (to or server).peer()
        return line

    yield start
    for line in lines:
        line.session.close("stop", "the test is over")
    await asyncio.gather(*(line.task for line in lines), return_exceptions=True)


@pytest.fixture
async def subscribe(connect: Connect) -> Connect:
    """Opens a session whose subscription is confirmed; `keepalive` None announces none."""

    async def start(
        clock: Clock | None = None, *, keepalive: float | None = 10, margin: float = 3600, **options: object
    ) -> Line:
        line = await connect(clock, margin=margin, **options)
        assert line.peer is not None
        request = await line.peer.request()
        line.peer.send(subscribed(request.id, keepalive))
        await until(lambda: bool(line.ear.confirmations))
        return line

    return start


@dataclass
class Desk:
    """Queries that run, and their side of the journal."""

    queries: Queries
    tape: Tape
    clock: Clock
    session: UUID


@pytest.fixture
async def desk(server: Puppet) -> AsyncIterator[Callable[..., Desk]]:
    """Queries to a recorder played by hand."""
    desks: list[Desk] = []

    def make(clock: Clock | None = None, *, to: Puppet | None = None, limit: int = LIMIT, **options: object) -> Desk:
        clock = clock or StillClock()
        tape = Tape(clock)
        settings = recorder((to or server).port, **options)
        scribe = Scribe(settings.name, tape)
        desks.append(Desk(Queries(settings, Dialect(), scribe, clock, limit), tape, clock, uuid4()))
        return desks[-1]

    yield make
    for each in desks:
        await each.queries.close()
