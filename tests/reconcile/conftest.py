"""Runs with a real journal, loader and PostgreSQL, against a recorder played by a test or a simulated one."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from support.postgres import Server, connection, fresh_database
from support.recorders import Asking, Peer, Puppet, failed, listed, puppet

from etl.config import Settings
from etl.ingest.interpret import Interpreter
from etl.ingest.loader import Loader
from etl.ingest.sink import JournalSink
from etl.jobs import reconcile as module
from etl.jobs.reconcile import Means, Reconciliation, Report
from etl.journal.journal import Journal
from etl.model import Json
from etl.protocol.documents import parse
from etl.protocol.framing import Document
from etl.recorder.clock import SystemClock
from etl.recorder.queries import Queries
from etl.recorder.sink import Scribe
from etl.simulator.config import SimulatorConfig
from etl.simulator.simulator import Simulator
from etl.store.database import Connection

_TABLES = ("call", "fact", "session", "gap", "quarantine", "checkpoint", "call_acceptance", "reconcile_run")

Answer = Callable[[Asking], "bytes | Awaitable[bytes | None] | None"]


def _nothing(asking: Asking) -> bytes:
    return listed(asking.id) if asking.type == "GetCallList" else failed(asking.id, "Call cannot be found")


class Scripted:
    """A recorder that answers as the test says; without a word of its own, it records and knows no call."""

    def __init__(self, server: Puppet) -> None:
        self.answer: Answer = _nothing
        self.asked: list[Asking] = []
        self._server = server
        self.port = server.port
        self._task = asyncio.create_task(self._serve())

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def lists(self) -> int:
        return sum(each.type == "GetCallList" for each in self.asked)

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._speak(await self._server.next_peer()))

    async def _speak(self, peer: Peer) -> None:
        with contextlib.suppress(EOFError, ConnectionError, TimeoutError):
            while True:
                asking = await peer.request()
                self.asked.append(asking)
                answer = self.answer(asking)
                document = await answer if isinstance(answer, Awaitable) else answer
                if document is not None:
                    peer.send(document)


@pytest.fixture
async def recorder() -> AsyncIterator[Scripted]:
    async with puppet() as server:
        scripted = Scripted(server)
        yield scripted
        await scripted.close()


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """Calls only when the test begins them; their records are there at once, and final."""
    config = SimulatorConfig("ny-1", rate=0, detail_delay=0, settle_after=0, provisional=0, keepalive=1)
    async with Simulator(config) as running:
        yield running


@pytest.fixture(scope="session")
def _database(embedded_server: Server) -> Iterator[str]:
    with fresh_database(embedded_server) as url:
        yield url


@pytest.fixture
def url(_database: str) -> str:
    """The URL of an empty database, which these tests share."""
    with connection(_database) as opened, opened.transaction():
        for table in _TABLES:
            opened.execute(f"DELETE FROM cdr.{table}".encode())
    return _database


@dataclass
class House:
    """A journal with its loader, and what makes runs of one recorder; `connected` cuts the database off."""

    url: str
    settings: Settings
    connected: bool = True
    in_hand: set[str] = field(default_factory=set)
    locked_runs: set[Json] = field(default_factory=set)

    def __post_init__(self) -> None:
        clock = SystemClock()
        worker, name = self.settings.worker, self.settings.recorder[0].name
        self.journal = Journal.create(worker.data_dir / "journal")
        self.loader = Loader(
            self.journal, self.connect, Interpreter(self.settings), worker.margin, clock.now,
            locked_runs=self.locked_runs,
        )  # fmt: skip
        self._loading = threading.Thread(target=self.loader.run)
        self._loading.start()
        self._sink = JournalSink(self.journal, clock)
        self.scribe = Scribe(name, self._sink)
        self.session = uuid4()
        source = Interpreter(self.settings).source(name)
        self.queries = Queries(self.settings.recorder[0], source.dialect, self.scribe, clock, worker.document_limit)
        self.means = Means(
            source, self.queries, self.scribe, self.connect, self.loaded, self.locked_runs, 4,
            worker.detail_give_up, self.in_hand.__contains__,
        )  # fmt: skip
        self.reconciliation = Reconciliation(name, self.means)

    def connect(self) -> Connection:
        if not self.connected:
            return connection("postgresql://nobody@127.0.0.1:1/nowhere")
        return connection(self.url)

    async def loaded(self) -> None:
        await asyncio.to_thread(self.loader.connected.wait, 10)
        await self._sink.loaded(self.loader)

    async def heard(self, *documents: bytes) -> None:
        """The subscription's connection brings these."""
        for each in documents:
            self.scribe.received(self.session, Document(each, parse(each)), {})
        await self.loaded()

    async def run(self, **given: Any) -> Report:
        return await self.reconciliation.run(self.session, "command", **given)

    def ask(self, query: str) -> list[Any]:
        with connection(self.url) as opened:
            return opened.execute(query.encode()).fetchall()

    def states(self) -> dict[str, str]:
        return dict(self.ask("SELECT call_id, state FROM cdr.call"))

    def kinds(self, call_id: str) -> set[str]:
        return {row[0] for row in self.ask(f"SELECT kind FROM cdr.fact WHERE call_id = '{call_id}'")}

    def everything(self) -> dict[str, list[Any]]:
        """All rows with the transaction that wrote them last; but for how far the journal is loaded."""
        tables = (*(each for each in _TABLES if each != "checkpoint"), "reconcile_action")
        return {each: self.ask(f"SELECT xmin, * FROM cdr.{each} ORDER BY 2, 3") for each in tables}

    def versions(self) -> list[Any]:
        """The rows of calls and facts, with the transaction that wrote them last."""
        found = self.everything()
        return [found["call"], found["fact"]]

    async def age(self, by: timedelta) -> None:
        """Let everything that is stored have been observed longer ago."""
        with connection(self.url) as opened, opened.transaction():
            for column in ("observed_at", "first_observed_at"):
                opened.execute(f"UPDATE cdr.fact SET {column} = {column} - %s".encode(), [by])
            opened.execute("UPDATE cdr.call SET first_seen_at = first_seen_at - %s", [by])

    async def close(self) -> None:
        await self.queries.close()
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self.journal.finish(5)
        self.loader.stop()
        self._loading.join()
        self.journal.close()


Open = Callable[..., House]


@pytest.fixture
async def house(url: str, tmp_path: Path) -> AsyncIterator[Open]:
    """Opens a house in front of a port."""
    opened: list[House] = []

    def open_(port: int, *, worker: Any = None, **options: Any) -> House:
        opened.append(House(url, configured(url, tmp_path / str(len(opened)), port, worker, **options)))
        return opened[-1]

    yield open_
    for each in opened:
        await each.close()


def configured(url: str, data_dir: Path, port: int, worker: Any = None, **options: Any) -> Settings:
    recorder = {"name": "ny-1", "host": "127.0.0.1", "port": port, "request_timeout": "5s", **options}
    return Settings.model_validate(
        {
            "database": {"url": url},
            "worker": {"data_dir": data_dir, **(worker or {})},
            "http": {"listen": ""},
            "recorder": [recorder],
        }
    )


@pytest.fixture
def settings(url: str, tmp_path: Path) -> Callable[..., Settings]:
    """A configuration of one recorder at a port."""
    return lambda port, **given: configured(url, tmp_path / "data", port, **given)


@pytest.fixture
def soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second list follows the first at once; one test shows that it does not."""
    monkeypatch.setattr(module, "BETWEEN_LISTS", 0.01)
