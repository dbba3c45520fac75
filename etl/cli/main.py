"""The `cdr` command: parse, wire, render, exit code. The only place where the parts are put together."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from importlib import import_module, metadata
from typing import Annotated

import typer

from etl.cli.common import safe
from etl.errors import CdrError

COMMANDS: Mapping[str, str] = {
    "demo": "demo.demo",
    "worker": "worker.worker",
    "reconcile": "reconcile.reconcile",
    "status": "status.status",
    "call": "call.call",
    "rebuild": "rebuild.rebuild",
    "verify": "verify.verify",
    "report": "report.report",
    "export": "export.export",
    "doctor": "doctor.doctor",
    "capture": "capture.capture",
    "simulate": "simulate.simulate",
    "accept": "accept.app",
    "backfill": "backfill.app",
    "recorder": "recorder.app",
    "db": "database.app",
    "quarantine": "quarantine.app",
    "retention": "retention.app",
}
"""Every command of `cdr`, in the order of its help, and where in `etl.cli` its function or group is."""


def application(wanted: str | None = None) -> typer.Typer:
    """The command line; with the `wanted` command alone, since importing the others takes longer than a small one."""
    app = typer.Typer(
        name="cdr",
        help="Every recorded call of a company in PostgreSQL, with proof that none is missing.",
        epilog="Start with: cdr demo",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_main)
    for name in [wanted] if wanted is not None and wanted in COMMANDS else COMMANDS:
        module, _, attribute = COMMANDS[name].partition(".")
        part = getattr(import_module(f"etl.cli.{module}"), attribute)
        if isinstance(part, typer.Typer):
            app.add_typer(part, name=name)
        else:
            app.command(name)(part)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        try:
            version = metadata.version("cdr-archive")
        except metadata.PackageNotFoundError:
            version = "(not installed: run from its source)"
        typer.echo(f"cdr-archive {version}")
        raise typer.Exit


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
    first = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
    try:
        application(first)(prog_name="cdr")
    except CdrError as error:
        typer.echo(f"cdr: {safe(error)}", err=True)
        sys.exit(error.exit_code)
