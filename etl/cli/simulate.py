"""`cdr simulate`: a recorder to play with."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from etl.cli.common import note, on_stop, set_up_logging
from etl.errors import UsageError
from etl.simulator.config import ALL_STYLES, PLAIN, HttpConfig, SimulatorConfig
from etl.simulator.faults import parse_faults
from etl.simulator.main import serve
from etl.simulator.simulator import Simulator
from etl.simulator.truth import TruthWriter


def simulate(
    port: Annotated[int, typer.Option(help="Port of the recorder's protocol; 0: any free one.")] = 10100,
    http_port: Annotated[int | None, typer.Option(help="Port of the HTTP history; without it there is none.")] = None,
    rate: Annotated[float, typer.Option(min=0, help="Calls per second.")] = 1.0,
    duration: Annotated[float, typer.Option(min=0, help="Mean duration of a call in seconds.")] = 30.0,
    files: Annotated[Path | None, typer.Option(help="Write a metadata file for each record into this folder.")] = None,
    faults: Annotated[str, typer.Option(help="Such as drop=2/min,duplicates=5%; see docs/simulator.md.")] = "",
    truth: Annotated[Path | None, typer.Option(help="Write what truly happened as JSON lines into this file.")] = None,
    name: Annotated[str, typer.Option(help="Name; also seeds the dice.")] = "recorder-1",
    location: Annotated[str, typer.Option(help="Location in its records; default: the name in capitals.")] = "",
    timezone: Annotated[str, typer.Option(help="IANA zone of the times it writes.")] = "UTC",
    keepalive: Annotated[float, typer.Option(min=0, help="Seconds between keep-alives; 0: none.")] = 10.0,
    styles: Annotated[str, typer.Option(help="plain, or all: every way of writing a document.")] = "plain",
    seed: Annotated[int, typer.Option(help="The same seed and name give the same calls.")] = 0,
    seconds: Annotated[float | None, typer.Option(help="Begin no call after this time, and end with the last.")] = None,
) -> None:
    """Simulate a recorder to rehearse with.

    It can misbehave. Ctrl-C ends it.

    Example: cdr simulate --port 10100 --rate 5 --faults drop=2/min,garbage=1/min
    """
    set_up_logging()
    if styles not in ("plain", "all"):
        raise UsageError(f'--styles {styles}: write "plain" or "all"')
    settings = SimulatorConfig(
        name=name,
        location=location,
        port=port,
        timezone=timezone,
        styles=ALL_STYLES if styles == "all" else (PLAIN,),
        seed=seed,
        rate=rate,
        duration_min=min(2.0, duration),
        duration_mean=duration,
        keepalive=keepalive,
        seconds=seconds,
        faults=parse_faults(faults),
        http=HttpConfig(port=http_port) if http_port is not None else None,
        files=files,
    )
    try:
        asyncio.run(_serve(settings, truth))
    except OSError as error:
        raise UsageError(f"cannot simulate on port {port}: {error.strerror or error}") from None


async def _serve(settings: SimulatorConfig, truth: Path | None) -> None:
    stop = asyncio.Event()
    on_stop(asyncio.get_running_loop(), stop.set)
    with TruthWriter(truth) as writer:
        await serve(settings, stop, writer, _announce)


def _announce(simulator: Simulator) -> None:
    history = f", HTTP history on port {simulator.http_port}" if simulator.http_port else ""
    note(f"{simulator.config.name} listens on {simulator.config.host}:{simulator.port}{history}; Ctrl-C ends it")
