"""A simulated recorder in a process of its own: `python -m benchmarks.recorder RATE`.

It writes its port on a line and ends on SIGTERM.
"""

from __future__ import annotations

import asyncio
import signal
import sys

from etl.simulator.config import SimulatorConfig
from etl.simulator.main import serve
from etl.simulator.simulator import Simulator

NAME = "bench"


def config(rate: float) -> SimulatorConfig:
    """Short calls whose record is there at once and final: what is measured is our time, not the recorder's."""
    return SimulatorConfig(
        name=NAME,
        rate=rate,
        duration_min=0.5,
        duration_mean=1.0,
        keepalive=1.0,
        detail_delay=0.0,
        provisional=0.0,
    )


async def _main(rate: float) -> None:
    stop = asyncio.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    await serve(config(rate), stop, ready=_announce)


def _announce(simulator: Simulator) -> None:
    print(simulator.port, flush=True)


if __name__ == "__main__":
    asyncio.run(_main(float(sys.argv[1])))
