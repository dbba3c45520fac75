"""`cdr retention`: deletion by age, legal holds, erasure."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from etl import config
from etl.calls.retention import expired_before
from etl.cli.accept import author_of, whoever
from etl.cli.archive import opened
from etl.cli.common import ConfigOption, JsonOption, finish, moment, note, print_json, safe, set_up_logging, table
from etl.cli.progress import shown
from etl.config import Settings
from etl.errors import UsageError
from etl.jobs import retention as jobs
from etl.jobs.retention import Report
from etl.store import export as exports
from etl.store import holds
from etl.store.audit import Author
from etl.store.database import Connection, require_schema
from etl.store.holds import Hold, Wanted
from etl.store.recorders import require_known

app = typer.Typer(help="Delete by age, hold, erase.", no_args_is_help=True)

Reason = Annotated[str, typer.Option("--reason", help="Why, for whoever asks later. It is kept: name nobody.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Count; change nothing.")]

_DELETED = {
    "calls": "calls",
    "months": "whole months among them, dropped at once",
    "held": "calls as old that are held, and stay",
    "ongoing": "calls as old that go on, by their recorder's last list, and stay",
    "documents": "documents in quarantine",
    "lists": "reconciliation runs whose lists were kept",
    "actions": "actions of reconciliation runs",
    "findings": "findings of verify runs",
    "acceptances": "acceptances of calls",
}
_ERASED = {
    "calls": "calls",
    "held": "calls that are held, and stay as they are",
    "documents": "documents in quarantine, removed",
    "documents_held": "documents in quarantine that are held",
    "lists": "reconciliation runs whose lists were removed",
    "lists_held": "reconciliation runs whose lists are held",
    "holds": "released holds that named the party",
    "folders": "folders of unfinished backfills that named the party",
}
"""What is counted, in the order in which it is shown."""


@app.command()
def apply(config_file: ConfigOption = None, dry_run: DryRun = False, as_json: JsonOption = False) -> None:
    """Delete what is older than retention.keep.

    Calls that began before, their evidence, and documents as old; never what is held. From then on no call as old is
    stored any more, wherever it comes from. Workers go on meanwhile. What was interrupted goes on with
    the same command.

    Example: cdr retention apply --dry-run
    """
    set_up_logging()
    settings = config.load(config_file)
    before = _before(settings)
    with _connected(settings) as connection, shown("apply") as watch:
        report = jobs.apply(connection, before, Author(whoever(), None), dry_run=dry_run, on_progress=watch)
    if as_json:
        print_json({"before": before, "dry_run": dry_run, **_told(report)})
        return
    note(f"{_would(dry_run)}deleted is what began before {before:%Y-%m-%d %H:%M:%S} UTC")
    _show_counts(report, _DELETED)
    _show_copies(report, "calls as old")


@app.command()
def hold(
    reason: Reason,
    config_file: ConfigOption = None,
    call: Annotated[str | None, typer.Option("--call", metavar="ID", help="One call.")] = None,
    party: Annotated[str | None, typer.Option("--party", help="All calls of a number, address or name.")] = None,
    recorder: Annotated[str | None, typer.Option("--recorder", help="Only calls of this recorder.")] = None,
    from_: Annotated[str | None, typer.Option("--from", help="Only calls that started at or after this time.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="Only calls that started before this time.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Keep calls, whatever else is asked for.

    One call, the calls of a party, or all calls of a time; also those that come later. Prints the number of the hold.

    Example: cdr retention hold --from 2026-03-01 --to 2026-04-01 --reason "court order 17/2026"
    """
    author = author_of(reason)
    wanted = _wanted(call, party, recorder, moment(from_), moment(to))
    if party is not None:
        jobs.refuse_named(party, author)
    settings = config.load(config_file)
    with _connected(settings) as connection:
        if recorder is not None:
            require_known(connection, recorder, [each.name for each in settings.recorder])
        number = holds.hold(connection, wanted, author)
        covered = holds.covered(connection, number)
    if as_json:
        print_json({"hold": number, "covers": covered})
        return
    typer.echo(number)
    note(f"hold {number} covers {covered:,} calls now; it lasts until 'cdr retention release {number}'")


