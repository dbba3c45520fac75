"""The simulated recorders of a campaign, in a process of their own: what strikes the worker must not hit them.

`python -m campaign.recorders SEED SECONDS RECORDERS FOLDER`: writes `FOLDER/ports.json` when all ports are bound, each
truth to `FOLDER/NAME.truth.jsonl`, and `FOLDER/quiet` when all calls have ended. Calls and faults begin when there is
`FOLDER/go`. Runs until SIGTERM.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from campaign.schedule import Schedule, draw

from etl.simulator.main import shared_history
from etl.simulator.simulator import Simulator
from etl.simulator.traffic import Saboteur, Traffic
from etl.simulator.truth import TruthWriter

GO = "go"
HISTORY = "history"
"""What the port of the HTTP history is called among those of the recorders."""


def files(folder: Path) -> Path:
    """Where the metadata files of all recorders stand."""
    return folder / "files"


def truth_path(folder: Path, name: str) -> Path:
    """Where a recorder's truth stands."""
    return folder / f"{name}.truth.jsonl"


async def serve(schedule: Schedule, folder: Path) -> None:
    """Serve all recorders until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with AsyncExitStack() as stack:
        simulators = []
        for config in schedule.recorders:
            writer = stack.enter_context(TruthWriter(truth_path(folder, config.name)))
            where = files(folder) if schedule.history is None else None
            simulators.append(await stack.enter_async_context(Simulator(replace(config, files=where), writer)))
        ports = {each.config.name: each.port for each in simulators}
        if schedule.history is not None:
            ports[HISTORY] = await stack.enter_async_context(shared_history(schedule.history, simulators))
        _tell(folder / "ports.json", json.dumps(ports))
        working = asyncio.create_task(_work(simulators, folder))
        await stop.wait()
        working.cancel()


async def _work(simulators: Sequence[Simulator], folder: Path) -> None:
    """Calls and faults, from the word to go until all calls have ended."""
    while not (folder / GO).exists():
        await asyncio.sleep(0.02)
    traffics = [Traffic(each) for each in simulators]
    for traffic, simulator in zip(traffics, simulators, strict=True):
        traffic.start()
        Saboteur(simulator).start()
    for traffic in traffics:
        await traffic.finished.wait()
    _tell(folder / "quiet", "")


def _tell(path: Path, text: str) -> None:
    """Write a file that is whole as soon as it can be seen."""
    draft = path.with_suffix(".new")
    draft.write_text(text)
    draft.rename(path)


if __name__ == "__main__":
    asyncio.run(serve(draw(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])), Path(sys.argv[4])))
