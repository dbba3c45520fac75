"""The one list of what is to happen later: calls, keep-alives, faults, late answers."""

from __future__ import annotations

import heapq
from collections.abc import Awaitable, Callable
from itertools import count
from typing import TypeAlias

from etl.simulator.clock import Clock

Action: TypeAlias = Callable[[], Awaitable[None] | None]

_LONGEST_NAP = 0.02
"""Seconds. An action that is added during a nap is at most this late, and nobody needs to be woken."""


class Timeline:
    """Actions in the order of their moments; equal moments in the order they were added.

    Nothing happens by itself: either `run` is a task, or a test calls `run_due` after moving its clock.
    """

    def __init__(self, clock: Clock) -> None:
        """Reads `clock.monotonic` only: a step of the time of day moves nothing."""
        self._clock = clock
        self._numbers = count()
        self._heap: list[tuple[float, int, Action]] = []

    def at(self, moment: float, action: Action) -> None:
        """Does `action` at `moment` on the monotonic clock."""
        heapq.heappush(self._heap, (moment, next(self._numbers), action))

    def after(self, seconds: float, action: Action) -> None:
        """Does `action` in `seconds`."""
        self.at(self._clock.monotonic() + seconds, action)

    def every(self, seconds: float, action: Action) -> None:
        """Does `action` every `seconds`, without drift."""
        self._repeat(self._clock.monotonic() + seconds, seconds, action)

    def _repeat(self, moment: float, seconds: float, action: Action) -> None:
        async def once() -> None:
            self._repeat(moment + seconds, seconds, action)
            await _do(action)

        self.at(moment, once)

    async def run_due(self) -> None:
        """Does everything whose moment has come."""
        while self._heap and self._heap[0][0] <= self._clock.monotonic():
            await _do(heapq.heappop(self._heap)[2])

    async def run(self) -> None:
        """Does everything in its time, until cancelled."""
        while True:
            await self.run_due()
            await self._clock.sleep(self._nap())

    def _nap(self) -> float:
        if not self._heap:
            return _LONGEST_NAP
        return min(_LONGEST_NAP, max(0.0, self._heap[0][0] - self._clock.monotonic()))


async def _do(action: Action) -> None:
    outcome = action()
    if outcome is not None:
        await outcome
