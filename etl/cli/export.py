"""`cdr export`: calls as Parquet, by month and recorder."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from etl import config
from etl.cli.accept import whoever
from etl.cli.archive import opened
from etl.cli.common import ConfigOption, JsonOption, finish, note, print_json, safe, set_up_logging, span, table
from etl.cli.progress import shown
from etl.errors import UsageError
from etl.lake import folder as lake
from etl.lake.manifest import File
from etl.store.audit import Author
from etl.store.database import require_schema
from etl.store.export import Destination

if TYPE_CHECKING:
    from etl.jobs.export import Report


def export(
    out: Annotated[Path, typer.Option("--out", help="Folder: new, empty, or of an earlier export.")],
    from_: Annotated[str | None, typer.Option("--from", help="Calls that started at or after this time.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="Calls that started before this time.")] = None,
    config_file: ConfigOption = None,
    masked: Annotated[
        bool, typer.Option("--masked", help="Pseudonyms in place of numbers and names, as cdr_analyst sees them.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare the files of --out with their checksums; export nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Export calls as Parquet, for DuckDB, pandas or Spark.

    One file for each month (of UTC, by start) and recorder, as one snapshot of the archive shows them, and a
    manifest.json with counts and checksums. A folder that is there already is brought up to date: only files whose
    calls have changed are written again. What was interrupted goes on with the same command.

    Numbers and names are exported as they are unless --masked is given.

    Example: cdr export --from 2026-01-01T00:00Z --to 2026-04-01T00:00Z --out lake
    """
    set_up_logging()
    if verify:
        _verify(out, as_json)
        return
    if from_ is None or to is None:
        raise UsageError("say what to export: --from and --to")
    try:
        report, destination = _exported(config_file, out, from_, to, masked)
    except KeyboardInterrupt:
        note("interrupted: what is finished is kept; the same command goes on")
        raise typer.Exit(1) from None
    (_print if as_json else _show)(report, destination)


def _exported(config_file: Path | None, out: Path, from_: str, to: str, masked: bool) -> tuple[Report, Destination]:
    try:  # these packages take their time to load, and not everybody has them
        from etl.jobs.export import export as bring_up_to_date
    except ModuleNotFoundError as error:
        raise UsageError(f"{error.name} is missing: pip install 'cdr-archive[export]'") from error
    settings = config.load(config_file)
    destination = Destination(str(out.resolve()), socket.gethostname(), span(from_, to), masked)
    if not masked:
        note("numbers and names are exported as they are; --masked puts pseudonyms in their place")
    with opened(settings) as archive, lake.opened(out) as folder:
        archive.start()
        with archive.connect(application="cdr export") as connection, shown("export") as watch:
            require_schema(connection)
            author = Author(whoever(), None)
            report = bring_up_to_date(connection, archive.url, folder, destination, author, on_progress=watch)
    return report, destination


def _show(report: Report, destination: Destination) -> None:
    months = sorted({file.month for file in report.files})
    table(
        ("month", "recorders", "calls", "bytes"),
        ((month, *_sums([file for file in report.files if file.month == month])) for month in months),
    )
    if not report.files:
        note("no call began in that time")
    note(
        f"{destination.folder}: {report.rows:,} calls in {len(report.files):,} files; {report.written:,} written,"
        f" {len(report.files) - report.written:,} kept, {report.removed:,} removed"
    )


def _sums(files: Sequence[File]) -> tuple[int, int, int]:
    return len(files), sum(file.rows for file in files), sum(file.bytes for file in files)


def _print(report: Report, destination: Destination) -> None:
    print_json(
        {
            "export": report.number,
            "folder": destination.folder,
            "from": destination.span.start,
            "to": destination.span.end,
            "masked": destination.masked,
            "rows": report.rows,
            "bytes": report.bytes,
            "files": len(report.files),
            "written": report.written,
            "kept": len(report.files) - report.written,
            "removed": report.removed,
        }
    )


def _verify(out: Path, as_json: bool) -> None:
    """Exit code 5 if a file is not as it was written."""
    manifest = lake.whole(out)
    damaged = {file.path: why for file in manifest.files if (why := lake.damage(out, file))}
    if as_json:
        print_json({"folder": str(out.resolve()), "files": len(manifest.files), "damaged": damaged})
    for path, why in damaged.items():
        note(f"{safe(path)} {why}")
    rows = sum(file.rows for file in manifest.files)
    note(f"{len(manifest.files):,} files with {rows:,} calls, {len(damaged):,} not as they were written")
    finish(5 if damaged else 0)
