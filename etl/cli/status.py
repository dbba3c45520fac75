"""`cdr status`: how the archive stands."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from etl import config
from etl.cli.archive import Archive, opened
from etl.cli.common import ConfigOption, JsonOption, data, finish, print_json, safe, table
from etl.cli.words import reason
from etl.config import Settings
from etl.model import Interval, State
from etl.store.amiss import Amiss
from etl.store.database import require_schema
from etl.store.status import GapStatus, RecorderStatus, Status
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
    without a record, calls ongoing that the recorder no longer lists.

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
    return bool(found.amiss_elsewhere) or any(recorder.amiss for recorder in found.recorders)


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
    _show_troubles(found)
    lag = "nothing received yet" if found.lag is None else f"{found.lag.total_seconds():,.1f} s"
    data.print(f"\nLag (since receipt of the newest document stored): {lag}")
    for (name, why), count in sorted(found.quarantined.items(), key=str):
        data.print(f"Quarantine: {count:,} from {safe(name or 'history')}: {safe(why)}")
    if found.absurd_times:
        data.print(f"{found.absurd_times:,} calls have absurd times (default partition)")


def _show_gaps(found: Status) -> None:
    gaps = [(recorder.name, gap) for recorder in found.recorders for gap in recorder.open_gaps]
    if gaps:
        data.print()
        newest = sorted(gaps, key=lambda each: each[1].from_time)[-20:]
        rows = [(name, gap.id, gap.from_time, _length(gap, found.at), reason(gap.reason)) for name, gap in newest]
        table(
            ("recorder", "gap", "from (UTC)", "length", "why"),
            rows,
            f"Open gaps, newest {len(rows)} of {len(gaps)}",
        )
        for _, gap in newest:
            if gap.told is not None:
                data.print(safe(f"gap {gap.id}: {gap.told}"))


def _length(gap: GapStatus, now: datetime) -> str:
    length = str((gap.to_time or now) - gap.from_time).split(".")[0]
    return length if gap.to_time else f"{length}, lasts"


def _show_troubles(found: Status) -> None:
    """What stands in the way, and what is missing without being accepted, in words."""
    lines = [f"{safe(each.name)}: {line}" for each in found.recorders for line in _troubles(each)]
    lines += [f"no recorder: {line}" for line in _missing(found.amiss_elsewhere)]
    if lines:
        data.print()
    for line in lines:
        data.print(line)


def _troubles(recorder: RecorderStatus) -> Iterator[str]:
    if recorder.last_end and recorder.last_end.reason != "stop" and not recorder.retired_at:
        ended = f"{recorder.last_end.at:%Y-%m-%d %H:%M:%S}"
        yield f"last session ended {ended} UTC: {safe(reason(recorder.last_end.reason))}"
    if recorder.refused_list:
        yield f"last reconciliation failed: {safe(recorder.refused_list)}"
    yield from _missing(recorder.amiss)


def _missing(amiss: Amiss) -> Iterator[str]:
    if amiss.lost:
        yield f"{_calls(amiss.lost)} lost, and not accepted ('cdr accept call')"
    if amiss.overdue:
        yield f"{_calls(amiss.overdue)} ended for over five minutes without a record"
    if amiss.unlisted:
        yield f"{_calls(amiss.unlisted)} ongoing with us, but not in the recorder's last list"


def _calls(count: int) -> str:
    return f"{count:,} call{'' if count == 1 else 's'}"


def _standing(recorder: RecorderStatus, now: datetime) -> str:
    if recorder.retired_at:
        return "retired"
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
        "amiss_elsewhere": found.amiss_elsewhere,
    }
