"""`cdr backfill`: what only the history knows."""

from __future__ import annotations

import typer

app = typer.Typer(help="Import what only the history knows: calls that no session saw.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keeps `backfill` a group of commands, however few there are."""
