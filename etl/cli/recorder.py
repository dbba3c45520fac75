"""`cdr recorder`: what is to be said about a recorder as such."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from etl import config
from etl.cli.accept import author_of, whoever
from etl.cli.archive import opened
from etl.cli.common import ConfigOption, note
from etl.errors import UsageError
from etl.store import acceptance
from etl.store.audit import Author
from etl.store.database import require_schema

app = typer.Typer(help="End a recorder's timeline.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """End a recorder's timeline."""


@app.command()
def retire(
    name: str,
    reason: Annotated[str | None, typer.Option("--reason", help="Why, for whoever asks later.")] = None,
    config_file: ConfigOption = None,
) -> None:
    """End a recorder's timeline: from now on it has no gaps.

    What is stored of it stays. Remove it from the configuration first, and stop the workers that listen to it.
    Configured again it is in use again, and the time between is a gap.

    Example: cdr recorder retire ny-1 --reason "replaced by ny-2"
    """
    author = Author(whoever(), None) if reason is None else author_of(reason)
    settings = config.load(config_file)
    if any(each.name == name for each in settings.recorder):
        raise UsageError(
            f"{name} is configured still: remove it from the configuration, and restart its workers, first"
        )
    with opened(settings) as archive, archive.connect() as connection:
        require_schema(connection)
        acceptance.retire(connection, name, datetime.now(UTC), author, settings.worker.margin)
    note(f"{name} is retired, by {author.who}")
