"""`cdr backfill http` and `cdr backfill gaps`: the history of a span of time, and of what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated

import typer

from etl import config
from etl.cli.archive import Archive, opened
from etl.cli.audited import audited
from etl.cli.common import ConfigOption, JsonOption, finish, note, print_json, set_up_logging, span, table
from etl.cli.progress import shown
from etl.config import Settings
from etl.errors import UsageError
from etl.jobs import backfill_gaps, backfill_http
from etl.jobs.backfill_gaps import GapBackfill, GapReport
from etl.jobs.backfill_http import HttpBackfill
from etl.jobs.history import sources
from etl.model import Json
from etl.store.database import require_schema

DryRun = Annotated[bool, typer.Option("--dry-run", help="Write nothing.")]

_MEANING = {
    "records": "records read; some come twice",
    "new": "calls that the archive does not have",
    "known": "calls that it has",
    "open": "calls that it has without a record",
    "completed": "calls that became complete",
    "outside": "records of another time, left out",
    "expired": "records of calls as old as those that were deleted by age, left out",
    "strangers": "records outside a recorder's extensions",
    "withheld": "records with doubtful times of calls that are better known, left out",
    "quarantined": "not understood, kept in quarantine",
    "hidden": "complete calls of the archive that the history did not show",
}


def http(
    from_: Annotated[str, typer.Option("--from", metavar="TIME", help="First moment, ISO 8601.")],
    to: Annotated[str, typer.Option("--to", metavar="TIME", help="First moment that is left out.")],
    config_file: ConfigOption = None,
    dry_run: DryRun = False,
    as_json: JsonOption = False,
) -> None:
    """Import a span of time from the history over HTTP.

    Doing it again changes nothing; a run that was interrupted goes on from where it was when the same command is given
    again. With --dry-run everything is read and nothing written.

    Exit code 4 if the history is out of reach or read in a wrong zone, 5 if gaps of that time are open, or calls of it
    missing, that nobody has accepted, or if the history does not show all calls that the archive holds as complete.

    Example: cdr backfill http --from 2026-03-01T00:00Z --to 2026-03-02T00:00Z
    """
    set_up_logging()
    settings = config.load(config_file)
    wanted = span(from_, to)
    if settings.history.http is None:
        raise UsageError("no history over HTTP is configured: add [history.http] with its url")
    with _ready(settings, dry_run=dry_run) as archive, sources(settings) as histories, shown("http") as progress:
        job = HttpBackfill(settings, archive.connect, histories[0], on_progress=progress, on_resumed=_resumed)
        target: dict[str, Json] = {"from": wanted.start.isoformat(), "to": wanted.end.isoformat()}
        with audited(archive, "backfill http", target, dry_run=dry_run) as effect:
            report = job.preview(wanted) if dry_run else job.run(wanted)
            effect.update(report.counts)
    print_json(report) if as_json else _show_http(report)
    amiss = report.open_gaps or report.unresolved or report.counts.get("hidden")
    finish(4 if report.failure else 5 if amiss else 0)


def gaps(config_file: ConfigOption = None, dry_run: DryRun = False, as_json: JsonOption = False) -> None:
    """Fill gaps, and search for calls without a record.

    Reads every open gap (one that lasts: up to now), and around every call that is ended, lost, or ongoing though the
    recorder no longer lists it, from the configured history. A worker does this by itself. With --dry-run it is only
    said what would be read.

    Exit code 4 if the history is out of reach or read in a wrong zone, 5 if gaps stay open, or calls missing, that
    nobody has accepted.

    Example: cdr backfill gaps
    """
    set_up_logging()
    settings = config.load(config_file)
    if settings.history.http is None and settings.history.files is None:
        raise UsageError("no history is configured: add [history.http] with its url, or [history.files] with its roots")
    with _ready(settings, dry_run=dry_run) as archive, sources(settings) as histories, shown("gaps") as progress:
        with archive.connect() as connection:
            todo = backfill_gaps.everything(connection, datetime.now(UTC))
        job = GapBackfill(settings, archive.connect, histories, on_progress=progress)
        target: dict[str, Json] = {"gaps": len(todo.gaps), "calls": len(todo.calls)}
        with audited(archive, "backfill gaps", target, dry_run=dry_run) as effect:
            report = job.preview(todo) if dry_run else job.run(todo)
            effect.update(report.counts, searched=report.searched, found=report.found)
    print_json(report) if as_json else _show_gaps(report, dry_run)
    finish(4 if report.failure else 5 if report.missing else 0)


@contextmanager
def _ready(settings: Settings, *, dry_run: bool) -> Iterator[Archive]:
    """The archive, with what an interrupted run says at its end."""
    with opened(settings) as archive:
        archive.start()
        with archive.connect() as connection:
            require_schema(connection)
        try:
            yield archive
        except KeyboardInterrupt:
            note("interrupted" if dry_run else "interrupted: the same command goes on from here")
            raise typer.Exit(1) from None


def _resumed(at: datetime) -> None:
    note(f"goes on from {at:%Y-%m-%d %H:%M:%S} UTC, where an earlier run was; its counts are in these")


def _show_http(report: backfill_http.Report) -> None:
    _show_counts(report.counts)
    if report.filled:
        note(f"{report.filled} gaps are filled")
    if report.open_gaps or report.unresolved:
        note(f"in this time {report.open_gaps} gaps are open and {report.unresolved} calls without a record")
        note("'cdr backfill gaps' reads what each of them needs")
    for line in _doubts(report.counts):
        note(line)
    if report.late_until:
        note(f"rows of this time may appear until {report.late_until:%Y-%m-%d %H:%M:%S} UTC: run this again then")
    if report.failure:
        note(report.failure)


def _doubts(counts: Mapping[str, int]) -> Iterator[str]:
    """What speaks against believing that the history has shown everything."""
    if not counts.get("records"):
        yield "0 records read; an empty answer proves nothing: a wrong zone, tenant or user gives one, too"
    if hidden := counts.get("hidden"):
        yield (
            f"{hidden:,} calls that the archive holds as complete were not shown, so others may be hidden as well: is"
            " history.http.timezone right, is it the right tenant, may the user see all calls, were rows deleted?"
        )


def _show_gaps(report: backfill_gaps.Report, dry_run: bool) -> None:
    if report.gaps:
        rows = [_planned(gap) if dry_run else _row(gap) for gap in report.gaps]
        columns = ("read from", "read to") if dry_run else ("now", "witnesses", "recovered")
        table(("gap", "recorder", "from (UTC)", "to (UTC)", *columns), rows)
    if dry_run:
        note(f"{report.searched} calls would be searched for")
        return
    _show_counts(report.counts)
    for gap in report.gaps:
        if gap.told is not None:
            note(f"gap {gap.id} of {gap.recorder} stays open: {gap.told}")
    note(f"{report.found} of {report.searched} calls found that had no record")
    if report.failure:
        note(report.failure)


def _planned(gap: GapReport) -> tuple[object, ...]:
    return (gap.id, gap.recorder, gap.start, gap.end or "lasts", gap.window.start, gap.window.end)


def _row(gap: GapReport) -> tuple[object, ...]:
    return (
        gap.id,
        gap.recorder,
        gap.start,
        gap.end or "lasts",
        gap.after or "not read",
        gap.witnesses,
        gap.recovered,
    )


def _show_counts(counts: Mapping[str, int]) -> None:
    rows = [(words, counts[name]) for name, words in _MEANING.items() if counts.get(name)]
    if rows:
        table(("what", "count"), rows)
