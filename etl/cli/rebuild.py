"""`cdr rebuild`: derive calls again from the kept evidence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Annotated

import typer
from rich.live import Live

from etl import config
from etl.cli.archive import Archive, opened
from etl.cli.audited import audited
from etl.cli.common import ConfigOption, JsonOption, finish, moment, note, notes, print_json
from etl.config import Settings
from etl.ingest.interpret import Interpreter
from etl.model import Json
from etl.store.database import Connection, require_schema
from etl.store.rebuild import Rebuilt, Scope
from etl.store.rebuild import rebuild as rebuilding
from etl.store.recorders import require_known


def rebuild(
    config_file: ConfigOption = None,
    recorder: Annotated[str | None, typer.Option(help="Only calls of this recorder.")] = None,
    from_: Annotated[str | None, typer.Option("--from", help="Only calls that started at or after this time.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="Only calls that started before this time.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would change; change nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Derive calls again from the evidence.

    Reads the kept elements again under today's zones and dialects, and derives the rows from them. Changes what a
    wrong setting had spoiled, and nothing else; can run beside a worker. Exit code 5 if elements could not be read
    (they stay as they are).

    Example: cdr rebuild --recorder ny-1 --from 2026-03-01 --dry-run
    """
    settings = config.load(config_file)
    scope = Scope(recorder, moment(from_), moment(to))
    done = Rebuilt()
    target: dict[str, Json] = {"recorder": recorder, "from": _text(scope.start), "to": _text(scope.end)}
    with (
        opened(settings) as archive,
        _connected(archive, settings, recorder) as connection,
        Live(console=notes, transient=True) as live,
        audited(archive, "rebuild", target, dry_run=dry_run) as effect,
    ):
        for done in rebuilding(connection, Interpreter(settings).reread, scope, dry_run=dry_run):
            live.update(_line(done, dry_run))
            effect.update(asdict(done))
    if as_json:
        print_json(done)
    else:
        note(_line(done, dry_run))
    finish(5 if done.unreadable else 0)


@contextmanager
def _connected(archive: Archive, settings: Settings, recorder: str | None) -> Iterator[Connection]:
    with archive.connect() as connection:
        require_schema(connection)
        if recorder is not None:
            require_known(connection, recorder, [each.name for each in settings.recorder])
        yield connection


def _text(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


def _line(done: Rebuilt, dry_run: bool) -> str:
    change = "would change" if dry_run else "changed"
    unreadable = f"; {done.unreadable:,} elements could not be read" if done.unreadable else ""
    return f"{done.calls:,} calls, {done.facts:,} facts read; {done.calls_changed:,} calls {change}{unreadable}"
