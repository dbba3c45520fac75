"""Time as the edges see it, and the watch that notices when we did not run or the clock was set."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from etl.calls.coverage import CLOCK_STEP, Reading

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
    _offsets = Path("/proc/self/timens_offsets")
    _id = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

    def __init__(self) -> None:
        self.boot = self._boot()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def elapsed(self) -> float:
        return time.clock_gettime(self._id)

    def _boot(self) -> str | None:
        try:
            return f"{self._boot_id.read_text().strip()} {self._offset()}".strip() or None
        except OSError:  # only Linux has it
            return None

    def _offset(self) -> str:
        """How far the elapsed seconds of this container are from the machine's: usually not."""
        try:
            told = [line.split() for line in self._offsets.read_text().splitlines()]
        except OSError:  # an old kernel
            return ""
        return next((".".join(rest) for name, *rest in told if name == "boottime" and any(map(int, rest))), "")


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
    have shown, had it been set right after the last look. That look was at `seen`, by the clock as it was."""

    before: datetime
    after: datetime
    seen: datetime


class Watch:
    """Notices pauses and clock steps, by being looked at often.

    Whoever reads from a socket looks first: what was waiting in the kernel during a pause must not count as
    read before the pause is known.
    """

    def __init__(self, clock: Clock, margin: timedelta) -> None:
        self._clock = clock
        self._margin = margin
        self._last = self._told = read(clock)

    def look(self) -> tuple[Pause | Step, ...]:
        """What happened since the last look, the pause before the step; usually nothing."""
        last, reading = self._last, read(self._clock)
        passed = reading.elapsed - last.elapsed
        expected = last.now + passed
        found: list[Pause | Step] = []
        if passed > self._margin:
            found.append(Pause(last.now, expected))
        if abs(reading.booted_at - self._told.booted_at) > CLOCK_STEP:  # small steps add up
            set_by = reading.now - expected
            found.append(Step(expected, reading.now if set_by > timedelta() else last.now + set_by, last.now))
            self._told = reading
        self._last = reading
        return tuple(found)
