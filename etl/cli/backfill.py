"""`cdr backfill`; and of its commands `cdr backfill files`: the history in metadata files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from etl import config
from etl.cli import backfill_history
from etl.cli.archive import opened
from etl.cli.audited import audited
from etl.cli.common import ConfigOption, JsonOption, finish, note, print_json, safe, set_up_logging, table
from etl.cli.progress import shown
from etl.config import Settings
from etl.errors import DatabaseError, UsageError
from etl.history.files import Problem, Trouble
from etl.jobs.backfill_files import Report, Watch, cores, import_files, preview
from etl.model import Json
from etl.store.database import require_schema

app = typer.Typer(help="Import what only the history knows.", no_args_is_help=True)

_MEANING = {
    "files": "files read",
    "records": "records in them",
    "new": "records of calls that the archive does not have",
    "completed": "calls that became complete",
    "expired": "records of calls as old as those that were deleted by age, left out",
    "strangers": "records outside a recorder's extensions",
    "withheld": "records in a doubtful zone of calls that are better known",
    "skipped": "files of other XML",
    "quarantined": "not understood, kept in quarantine",
    "discarded": "not understood, discarded earlier",
    "mended": "rows of quarantine that read well now",
    Trouble.UNREADABLE.value: "files and folders that could not be read",
    Trouble.VANISHED.value: "files and folders that vanished meanwhile",
    Trouble.LOOP.value: "links that lead back",
    Trouble.OUTSIDE.value: "links that lead out of what was asked for, not followed",
}


@app.callback()
def _group() -> None:
    """Keeps `backfill` a group of commands, however few there are."""


@app.command()
def files(
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="[PATH]...", help="Files or folders; default: history.files.roots.")
    ] = None,
    config_file: ConfigOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read everything; write nothing.")] = False,
    processes: Annotated[
        int | None, typer.Option(min=1, max=256, help="How many processes read; default: one for each core.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Import metadata files.

    Every *.xml below each PATH, at any depth. Doing it again changes nothing; a run that was interrupted or killed
    goes on from where it was when the same command is given again.

    Exit code 4 if a PATH cannot be read at all or the configured zone is not that of the files, 5 if files or folders
    in it could not be read, or were not understood and stand in quarantine.

    Example: cdr backfill files /media/ny-1
    """
    set_up_logging()
    settings = config.load(config_file)
    chosen = _chosen(settings, paths)
    with opened(settings) as archive:
        archive.start()
        with archive.connect() as connection:
            require_schema(connection)
        if settings.history.files is None:
            note("times in the files are read as UTC: history.files.timezone is not configured")
        try:
            with shown("files") as progress:
                watch = Watch(progress, _tell)
                work = preview if dry_run else import_files
                target: dict[str, Json] = {"paths": [_text(str(path)) for path in chosen]}
                with audited(archive, "backfill files", target, dry_run=dry_run) as effect:
                    report = work(settings, archive.url, chosen, processes or cores(), watch)
                    effect.update(report.counts)
        except KeyboardInterrupt:
            note("interrupted" if dry_run else "interrupted: the same command goes on from here")
            raise typer.Exit(1) from None
        except DatabaseError:
            if not dry_run:
                note("the database was lost: once it is back the same command goes on from here")
            raise
    print_json(_plain(report)) if as_json else _show(report)
    finish(4 if report.out_of_reach else 0 if report.whole else 5)


app.command("http")(backfill_history.http)
app.command("gaps")(backfill_history.gaps)


def _chosen(settings: Settings, paths: list[Path] | None) -> list[Path]:
    known = settings.history.files
    chosen = paths or list(known.roots if known else ())
    if not chosen:
        raise UsageError("give a PATH, or set history.files.roots in the configuration")
    return chosen


def _tell(problem: Problem) -> None:
    note(f"{_text(problem.path)}: {problem.trouble.value}: {problem.told}")


def _text(path: str) -> str:
    """A path for people: a name need not be UTF-8, and can hold what a terminal would obey."""
    return safe(path.encode(errors="backslashreplace").decode())


def _show(report: Report) -> None:
    if report.resumed:
        note("went on from an earlier run: its counts are in these")
    table(
        ("what", "count"), [(words, report.counts[name]) for name, words in _MEANING.items() if name in report.counts]
    )
    for path in report.out_of_reach:
        note(f"{_text(path)} could not be read at all: is it there, is it mounted, may this user read it?")
    if report.counts.get("quarantined"):
        note("see 'cdr quarantine list' for what was not understood")


def _plain(report: Report) -> dict[str, object]:
    problems = [
        {"path": _text(each.path), "trouble": each.trouble, "told": each.told, "root": each.root}
        for each in report.problems
    ]
    return {
        "run": report.run,
        "resumed": report.resumed,
        "counts": report.counts,
        "problems": problems,
        "out_of_reach": [_text(path) for path in report.out_of_reach],
    }
