"""What the report is made from: rows as the views of schema `report` give them. All times are UTC.

A recorder of None stands for calls that no recorder is known for.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from etl.model import Interval


@dataclass(frozen=True, slots=True)
class DayVolume:
    """A row of `report.daily_volume`: the calls of a recorder that began on a day of the report's zone."""

    recorder: str | None
    day: date
    calls: int
    complete: int
    unresolved: int
    talk_time: timedelta
    longest: timedelta | None


@dataclass(frozen=True, slots=True)
class HourVolume:
    """Calls of all recorders that began in a clock hour of the report's zone."""

    hour: datetime
    calls: int


@dataclass(frozen=True, slots=True)
class BusyHour:
    """A row of `report.busy_hour`: the hour with the most traffic of a day."""

    recorder: str | None
    day: date
    hour: datetime
    calls: int
    erlangs: Decimal


@dataclass(frozen=True, slots=True)
class Peak:
    """The most calls at once on a recorder in a clock hour (`report.concurrent_calls`)."""

    recorder: str | None
    hour: datetime
    calls: int


@dataclass(frozen=True, slots=True)
class ExtensionUse:
    """`report.extension_usage` over the whole time; None: calls without an extension."""

    extension: str | None
    calls: int
    complete: int
    talk_time: timedelta
    longest: timedelta | None
    last_call: datetime | None


@dataclass(frozen=True, slots=True)
class CauseCount:
    """Calls by why they ended; None: not reported."""

    cause: str | None
    calls: int


@dataclass(frozen=True, slots=True)
class Unresolved:
    """Calls that are not complete, by state and whether someone accepted that.

    Of those that are ongoing the ones that their recorder's last good list lacked have a state of their own: unlisted.
    """

    state: str
    accepted: bool
    calls: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """`report.completeness_between` of a recorder: the sums of its hours.

    `first` is the first of them, `covered_first` what sessions covered of it. `expired`: the end of the last one of
    which calls were deleted by age, None where there is no such hour.
    """

    recorder: str
    first: datetime
    covered_first: timedelta
    covered: timedelta
    calls: int
    recovered: int
    unresolved: int
    quarantined: int
    expired: datetime | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """A row of `report.gaps` that overlaps the time of the report; `end` is None while it lasts."""

    id: int
    recorder: str
    start: datetime
    end: datetime | None
    reason: str
    state: str
    recovered: int


@dataclass(frozen=True, slots=True)
class Pending:
    """A row of `report.pending` that overlaps the time of the report: a session has told nothing of it, nor has it
    ended; `end` is None while that lasts."""

    recorder: str
    start: datetime
    end: datetime | None


@dataclass(frozen=True, slots=True)
class Conversations:
    """`report.conversations_between`: how many, and how long people talked."""

    count: int
    talk_time: timedelta


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that a report tells: of the whole days of `zone` in `span`, as of `now`."""

    span: Interval
    zone: ZoneInfo
    now: datetime
    days: tuple[DayVolume, ...] = ()
    hours: tuple[HourVolume, ...] = ()
    busy: tuple[BusyHour, ...] = ()
    peaks: tuple[Peak, ...] = ()
    extensions: tuple[ExtensionUse, ...] = ()
    causes: tuple[CauseCount, ...] = ()
    conversations: Conversations = Conversations(0, timedelta())
    unresolved: tuple[Unresolved, ...] = ()
    coverage: tuple[Coverage, ...] = ()
    gaps: tuple[Gap, ...] = ()
    pending: tuple[Pending, ...] = ()

    @property
    def calls(self) -> int:
        """All calls of the time."""
        return sum(day.calls for day in self.days)
