"""`cdr accept`: take note that something is gone for good, by whom and why."""

from __future__ import annotations

import os
import pwd
import socket
from datetime import timedelta
from typing import Annotated

import typer

from etl import config
from etl.cli.archive import opened
from etl.cli.common import ConfigOption, note, safe
from etl.errors import UsageError
from etl.store import acceptance
from etl.store.audit import Author
from etl.store.database import require_schema

app = typer.Typer(help="Take note that something is gone for good.", no_args_is_help=True)

Reason = Annotated[str, typer.Option("--reason", help="Why, for whoever asks later.")]


@app.command()
def gap(number: Annotated[int, typer.Argument(metavar="ID")], reason: Reason, config_file: ConfigOption = None) -> None:
    """Take note that the calls of a gap are gone for good.

    The gap no longer counts for exit code 5. Should it grow later on, it is open again.

    Example: cdr accept gap 7 --reason "power cut, the recorder was off too"
    """
    author = author_of(reason)
    settings = config.load(config_file)
    margin: timedelta = settings.worker.margin
    with opened(settings) as archive, archive.connect() as connection:
        require_schema(connection)
        acceptance.accept_gap(connection, number, author, margin)
    note(f"gap {number} is accepted, by {author.who}")


@app.command()
def call(
    call_id: Annotated[str, typer.Argument(metavar="ID")], reason: Reason, config_file: ConfigOption = None
) -> None:
    """Take note that the record of a call is gone for good.

    The call no longer counts for exit code 5. Should its record turn up after all, it is stored as any other.

    Example: cdr accept call 54bc7c43-561f-11e0-b752-005056c00008 --reason "its recorder's disk broke"
    """
    author = author_of(reason)
    with opened(config.load(config_file)) as archive, archive.connect() as connection:
        require_schema(connection)
        acceptance.accept_call(connection, call_id, author)
    note(f"call {safe(call_id)} is accepted, by {author.who}")


def author_of(reason: str) -> Author:
    """Whoever runs this command, as the operating system knows them. Raises UsageError for a reason without words."""
    if not reason.strip():
        raise UsageError("--reason is empty: say why, for whoever asks later")
    return Author(whoever(), reason.strip())


def whoever() -> str:
    """User of the operating system and host. Not from the environment, which anyone can set."""
    user = os.getuid()
    try:
        name = pwd.getpwuid(user).pw_name
    except KeyError:  # a container's user without an entry
        name = str(user)
    return f"{name}@{socket.gethostname()}"
