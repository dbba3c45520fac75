"""What the oracle judges by, and what it says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from campaign.archive import Archive
from campaign.schedule import REQUEST_TIMEOUT

from etl.calls.intervals import Spans, span, union
from etl.model import Interval
from etl.simulator.config import SimulatorConfig
from etl.simulator.truth import Truth

END_OF_TIME = datetime.max.replace(tzinfo=UTC)
BEGINNING = datetime.min.replace(tzinfo=UTC)

START_UP = 4.0
"""Seconds that a process needs to start on a busy machine, or to get going again."""
LISTING = 2 * REQUEST_TIMEOUT + 1
"""Seconds until a list has come whose first request was lost."""
BACK_OFF = 10.0
SLACK = 1.0


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which we were hit: `what` is worker, wiped (with its data_dir deleted), or database."""

    what: str
    span: Interval


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that the oracle judges by: truths and settings by recorder, the archive, and our own outages."""

    truths: Mapping[str, Truth]
    recorders: Mapping[str, SimulatorConfig]
    archive: Archive
    outages: tuple[Outage, ...]


@dataclass(slots=True)
class Verdict:
    """One obligation: how much was checked, what breaks it, and how much lies in a gap or is excused."""

    obligation: str
    checked: int = 0
    broken: Sequence[str] = ()
    excused: int = 0
    note: str = ""

    def lines(self) -> Iterator[str]:
        """One line, and one more for each breach."""
        mark = "BROKEN" if self.broken else "ok"
        excused = f", {self.excused} excused" if self.excused else ""
        note = f", {self.note}" if self.note else ""
        yield f"{mark:6} {self.obligation}: {self.checked} checked{excused}{note}"
        yield from (f"         {breach}" for breach in self.broken)


@dataclass(slots=True)
class Count:
    checked: int = 0
    excused: int = 0
    broken: list[str] = field(default_factory=list)

    def see(self, holds: bool, breach: str, *, excused: bool = False) -> None:
        self.checked += 1
        if not holds and excused:
            self.excused += 1
        elif not holds:
            self.broken.append(breach)

    def verdict(self, obligation: str, note: str = "") -> Verdict:
        return Verdict(obligation, self.checked, tuple(self.broken), self.excused, note)


def gap_spans(evidence: Evidence, name: str) -> Spans:
    """The listed gaps of a recorder; all time before its first subscription is nobody's promise either."""
    known = [state.subscribed_at for state in evidence.archive.sessions.get(name, ()) if state.subscribed_at]
    before = span(BEGINNING, min(known, default=END_OF_TIME))
    listed = (Interval(gap.start, gap.end or END_OF_TIME) for gap in evidence.archive.gaps.get(name, ()))
    return union(before, listed)


def within(moment: datetime, spans: Iterable[Interval]) -> bool:
    return any(each.start <= moment < each.end for each in spans)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)
