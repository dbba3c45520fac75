"""`cdr worker`: runs until stopped."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from etl import config
from etl.cli.archive import Archive, opened
from etl.cli.common import ConfigOption, LogJsonOption, VerboseOption, note, on_stop, seconds_of, set_up_logging
from etl.config import Settings
from etl.errors import DatabaseError, UsageError
from etl.worker.worker import Worker


def worker(
    config_file: ConfigOption = None,
    for_: Annotated[
        str | None,
        typer.Option("--for", help='Stop cleanly after this time, such as "65m": for hourly schedulers.'),
    ] = None,
    verbose: VerboseOption = False,
    log_json: LogJsonOption = False,
) -> None:
    """Archive calls until stopped.

    Subscribes to all recorders. Ctrl-C or SIGTERM ends it cleanly, with exit code 0; a second one ends it at once.
    Works without the database, and stores what it received once that is back.

    Example: cdr worker --config cdr.toml --for 65m
    """
    seconds = seconds_of(for_)
    set_up_logging(verbose=verbose, as_json=log_json)
    settings = config.load(config_file)
    if not settings.recorder:
        raise UsageError("no recorder is configured: add a [[recorder]] with name, host and port")
    with opened(settings) as archive:
        _prepare(archive)
        asyncio.run(_run(settings, archive, seconds))


def _prepare(archive: Archive) -> None:
    """An embedded database is started here; another one may be out of reach, and the worker listens all the same."""
    try:
        archive.start()
    except DatabaseError as error:
        note(f"cdr: {error}; listening and journaling until it is back")


async def _run(settings: Settings, archive: Archive, seconds: float | None) -> None:
    running = Worker(settings, archive.connect)
    loop = asyncio.get_running_loop()
    on_stop(loop, running.stop)  # what is journaled is safe, also where a second signal ends it at once
    if seconds is not None:
        loop.call_later(seconds, running.stop)
    await running.run()
