"""A worker as a process of its own, on a real PostgreSQL, in front of a simulated recorder: to be hit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from campaign import archive, stage
from campaign.archive import Archive
from campaign.evidence import Blow, Evidence, Outage
from campaign.oracle import judge
from campaign.schedule import SETTLE_AFTER
from campaign.stage import WorkerProcess
from support.postgres import Server, fresh_database, serving

from etl.model import Interval, Kind
from etl.simulator.config import SimulatorConfig
from etl.simulator.simulator import Simulator
from etl.simulator.truth import Line, Truth
from etl.store import database, embedded

LONG = 30.0
"""Seconds that anything may take on a busy machine."""
PATIENCE = 60.0
"""Seconds for which a detail is asked for: longer than any outage of these tests."""


@dataclass
class House:
    """Everything that a test of crashes needs; `truth` is the simulated recorder's."""

    server: Server
    url: str
    folder: Path
    recorder: Simulator
    truth: Truth
    outages: list[Outage] = field(default_factory=list)
    worker: WorkerProcess = field(init=False)

    def configure(self, more: str = "") -> None:
        """(Re)write the configuration; `more` are further lines of [worker]."""
        ports = {self.recorder.config.name: self.recorder.port}
        text = stage.configuration(self.url, self.data_dir, (self.recorder.config,), ports, PATIENCE)
        self.worker.config.write_text(text.replace("[worker]\n", f"[worker]\n{more}\n"))

    @property
    def data_dir(self) -> Path:
        return self.folder / "data"

    @property
    def journals(self) -> Path:
        return self.data_dir / "journal"

    async def start(self) -> None:
        """Start the worker and wait until it has subscribed; the time since the last blow was an outage."""
        before = len(self.truth.connections)
        self.worker.start()
        await self.until(lambda: self._subscribed_since(before), "the worker subscribes")

    def _subscribed_since(self, before: int) -> bool:
        connections = list(self.truth.connections.values())[before:]
        return any(each.subscribed and each.closed is None for each in connections)

    def kill(self) -> datetime:
        self.worker.kill()
        return datetime.now(UTC)

    def out(self, blow: Blow, since: datetime) -> None:
        """An outage from then until now."""
        self.outages.append(Outage(blow, Interval(since, datetime.now(UTC))))

    async def until(self, holds: Callable[[], bool], what: str, seconds: float = LONG) -> None:
        """Wait for something that another process brings about."""
        deadline = time.monotonic() + seconds
        while not await asyncio.to_thread(holds):
            assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s; log: {self.log()[-3000:]}"
            await asyncio.sleep(0.05)

    async def rest(self, seconds: float) -> None:
        """Let things happen for a while: how long is not what a test depends on."""
        await asyncio.sleep(seconds)

    async def stop(self) -> None:
        """From then on nobody listens: the gap that this opens has its cause here."""
        since = datetime.now(UTC)
        await asyncio.to_thread(self.worker.stop)
        self.out(Blow.STOP, since)

    def log(self) -> str:
        return self.worker.log.read_text()

    def archive(self) -> Archive:
        with database.connect(self.url) as connection:
            return archive.read(connection)

    def reasons(self) -> list[str]:
        """Of all gaps, in order."""
        return [gap.reason for gap in self.archive().gaps.get(self.recorder.config.name, ())]

    def owed(self) -> int:
        """Calls whose end is archived, and whose full record is not."""
        facts = self.archive().facts.values()
        return sum(Kind.END in kinds and Kind.DETAIL not in kinds for kinds in facts)

    def complete(self) -> int:
        return sum(row["state"] == "complete" for row in self.archive().calls.values())

    async def breaches(self) -> list[str]:
        """What breaks an obligation, by the oracle of the campaigns; with the worker stopped."""
        config = self.recorder.config
        evidence = Evidence({config.name: self.truth}, {config.name: config}, self.archive(), tuple(self.outages))
        verdicts = await asyncio.to_thread(judge, evidence)
        return [line for verdict in verdicts if verdict.broken for line in verdict.lines()]


@pytest.fixture(scope="session")
def server_to_crash() -> Iterator[Server]:
    """A PostgreSQL that no other test uses."""
    with serving("crash", embedded.programs()) as server:
        yield server


@pytest.fixture
async def house(server_to_crash: Server, tmp_path: Path) -> AsyncIterator[House]:
    """The worker is configured and not started; calls are up to the test."""
    server_to_crash.restart()
    config = SimulatorConfig(
        "recorder-0", rate=0, keepalive=1.0, detail_delay=0.1, settle_after=SETTLE_AFTER, duration_min=0.1,
        duration_mean=0.3,
    )  # fmt: skip
    with fresh_database(server_to_crash) as url:
        async with Simulator(config) as recorder:
            truth = Truth()
            recorder.truth.listen(truth.add)
            _first(recorder, truth)
            made = House(server_to_crash, url, tmp_path, recorder, truth)
            made.worker = WorkerProcess(tmp_path / "cdr.toml", made.data_dir, tmp_path / "worker.log")
            made.configure()
            try:
                yield made
            finally:
                made.worker.end()
                server_to_crash.restart()


def _first(recorder: Simulator, truth: Truth) -> None:
    """The line that was written before anybody listened."""
    line: Line = recorder._first_line()
    truth.add(line)


@pytest.fixture
async def stream(house: House) -> AsyncIterator[Callable[[float], None]]:
    """Starts calls at a rate (per second); 0 ends it. Calls that have begun still end."""
    task: asyncio.Task[None] | None = None

    async def calls(rate: float) -> None:
        while True:
            call = house.recorder.begin_call()
            await asyncio.sleep(0.5 / rate)
            house.recorder.end_call(call)
            await asyncio.sleep(0.5 / rate)

    def start(rate: float) -> None:
        nonlocal task
        if task is not None:
            task.cancel()
        task = asyncio.create_task(calls(rate)) if rate else None

    yield start
    start(0)
