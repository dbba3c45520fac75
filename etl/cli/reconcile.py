"""`cdr reconcile`: one run, for schedulers."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import Annotated

import typer

from etl import config
from etl.cli.archive import Archive, opened
from etl.cli.common import ConfigOption, JsonOption, finish, note, print_json, set_up_logging, table
from etl.errors import UsageError
from etl.jobs import reconcile_all
from etl.jobs.reconcile import Report
from etl.store import reconcile as store
from etl.store.database import require_schema


def reconcile(
    config_file: ConfigOption = None,
    recorder: Annotated[list[str] | None, typer.Option(help="Only this recorder; can be given again.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan; change nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare the recorders' lists with the archive.

    What can be recovered is recovered. Safe beside a worker, and beside another run.

    Exit code 4 if a recorder is out of reach, 5 if calls or times are missing that nobody has accepted.

    Example: cdr reconcile --recorder ny-1 --dry-run
    """
    set_up_logging()
    settings = config.load(config_file)
    names = recorder or []
    if not reconcile_all.chosen(settings, names):
        raise UsageError("no recorder is configured: add a [[recorder]] with name, host and port")
    with opened(settings) as archive:
        archive.start()
        with archive.connect() as connection:
            require_schema(connection)
        work = reconcile_all.preview if dry_run else reconcile_all.reconcile
        reports = asyncio.run(work(settings, names, archive.connect))
        amiss = _amiss(archive, reports)
    print_json(reports) if as_json else _show(reports, dry_run)
    finish(_code(reports, amiss))


def _amiss(archive: Archive, reports: list[Report]) -> bool:
    now = datetime.now(UTC)
    with archive.connect() as connection:
        return any(store.unresolved(connection, report.recorder, now) for report in reports if not report.busy)


def _code(reports: list[Report], amiss: bool) -> int:
    if any(report.failure for report in reports):
        return 4
    return 5 if amiss or not all(report.settled for report in reports) else 0


def _show(reports: list[Report], dry_run: bool) -> None:
    rows = [
        (report.recorder, action.rule, action.act, action.call_id, action.told, _outcome(report, action.call_id))
        for report in reports
        for action in report.actions
    ]
    if rows:
        table(("recorder", "rule", "action", "call", "why", "answer"), rows)
    for report in reports:
        note(f"{report.recorder}: {_told(report, dry_run)}")


def _outcome(report: Report, call_id: str) -> str:
    return str((report.outcomes or {}).get(call_id, ""))


def _told(report: Report, dry_run: bool) -> str:
    if report.busy:
        return "another run is under way; left to it"
    if report.failure:
        return report.failure
    listed = report.plan.listed if report.plan else 0
    counts = Counter(action.act for action in report.actions)
    done = ", ".join(f"{count} to {act}" if dry_run else f"{act} {count}" for act, count in sorted(counts.items()))
    return f"{listed} calls listed; {done or 'nothing to do'}"
