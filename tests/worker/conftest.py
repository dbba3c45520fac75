"""One recorder of a worker, with a recorder played by hand or a simulated one on the other side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from support.recorders import Lobby, Puppet, StillClock, Tape, puppet, recorder, subscribed, until

from etl.config import Settings
from etl.ingest.interpret import Interpreter
from etl.recorder import session as session_module
from etl.recorder.clock import Clock, SystemClock
from etl.worker import recorder_task as task_module
from etl.worker.metrics import Metrics
from etl.worker.recorder_task import RecorderTask


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is noticed by looking is noticed at once, so that no test waits for it."""
    monkeypatch.setattr(session_module, "LOOK_EVERY", 0.002)
    monkeypatch.setattr(task_module, "LIST_PAUSES", (0.01, 0.02))


@dataclass
class Watched:
    """A running recorder task, what it journals, and what it counts."""

    task: RecorderTask
    running: asyncio.Task[None]
    tape: Tape
    clock: Clock
    registry: CollectorRegistry

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, {"recorder": "ny-1", **labels}) or 0.0


Watch = Callable[..., Awaitable[Watched]]


@pytest.fixture
async def server() -> AsyncIterator[Puppet]:
    async with puppet() as opened:
        yield opened


@pytest.fixture
async def watch() -> AsyncIterator[Watch]:
    """Runs a recorder task against a port; dice that always show 0 make back-offs short."""
    started: list[Watched] = []

    async def start(
        port: int, *, clock: Clock | None = None, dice: float = 0.0, worker: Any = None, **options: Any
    ) -> Watched:
        clock = clock or SystemClock()
        settings = Settings.model_validate(
            {"recorder": [recorder(port, **options).model_dump(exclude_none=True)], "worker": worker or {}}
        )
        tape, metrics = Tape(clock), Metrics()
        task = RecorderTask(
            settings.recorder[0],
            "worker-1",
            settings.worker,
            Interpreter(settings).source("ny-1"),
            tape,
            clock,
            metrics,
            lambda: dice,
        )
        watched = Watched(task, asyncio.create_task(task.run()), tape, clock, metrics.registry)
        started.append(watched)
        return watched

    yield start
    for each in started:
        each.task.stop()
    await asyncio.gather(*(each.running for each in started), return_exceptions=True)


@pytest.fixture
def still() -> StillClock:
    return StillClock()


@pytest.fixture
async def lobby(server: Puppet) -> AsyncIterator[Lobby]:
    opened = Lobby(server)
    yield opened
    await opened.close()


@pytest.fixture
def confirm(lobby: Lobby) -> Callable[..., Awaitable[Any]]:
    """Accepts the next subscription; gives the recorder's end of it."""

    async def accept(watched: Watched, keepalive: float = 3600) -> Any:
        peer, request = await lobby.session()
        peer.send(subscribed(request.id, keepalive))
        await until(lambda: watched.task.subscribed)
        return peer

    return accept
