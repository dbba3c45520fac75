"""Time as the edges see it, and the watch that notices when we did not run or the clock was set."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from etl.calls.coverage import Reading

STEP = timedelta(seconds=1)
"""A clock that jumps by more than this was set (section 7 of the contract, "Clocks")."""

TOGETHER = 0.1
"""Seconds within which two clocks count as read at one moment: much less than a step."""


class Clock(Protocol):
    """The two clocks: `now()` is the wall clock in UTC; `elapsed()` are seconds that only ever go forward,
    and also count while the machine sleeps. `boot` names the start of the machine from which on they count; None where
    the machine does not tell."""

    @property
    def boot(self) -> str | None: ...

    def now(self) -> datetime: ...

    def elapsed(self) -> float: ...


class SystemClock:
    """The machine's clocks."""

    _boot_id = Path("/proc/sys/kernel/random/boot_id")
    _id = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

    def __init__(self) -> None:
        self.boot = self._boot()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def elapsed(self) -> float:
        return time.clock_gettime(self._id)

    def _boot(self) -> str | None:
        try:
            return self._boot_id.read_text().strip() or None
        except OSError:  # only Linux has it
            return None


def read(clock: Clock) -> Reading:
    """Both clocks at one moment; again where something came between the two looks."""
    while True:
        before, now, after = clock.elapsed(), clock.now(), clock.elapsed()
        if after - before < TOGETHER:
            return Reading(now, clock.boot, now - timedelta(seconds=before))


@dataclass(frozen=True, slots=True)
class Pause:
    """We did not look between these two moments: process stopped, machine asleep, or too busy."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Step:
    """The wall clock was set: `before` is what it would show, `after` what it shows; set back, the earliest that it can
    have shown, had it been set right after the last look."""

    before: datetime
    after: datetime


class Watch:
    """Notices pauses and clock steps, by being looked at often.

    Whoever reads from a socket looks first: what was waiting in the kernel during a pause must not count as
    read before the pause is known.
    """

    def __init__(self, clock: Clock, margin: timedelta) -> None:
        self._clock = clock
        self._margin = margin
        self._now = clock.now()
        self._elapsed = clock.elapsed()

    def look(self) -> tuple[Pause | Step, ...]:
        """What happened since the last look, the pause before the step; usually nothing."""
        now, elapsed = self._clock.now(), self._clock.elapsed()
        passed = timedelta(seconds=elapsed - self._elapsed)
        expected = self._now + passed
        found: list[Pause | Step] = []
        if passed > self._margin:
            found.append(Pause(self._now, expected))
        if abs(now - expected) > STEP:
            found.append(Step(expected, now if now > expected else self._now + (now - expected)))
        self._now, self._elapsed = now, elapsed
        return tuple(found)
