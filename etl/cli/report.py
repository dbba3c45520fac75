"""`cdr report`: a page with plots about what the archive holds, and how far it can be trusted."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from etl import config
from etl.cli.archive import opened
from etl.cli.common import ConfigOption, JsonOption, data, finish, moment, note, print_json, safe
from etl.cli.words import reason
from etl.errors import UsageError
from etl.jobs import report as jobs
from etl.model import Interval
from etl.report.trust import verdict

DAYS = timedelta(days=30)
"""What a report is about unless it is told."""


def report(
    out: Annotated[Path, typer.Option(help="Folder for index.html; made where it is missing.")],
    from_: Annotated[str | None, typer.Option("--from", help="First day; default: 30 days before the end.")] = None,
    to: Annotated[
        str | None, typer.Option(help="The day after the last one; default: today, after --from tomorrow.")
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(help="IANA zone of days, hours and times; default: this machine's.")
    ] = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a report with plots, one HTML file.

    Volumes, busy hours, concurrent calls, extensions, causes, coverage and gaps of whole days, and how far these
    numbers can be trusted. The page holds all that it shows and asks for nothing from anywhere. The right to read
    the views is enough; who may not see personal data gets pseudonyms.

    Exit code 5 if something of this time is missing and not accepted: open gaps, calls lost, calls that ended over five
    minutes ago without a record, calls that go on though the recorder's last good list lacked them.

    Example: cdr report --out report --from 2026-03-01 --to 2026-04-01 --timezone Europe/Budapest
    """
    jobs.require_extra()
    settings = config.load(config_file)
    zone = _zone(timezone)
    now = datetime.now(UTC)
    span = whole_days(moment(from_, zone), moment(to, zone), zone, now)
    note(f"about the whole days from {_days(span, zone)} ({zone.key})")
    with opened(settings) as archive:
        archive.start()
        with archive.connect() as connection:
            done = jobs.report(connection, span, zone, now, out, reason)
    _show(done, as_json)
    finish(5 if done.amiss else 0)


def _zone(name: str | None) -> ZoneInfo:
    try:
        return ZoneInfo(name) if name is not None else _machines_zone()
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(f'--timezone: "{name}" is not an IANA zone, such as Europe/Budapest') from None


def _machines_zone() -> ZoneInfo:
    """The zone of this machine, by its name; UTC where it has none."""
    link = str(Path("/etc/localtime").resolve()).partition("/zoneinfo/")[2]
    for name in (os.environ.get("TZ", "").removeprefix(":"), link):
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            continue
    return ZoneInfo("UTC")


def whole_days(first: datetime | None, last: datetime | None, zone: ZoneInfo, now: datetime) -> Interval:
    """The days of the zone from the one with `first` to the one before `last`: the last 30 whole days unless told.

    From a given day on means until now. A time within a day means all of that day. Raises UsageError where no day is
    left.
    """
    today, tomorrow = _midnight(now, zone), _midnight(now, zone, 1)
    end = min(tomorrow, _midnight_after(last, zone)) if last else tomorrow if first else today
    start = _midnight(end, zone, -DAYS.days) if first is None else _midnight(first, zone)
    if start >= end:
        raise UsageError(f"there is no day from {_day(start, zone)} to before {_day(end, zone)}: mend --from and --to")
    return Interval(start, end)


def _midnight(at: datetime, zone: ZoneInfo, days: int = 0) -> datetime:
    """The begin of the day in which the moment lies there, or of one some days later."""
    local = at.astimezone(zone)
    day = local.date() + timedelta(days=days)
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def _midnight_after(at: datetime, zone: ZoneInfo) -> datetime:
    """The moment itself, if a day begins there, else the begin of the next day."""
    begin = _midnight(at, zone)
    return begin if begin == at else _midnight(at, zone, 1)


def _day(at: datetime, zone: ZoneInfo) -> str:
    return at.astimezone(zone).date().isoformat()


def _days(span: Interval, zone: ZoneInfo) -> str:
    return f"{_day(span.start, zone)} to before {_day(span.end, zone)}"


def _show(done: jobs.Report, as_json: bool) -> None:
    found, answer = done.findings, verdict(done.findings).level.value
    if as_json:
        print_json(
            {
                "path": done.path.resolve(),
                "from": found.span.start,
                "to": found.span.end,
                "timezone": found.zone.key,
                "calls": found.calls,
                "conversations": found.conversations.count,
                "open_gaps": sum(gap.state == "open" for gap in found.gaps),
                "trusted": answer,
                "amiss": done.amiss,
            }
        )
        return
    data.print(safe(done.path), soft_wrap=True)
    note(f"{found.calls:,} calls, {found.conversations.count:,} conversations")
    note(f"can these numbers be trusted? {answer}")
