"""`cdr capture`: the raw stream of a recorder, and how each message was understood."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from etl import config
from etl.cli.common import ConfigOption, JsonOption, finish, note, on_stop, print_json, safe, seconds_of, set_up_logging
from etl.config import Recorder, Settings
from etl.ingest.interpret import Interpreter
from etl.jobs import capture as job
from etl.jobs.capture import Captured
from etl.recorder.clock import SystemClock


def capture(
    recorder: Annotated[str, typer.Option(help="Name of the recorder, as configured.")],
    out: Annotated[
        Path, typer.Option(help="File for the bytes; a line for each message goes to FILE.jsonl beside it.")
    ],
    config_file: ConfigOption = None,
    for_: Annotated[str | None, typer.Option("--for", help='Stop after this time, such as "5m".')] = None,
    as_json: JsonOption = False,
) -> None:
    """Record what a recorder sends, until Ctrl-C.

    Subscribes over a connection of its own, beside any worker. The files hold personal data: only you may read them,
    and none is overwritten. Nothing is archived, and no time counts as covered.

    Exit code 4 if the recorder is out of reach, or ends it.

    Example: cdr capture --recorder ny-1 --out stream.xml --for 5m
    """
    seconds = seconds_of(for_)
    set_up_logging()
    settings = config.load(config_file)
    captured = asyncio.run(_run(settings, settings.named(recorder), out, seconds))
    if as_json:
        print_json(captured)
    else:
        told = f"{captured.documents:,} documents and {captured.rejected:,} rejected pieces"
        note(safe(f"{captured.bytes:,} bytes in {captured.stream}: {told}, explained in {captured.lines}"))
    if captured.ended:
        note(f"cdr: {safe(captured.ended)}")
    finish(4 if captured.ended else 0)


async def _run(settings: Settings, recorder: Recorder, out: Path, seconds: float | None) -> Captured:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    on_stop(loop, stop.set)  # what was captured is in the files, also where a second signal ends it at once

    def confirmed() -> None:
        note(f"subscribed to {safe(recorder.name)}; writing to {safe(out)}; Ctrl-C ends it")
        if seconds is not None:
            loop.call_later(seconds, stop.set)

    return await job.capture(
        recorder,
        Interpreter(settings),
        out,
        SystemClock(),
        limit=settings.worker.document_limit,
        stop=stop,
        confirmed=confirmed,
    )
