"""Time as the simulator sees it, so that a test can be its master."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What the simulator asks of time."""

    def now(self) -> datetime:
        """The time of day: aware, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back, whatever happens to the time of day."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Returns when `seconds` have passed."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        """The time of day: aware, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleeps."""
        await asyncio.sleep(seconds)


class ManualClock:
    """A clock that stands still until it is told to move; whoever sleeps on it moves it."""

    def __init__(self, start: datetime) -> None:
        """Starts at `start` (aware)."""
        self._start = start
        self._elapsed = 0.0

    def now(self) -> datetime:
        """The start plus what has been advanced: aware, UTC."""
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        """Seconds advanced so far."""
        return self._elapsed

    def advance(self, seconds: float) -> None:
        """Moves on by `seconds`."""
        self._elapsed += seconds

    async def sleep(self, seconds: float) -> None:
        """Moves on by `seconds` and lets others run."""
        self.advance(seconds)
        await asyncio.sleep(0)
