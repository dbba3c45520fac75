"""`cdr status`: how the archive stands."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from etl import config
from etl.cli.archive import Archive, opened
from etl.cli.common import ConfigOption, JsonOption, data, finish, print_json, safe, table
from etl.config import Settings
from etl.model import Interval, State
from etl.store.database import require_schema
from etl.store.status import RecorderStatus, Status
from etl.store.status import status as look

UNRESOLVED = (State.ONGOING, State.ENDED, State.LOST)
BAR = 48
"""Characters of the coverage bar: half an hour each for a day."""


def status(
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every two seconds.")] = False,
) -> None:
    """Show how the archive stands.

    Recorders, sessions, coverage of the last 24 hours, gaps, calls, lag and quarantine.

    Exit code 5 if something is missing and not accepted: open gaps, calls lost, calls ended for over five minutes
    without a record.

    Example: cdr status --watch
    """
    settings = config.load(config_file)
    with opened(settings) as archive, suppress(*([KeyboardInterrupt] if watch else [])):
        archive.start()
        while True:
            found = _look(settings, archive)
            if watch and not as_json:
                data.clear()
            print_json(_plain(found)) if as_json else show(found)
            if not watch:
                finish(5 if _amiss(found) else 0)
                return
            time.sleep(2)


def _look(settings: Settings, archive: Archive) -> Status:
    with archive.connect() as connection:
        require_schema(connection)
        return look(connection, datetime.now(UTC), settings.worker.margin)


def _amiss(found: Status) -> bool:
    """What section 3 of the contract counts: open gaps, calls lost, calls ended for over five minutes."""
    return any(
        recorder.open_gaps or recorder.overdue or recorder.unresolved.get("lost") for recorder in found.recorders
    )


def show(found: Status) -> None:
    """Print it for people, in tables that fit 80 columns."""
    rows = [
        (
            recorder.name,
            _standing(recorder, found.at),
            _share(recorder, found),
            f"{sum(recorder.calls.values()):,}",
            *(f"{recorder.unresolved.get(state.value, 0):,}" for state in UNRESOLVED),
            f"{len(recorder.open_gaps):,}",
        )
        for recorder in found.recorders
    ]
    data.print(f"As of {found.at:%Y-%m-%d %H:%M:%S} UTC; coverage and calls of the last 24 hours\n")
    table(("recorder", "connected", "covered", "calls", *UNRESOLVED, "open gaps"), rows)
    data.print()
    bars = [(recorder.name, _bar(recorder, found.since, found.at)) for recorder in found.recorders]
    table(("recorder", f"{FULL} covered {PART} in part {WAITING} pending {NONE} not covered"), bars)
    _show_gaps(found)
    lag = "nothing received yet" if found.lag is None else f"{found.lag.total_seconds():,.1f} s"
    data.print(f"\nLag (since receipt of the newest document stored): {lag}")
    for (name, reason), count in sorted(found.quarantined.items(), key=str):
        data.print(f"Quarantine: {count:,} from {safe(name or 'history')}: {safe(reason)}")
    if found.absurd_times:
        data.print(f"{found.absurd_times:,} calls have absurd times (default partition)")


def _show_gaps(found: Status) -> None:
    gaps = [(recorder.name, gap) for recorder in found.recorders for gap in recorder.open_gaps]
    if gaps:
        data.print()
        newest = sorted(gaps, key=lambda each: each[1].from_time)[-20:]
        rows = [(name, gap.id, gap.from_time, gap.to_time or "lasts", gap.reason) for name, gap in newest]
        table(
            ("recorder", "gap", "from (UTC)", "to (UTC)", "reason"),
            rows,
            f"Open gaps, newest {len(rows)} of {len(gaps)}",
        )


def _standing(recorder: RecorderStatus, now: datetime) -> str:
    live = [session for session in recorder.sessions if session.owned and session.subscribed_at]
    if not live:
        return "no"
    since = min(session.subscribed_at for session in live if session.subscribed_at)
    return f"for {str(now - since).split('.')[0]}"


FULL, PART, WAITING, NONE = "█", "▄", "░", "·"


def _known_since(recorder: RecorderStatus, since: datetime) -> datetime | None:
    """The first moment that is covered, pending or in a gap: there is nothing to cover before a subscription."""
    starts = [span.start for span in (*recorder.coverage, *recorder.pending)]
    starts += [gap.from_time for gap in recorder.open_gaps]
    return max(since, min(starts)) if starts else None


def _bar(recorder: RecorderStatus, since: datetime, now: datetime) -> str:
    step = (now - since) / BAR
    known = _known_since(recorder, since) or now
    cells = (Interval(since + step * index, since + step * (index + 1)) for index in range(BAR))
    return "".join(_cell(recorder, cell) if cell.end > known else " " for cell in cells)


def _cell(recorder: RecorderStatus, cell: Interval) -> str:
    covered, waiting = _within(recorder.coverage, cell), _within(recorder.pending, cell)
    whole = cell.end - cell.start
    if covered + waiting >= whole * 0.999:
        return FULL if covered else WAITING
    return PART if covered else WAITING if waiting else NONE


def _within(spans: tuple[Interval, ...], cell: Interval) -> timedelta:
    parts = (min(span.end, cell.end) - max(span.start, cell.start) for span in spans)
    return sum((part for part in parts if part > timedelta()), timedelta())


def _share(recorder: RecorderStatus, found: Status) -> str:
    known = _known_since(recorder, found.since)
    if known is None or known >= found.at:
        return "-"
    return f"{sum((span.end - span.start for span in recorder.coverage), timedelta()) / (found.at - known):.1%}"


def _plain(found: Status) -> dict[str, object]:
    """For `--json`: keys that are pairs become rows."""
    quarantined = [{"recorder": name, "reason": reason, "count": n} for (name, reason), n in found.quarantined.items()]
    return {
        "at": found.at,
        "since": found.since,
        "recorders": found.recorders,
        "lag": found.lag,
        "quarantined": quarantined,
        "absurd_times": found.absurd_times,
    }
