"""`cdr db`: the schema, and a way in for people."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Annotated

import typer

from etl import config
from etl.cli.accept import whoever
from etl.cli.archive import Archive, opened
from etl.cli.common import ConfigOption, JsonOption, finish, note, print_json
from etl.errors import SchemaMismatch, UsageError
from etl.model import Json
from etl.store import audit, database, embedded, migrate
from etl.store.audit import Author
from etl.store.database import safe_url
from etl.store.errors import translate

app = typer.Typer(help="The database: schema migrations and psql.", no_args_is_help=True)


@app.command()
def upgrade(config_file: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Bring the schema to this version.

    Then applies the files of sql/ that changed, and makes the roles for readers and writers; where this user may not
    make them, it prints what an administrator has to run. Safe to repeat, and beside a worker.

    Example: cdr db upgrade --config cdr.toml
    """
    with opened(config.load(config_file)) as archive:
        archive.start(upgrade=False)
        done = migrate.upgrade(archive.url)
        if done.before != done.after or done.files:
            _note_upgrade(archive, done)
        if as_json:
            print_json(done)
            return
        moved = f"{done.before or 'nothing'} -> {done.after}" if done.before != done.after else f"{done.after} already"
        note(f"{safe_url(archive.url)}: schema {moved}; {len(done.files)} files of sql/ applied")
        if done.administrator:
            note("not all roles are there, and this user may not make them. Who needs them has an administrator run:")
            for statement in done.administrator:
                note(f"  {statement}")
            note("and runs 'cdr db upgrade' again")


def _note_upgrade(archive: Archive, done: migrate.Upgraded) -> None:
    effect: dict[str, Json] = {"before": done.before, "after": done.after, "files": [*done.files]}
    with archive.connect() as connection, translate(), connection.transaction(), connection.cursor() as cursor:
        audit.note(cursor, Author(whoever(), None), "db upgrade", {}, effect)


@app.command()
def current(config_file: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show the schema's revision.

    That of the database, and the newest that this version knows.

    Example: cdr db current
    """
    with opened(config.load(config_file)) as archive:
        archive.start()
        found, newest = migrate.current(archive.url), migrate.head()
    if as_json:
        print_json({"database": found, "newest": newest})
    else:
        typer.echo(f"{found or 'no schema'} (newest: {newest})")


@app.command()
def check(config_file: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Compare the schema with this version.

    Says how they differ; exit code 3 if they do.

    Example: cdr db check
    """
    with opened(config.load(config_file)) as archive:
        archive.start()
        differences = migrate.check(archive.url)
    if as_json:
        print_json({"differences": differences})
        finish(SchemaMismatch.exit_code if differences else 0)
    elif differences:
        raise SchemaMismatch("; ".join(differences))
    else:
        note("the database is as this version expects it")


@app.command()
def sql(
    config_file: ConfigOption = None,
    command: Annotated[
        list[str] | None,
        typer.Option("--command", "-c", help="Run this statement and end. Can be given again: one after the other."),
    ] = None,
) -> None:
    """Open psql on the archive.

    Its variables cookbook and lake lead to this version's questions, wherever you are; to ask one:
    \\i :cookbook/01_calls_per_day.sql

    Exit code 1 if psql ends with an error.

    Example: cdr db sql -c "select state, count(*) from cdr.call group by 1"
    """
    with opened(config.load(config_file)) as archive:
        archive.start()
        archive.connect().close()  # what stands in the way is said in our words, and with our exit codes
        words = [_psql(), "--set=ON_ERROR_STOP=1", *_folders(), *(f"--command={each}" for each in command or [])]
        # The password goes through the environment of the child: arguments can be seen by other users.
        environment = {**os.environ, **database.environment(archive.url)}
        done = subprocess.run(words, env=environment, check=False)  # noqa: S603
    finish(1 if done.returncode else 0)


def _folders() -> list[str]:
    """Variables of psql that lead to the questions of `sql/`."""
    return [f"--set={name}={migrate.sql_folder() / name}" for name in ("cookbook", "lake")]


def _psql() -> str:
    found = shutil.which("psql")
    if found:
        return found
    try:
        return str(embedded.programs() / "psql")
    except UsageError:
        raise UsageError("psql is not installed: install PostgreSQL's client, or cdr-archive[embedded]") from None
