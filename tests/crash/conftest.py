"""A house to be hit, and calls in it; see `house`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from campaign.schedule import SETTLE_AFTER
from crash.house import House, opened
from support.postgres import Server, serving

from etl.simulator.config import SimulatorConfig
from etl.store import embedded


@pytest.fixture(scope="session")
def server_to_crash() -> Iterator[Server]:
    """A PostgreSQL that no other test uses."""
    with serving("crash", embedded.programs()) as server:
        yield server


@pytest.fixture
async def house(server_to_crash: Server, tmp_path: Path) -> AsyncIterator[House]:
    """The worker is configured and not started; calls are up to the test."""
    config = SimulatorConfig(
        "recorder-0", rate=0, keepalive=1.0, detail_delay=0.1, settle_after=SETTLE_AFTER, duration_min=0.1,
        duration_mean=0.3,
    )  # fmt: skip
    async with opened(server_to_crash, tmp_path, config) as made:
        yield made


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
