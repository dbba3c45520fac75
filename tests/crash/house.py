"""A worker as a process of its own, on a real PostgreSQL, in front of a simulated recorder: to be hit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from campaign import archive, stage
from campaign.archive import Archive
from campaign.evidence import Blow, Evidence, Outage, Verdict
from campaign.oracle import judge
from campaign.stage import WorkerProcess
from support.postgres import Server, fresh_database

from etl.model import Interval, Kind
from etl.simulator.config import SimulatorConfig
from etl.simulator.simulator import Simulator
from etl.simulator.truth import Truth, TruthWriter
from etl.store import database

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

    async def start(self, patience: float = LONG) -> None:
        """Start the worker and wait until it has subscribed; the time since the last blow was an outage."""
        before = len(self.truth.connections)
        self.worker.start()
        await self.until(lambda: self._subscribed_since(before), "the worker subscribes", patience)

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
        return [line for verdict in await self.verdicts() if verdict.broken for line in verdict.lines()]

    async def verdicts(self) -> list[Verdict]:
        """What the oracle says, with the worker stopped."""
        config = self.recorder.config
        evidence = Evidence({config.name: self.truth}, {config.name: config}, self.archive(), tuple(self.outages))
        return await asyncio.to_thread(judge, evidence)


@asynccontextmanager
async def opened(server: Server, folder: Path, config: SimulatorConfig) -> AsyncIterator[House]:
    """A house with an empty database and a recorder that listens; the worker is configured and not started."""
    server.restart()
    with fresh_database(server) as url:
        truth = Truth()
        with TruthWriter(folder / "truth.jsonl") as writer:
            writer.listen(truth.add)
            async with Simulator(config, writer) as recorder:
                made = House(server, url, folder, recorder, truth)
                made.worker = WorkerProcess(folder / "cdr.toml", made.data_dir, folder / "worker.log")
                made.configure()
                try:
                    yield made
                finally:
                    made.worker.end()
                    server.restart()
