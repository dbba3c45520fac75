"""The `cdr` command: parse, wire, render, exit code. The only place where the parts are put together."""

from __future__ import annotations

import os
import sys

import click
import typer

from etl.cli import database, demo, quarantine, rebuild, simulate, status, worker
from etl.errors import CdrError

app = typer.Typer(
    name="cdr",
    help="Every recorded call of a company in PostgreSQL, with proof that none is missing.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("demo")(demo.demo)
app.command("worker")(worker.worker)
app.command("status")(status.status)
app.command("rebuild")(rebuild.rebuild)
app.command("simulate")(simulate.simulate)
app.add_typer(database.app, name="db")
app.add_typer(quarantine.app, name="quarantine")


def run() -> None:
    """The console script. Every expected failure becomes one line on stderr and its documented exit code."""
    sys.exit(_run(sys.argv[1:]))


def _run(arguments: list[str]) -> int:
    try:
        result = app(arguments, prog_name="cdr", standalone_mode=False)
    except CdrError as error:
        typer.echo(f"cdr: {error}", err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return 2 if isinstance(error, click.UsageError) else error.exit_code
    except (KeyboardInterrupt, click.Abort):
        typer.echo("cdr: interrupted", err=True)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return result if isinstance(result, int) else 0
