"""The `cdr` command: parse, wire, render, exit code. The only place where the parts are put together."""

from __future__ import annotations

import signal
import sys
from importlib import metadata
from typing import Annotated

import typer

from etl.cli import (
    accept,
    backfill,
    backfill_history,
    call,
    database,
    demo,
    export,
    quarantine,
    rebuild,
    reconcile,
    recorder,
    simulate,
    status,
    verify,
    worker,
)
from etl.cli.common import safe
from etl.errors import CdrError

app = typer.Typer(
    name="cdr",
    help="Every recorded call of a company in PostgreSQL, with proof that none is missing.",
    epilog="Start with: cdr demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("demo")(demo.demo)
app.command("worker")(worker.worker)
app.command("reconcile")(reconcile.reconcile)
app.command("status")(status.status)
app.command("call")(call.call)
app.command("rebuild")(rebuild.rebuild)
app.command("verify")(verify.verify)
app.command("export")(export.export)
app.command("simulate")(simulate.simulate)
app.add_typer(accept.app, name="accept")
backfill.app.command("http")(backfill_history.http)
backfill.app.command("gaps")(backfill_history.gaps)
app.add_typer(backfill.app, name="backfill")
app.add_typer(recorder.app, name="recorder")
app.add_typer(database.app, name="db")
app.add_typer(quarantine.app, name="quarantine")


def _show_version(wanted: bool) -> None:
    if wanted:
        try:
            version = metadata.version("cdr-archive")
        except metadata.PackageNotFoundError:
            version = "(not installed: run from its source)"
        typer.echo(f"cdr-archive {version}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Options of `cdr` itself."""


def run() -> None:
    """The console script. Every expected failure becomes one line on stderr and its documented exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C: what was begun is put in order
    try:
        app(prog_name="cdr")
    except CdrError as error:
        typer.echo(f"cdr: {safe(error)}", err=True)
        sys.exit(error.exit_code)
