"""Runs a simulated recorder until it is told to stop: what `cdr simulate` and `cdr demo` call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from etl.simulator.config import HttpConfig, SimulatorConfig
from etl.simulator.history import History
from etl.simulator.http import HistoryServer
from etl.simulator.simulator import Simulator
from etl.simulator.traffic import Saboteur, Traffic
from etl.simulator.truth import TruthWriter


async def serve(
    config: SimulatorConfig,
    stop: asyncio.Event,
    truth: TruthWriter | None = None,
    ready: Callable[[Simulator], None] | None = None,
) -> None:
    """Simulates one recorder with random traffic and the faults of `config`.

    Ends when `stop` is set, or `config.linger` seconds after a bounded traffic (`max_calls`, `seconds`) has
    ended its last call. `ready` is called once the ports are bound. Raises `OSError` when a port is taken, a
    folder cannot be written, or a certificate cannot be read.
    """
    async with Simulator(config, truth) as simulator:
        if ready is not None:
            ready(simulator)
        traffic = Traffic(simulator)
        traffic.start()
        Saboteur(simulator).start()
        await _first_of(stop.wait(), traffic.finished.wait(), simulator.failed())
        await _first_of(stop.wait(), asyncio.sleep(config.linger), simulator.failed())


@asynccontextmanager
async def shared_history(config: HttpConfig, simulators: Sequence[Simulator]) -> AsyncIterator[int]:
    """Serves one HTTP history of several recorders, as sites have it; its port. Raises `OSError` for a taken one.

    To be started before the first call. The first recorder's truth tells what was asked.
    """
    first = simulators[0]
    history = History(config, first.world, first.clock)
    for other in simulators[1:]:
        history.take_in(other.world)
    server = HistoryServer(replace(first.config, http=config), history, first.truth, first.clock)
    await server.start()
    try:
        yield server.port
    finally:
        await server.stop()


async def _first_of(*waits: Coroutine[object, object, object]) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    for task in done:
        task.result()