@app.command()
def release(
    number: Annotated[int, typer.Argument(metavar="ID")],
    reason: Reason,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a hold.

    What no other hold covers can be deleted and erased again.

    Example: cdr retention release 3 --reason "case closed"
    """
    author = author_of(reason)
    with _connected(config.load(config_file)) as connection:
        holds.release(connection, number, author)
    if as_json:
        print_json({"released": number})
    else:
        note(f"hold {number} is released, by {author.who}")


@app.command("list")
def list_(
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
    released: Annotated[bool, typer.Option("--released", help="Also those that were released.")] = False,
) -> None:
    """List the holds in force.

    Shows the numbers and names that are held.

    Example: cdr retention list --released
    """
    with _connected(config.load(config_file)) as connection:
        found = holds.listed(connection, released=released)
    if as_json:
        print_json(found)
        return
    columns = ("id", "calls", "recorder", "from (UTC)", "to (UTC)", "by", "reason", "since (UTC)", "released (UTC)")
    table(columns, [_row(each) for each in found])


@app.command()
def erase(
    party: Annotated[str, typer.Option("--party", help="Number, address or name.")],
    reason: Reason,
    config_file: ConfigOption = None,
    dry_run: DryRun = False,
    as_json: JsonOption = False,
) -> None:
    """Erase a party's personal data (GDPR article 17).

    From every call that the archive holds of it now, but for those on hold, and for good: whatever arrives of these
    calls later is erased, too. When they were, how long and how they ended stays. Reads the whole archive.

    Exit code 5 if something of the party is left: calls or documents on hold, or exports, which are listed.

    Example: cdr retention erase --party 1000 --reason "request of 3 March" --dry-run
    """
    set_up_logging()
    author = author_of(reason)
    with _connected(config.load(config_file)) as connection, shown("erase") as watch:
        report = jobs.erase(connection, party, author, dry_run=dry_run, on_progress=watch)
    if as_json:
        print_json({"dry_run": dry_run, **_told(report)})
    else:
        note(f"{_would(dry_run)}erased")
        _show_counts(report, _ERASED)
        _show_copies(report, "erased calls as they were")
    left = any(report.counts.get(name) for name in ("held", "documents_held", "lists_held"))
    finish(5 if left or report.copies else 0)


@app.command()
def destroyed(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="The folder, as 'cdr retention erase' names it.")],
    reason: Reason,
    config_file: ConfigOption = None,
    host: Annotated[str | None, typer.Option("--host", help="Its machine; without it this one.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Take note that an export was destroyed, by whom and why.

    For exports that cannot be looked into from here: 'cdr retention erase' does not name them any more. What is
    exported to the same folder later on counts again.

    Example: cdr retention destroyed /srv/lake --host analysis-2 --reason "machine scrapped, disks shredded"
    """
    author = author_of(reason)
    here = socket.gethostname()
    machine = host or here
    place = _no_longer_here(Path(folder)) if machine == here else folder
    with _connected(config.load(config_file)) as connection:
        count = exports.destroyed(connection, place, machine, author)
    if as_json:
        print_json({"folder": place, "host": machine, "exports": count})
    else:
        note(f"{count} exports to {safe(place)} on {safe(machine)} are noted as destroyed, by {author.who}")


def _no_longer_here(folder: Path) -> str:
    """The folder's full name. Raises UsageError where something is in it: nobody need take a word for that."""
    try:
        there = folder.is_dir() and any(folder.iterdir())
    except OSError as error:
        raise UsageError(f"{folder} cannot be looked into: {error.strerror}") from error
    if there:
        raise UsageError(f"{folder} is still there: delete it first")
    return str(folder.resolve())


@contextmanager
def _connected(settings: Settings) -> Iterator[Connection]:
    with opened(settings) as archive:
        archive.start()
        with archive.connect(application="cdr retention") as connection:
            require_schema(connection)
            try:
                yield connection
            except KeyboardInterrupt:
                note("interrupted: what is done stays done; the same command goes on")
                raise typer.Exit(1) from None


def _before(settings: Settings) -> datetime:
    """From when on calls are kept."""
    keep = settings.retention.keep
    if keep is None:
        raise UsageError(
            'retention.keep is not configured: nothing is deleted by age; write keep = "7y" for seven years'
        )
    before = expired_before(keep, datetime.now(UTC))
    if before is None:
        raise UsageError(f"retention.keep = {keep} reaches back beyond the calendar: nothing can be that old")
    return before


def _wanted(
    call: str | None, party: str | None, recorder: str | None, start: datetime | None, end: datetime | None
) -> Wanted:
    if call is not None and not call.strip():
        raise UsageError("--call is empty: give the id of a call")
    if call is not None and any(each is not None for each in (party, recorder, start, end)):
        raise UsageError("--call alone names a call: leave the other options out")
    if call is None and party is None and (start is None or end is None):
        raise UsageError("say what to hold: --call, --party, or --from and --to")
    if start is not None and end is not None and start >= end:
        raise UsageError("--to is not after --from")
    return Wanted(call, party, recorder, start, end)


def _row(each: Hold) -> Sequence[object]:
    what = {"call": each.value, "party": f"of {each.value}" if each.value else "of an erased party", "span": "all"}
    until = "" if each.released_at is None else f"{safe(each.released_at)} by {each.released_by}: {each.release_reason}"
    limits = (each.recorder or "any", each.start or "", each.end or "")
    return (each.id, what[each.kind], *limits, each.who, each.reason, each.at, until)


def _would(dry_run: bool) -> str:
    return "dry run, nothing is changed; would be " if dry_run else ""


def _show_counts(report: Report, meaning: dict[str, str]) -> None:
    rows = [(report.counts[name], words) for name, words in meaning.items() if report.counts.get(name)]
    table(("count", "of"), rows or [(0, meaning["calls"])])


def _told(report: Report) -> dict[str, object]:
    return {"counts": report.counts, "copies": report.copies, "gone": report.gone}


def _show_copies(report: Report, what: str) -> None:
    """Where exports are that still hold what is gone here, and where some were."""
    for copy in report.copies:
        place = safe(f"{copy.folder} on {copy.host}")
        if copy.files is None:
            note(f"{place} cannot be looked into from here, and may hold {what}: delete it or export again there")
            note("  where it is destroyed for good, take note of that: 'cdr retention destroyed'")
            continue
        note(f"{place} holds {what}: delete these files or export again")
        for file in copy.files:
            note(f"  {safe(file)}")
    for copy in report.gone:
        note(f"{safe(f'{copy.folder} on {copy.host}')} held {what}, and is not there any more: nothing to do")
