"""When to try a recorder again: soon, not all at once, and never so often that it hurts (section 7)."""

from __future__ import annotations

from collections import deque


class Backoff:
    """Full jitter over a doubling range, beside a limit on attempts that nothing resets.

    `first` is the first range and `cap` the widest, `limit` the number of attempts in any `window`; all but
    the limit in seconds. Ask before every attempt, also the first: the limit counts what it has told.
    """

    def __init__(self, *, first: float = 0.5, cap: float = 10.0, limit: int = 20, window: float = 60.0) -> None:
        self._first = first
        self._cap = cap
        self._window = window
        self._range = first
        self._attempts: deque[float] = deque(maxlen=limit)

    def next(self, now: float, uniform: float) -> float:
        """Seconds to wait from `now` (a clock that only goes forward) until the next attempt.

        `uniform` is a random number of [0, 1).
        """
        delay = uniform * self._range
        self._range = min(2 * self._range, self._cap)
        if len(self._attempts) == self._attempts.maxlen:
            delay = max(delay, self._attempts[0] + self._window - now)
        self._attempts.append(now + delay)
        return delay

    def healthy(self) -> None:
        """A session has proved healthy: a whole list and one proof of life. The next wait is short again.

        A connect, or a confirmed subscription, proves nothing: a recorder that accepts and drops must not be
        hammered.
        """
        self._range = self._first
