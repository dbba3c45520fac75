"""Whether the processes of a campaign got a processor when they wanted one: what the kernel says, not the worker.

A worker that waits for a processor for longer than its margin opens a gap (`pause`), and is right; so it is when it
hears nothing from a recorder that waits for one. With many campaigns side by side that happens, and is a cause of gaps
like a SIGSTOP.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from campaign.evidence import Blow, Outage
from campaign.schedule import MARGIN
from support.beside import Beside

from etl.calls.intervals import union
from etl.model import Interval

LOOK_EVERY = 0.25
WINDOW = 2.0
ENOUGH = MARGIN / 2
"""Seconds of waiting, of all threads together, within a window: a pause of the margin may have come of it."""


class Starvation(Beside):
    """A thread that adds up how long our children waited for a processor: workers, recorders, network."""

    def __init__(self) -> None:
        self._found: list[Interval] = []
        super().__init__()

    def outages(self) -> Iterator[Outage]:
        """The times in which they waited too long."""
        yield from (Outage(Blow.STARVED, each) for each in union(self._found))

    def watch(self) -> None:
        recent: deque[tuple[datetime, float]] = deque()
        before: dict[Path, int] = {}
        while not self.over.wait(LOOK_EVERY):
            now, after = datetime.now(UTC), _waited()
            recent.append((now, sum(total - before.get(thread, 0) for thread, total in after.items()) / 1e9))
            before = after
            while (now - recent[0][0]).total_seconds() > WINDOW:
                recent.popleft()
            if sum(seconds for _, seconds in recent) >= ENOUGH and recent[0][0] < now:
                self._found.append(Interval(recent[0][0], now))


def _waited() -> dict[Path, int]:
    """Nanoseconds that each thread has waited for a processor since it began (Linux; elsewhere nothing is known)."""
    found = {}
    for pid in _children():
        for thread in Path(f"/proc/{pid}/task").glob("*"):
            with suppress(OSError, ValueError, IndexError):
                found[thread] = int((thread / "schedstat").read_text().split()[1])
    return found


def _children() -> Iterator[str]:
    for task in Path("/proc/self/task").glob("*"):
        with suppress(OSError):
            yield from (task / "children").read_text().split()
