"""What the oracle judges by, and what it says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from campaign.archive import Archive
from campaign.clock import BEGINNING, END_OF_TIME, RIGHT, MachineClock
from campaign.schedule import REQUEST_TIMEOUT

from etl.calls.intervals import Spans, span, union
from etl.model import Interval
from etl.simulator.config import SimulatorConfig
from etl.simulator.truth import Truth

START_UP = 4.0
"""Seconds that a process needs to start on a busy machine, or to get going again."""
LISTING = 2 * REQUEST_TIMEOUT + 1
"""Seconds until a list has come whose first request was lost."""
BACK_OFF = 10.0
SLACK = 1.0


class Blow(StrEnum):
    """What hits us; the value is what it is called in results."""

    KILL = "kill -9"
    STOP = "clean stop"
    LAST_STOP = "the stop at the end"
    FREEZE = "SIGSTOP"
    WIPE = "data_dir deleted"
    DAMAGE = "journal damaged"
    DISK = "disk full"
    STALLED = "network stalled"
    CLOCK = "clock step"
    CRASH = "database crash"
    CONNECTIONS = "connection limit"
    SLOW = "slow database"
    DATABASE_STALLED = "database stalled"
    SECOND = "second worker"
    STARVED = "machine too busy"
    """Not ours: the kernel says that the worker had to wait for a processor."""

    @property
    def excuses(self) -> bool:
        """It is a cause of gaps while it lasts. A clock that is set is one, too, but at a moment: see `clock`."""
        return self in _EXCUSES

    @property
    def loses_journal(self) -> bool:
        """What was not in the database yet is lost with it."""
        return self in (Blow.WIPE, Blow.DAMAGE)

    @property
    def keeps_from_database(self) -> bool:
        """While it lasts the journal holds what the database does not."""
        return self in (Blow.CRASH, Blow.CONNECTIONS, Blow.SLOW, Blow.DATABASE_STALLED)


_EXCUSES = frozenset(
    (Blow.KILL, Blow.STOP, Blow.LAST_STOP, Blow.FREEZE, Blow.WIPE, Blow.DAMAGE, Blow.DISK, Blow.STALLED, Blow.STARVED)
)


@dataclass(frozen=True, slots=True)
class Outage:
    """A time (by the true clock) in which we were hit: one recorder's connections, or all (None)."""

    blow: Blow
    span: Interval
    recorder: str | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that the oracle judges by: truths and settings by recorder, the archive, our own outages, and the clock by
    which the archive is dated; truths and outages are dated by the true one."""

    truths: Mapping[str, Truth]
    recorders: Mapping[str, SimulatorConfig]
    archive: Archive
    outages: tuple[Outage, ...]
    clock: MachineClock = RIGHT

    def excusing(self, name: str) -> Iterator[Outage]:
        """The outages that can open a gap of this recorder."""
        return (each for each in self.outages if each.blow.excuses and each.recorder in (None, name))


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
