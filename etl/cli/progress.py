"""Shows how far a job is: a bar with rate and time left on a terminal, a plain line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from etl.cli.common import note, notes
from etl.jobs import progress as jobs

EVERY = 10.0
"""Seconds between two lines in a log."""


@contextmanager
def shown(title: str) -> Iterator[jobs.OnProgress]:
    """Show progress on stderr for as long as the block runs."""
    if not notes.is_terminal:
        yield _Lines(title)
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"))
    with Progress(*columns, TimeElapsedColumn(), console=notes, transient=True) as bar:
        yield _Bar(title, bar)


class _Told:
    """Turns progress into words: what was done, how fast, and how long it will take."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begin: tuple[float, jobs.Progress] | None = None

    def words(self, now: jobs.Progress) -> str:
        if self._begin is None:
            self._begin = (self._clock(), now)
        began, first = self._begin
        seconds = self._clock() - began
        parts = [_amount(now), *(f"{count:,} {name}" for name, count in now.counts.items() if count)]
        if seconds > 0:
            parts += _speed(first, now, seconds)
        return ", ".join(parts)


class _Lines(_Told):
    def __init__(self, title: str, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._title = title
        self._said = clock()

    def __call__(self, progress: jobs.Progress) -> None:
        words = self.words(progress)
        if self._clock() - self._said >= EVERY:
            self._said = self._clock()
            note(f"{self._title}: {words}")


class _Bar(_Told):
    def __init__(self, title: str, bar: Progress) -> None:
        super().__init__()
        self._bar = bar
        self._task = bar.add_task(title, total=None, told="")

    def __call__(self, progress: jobs.Progress) -> None:
        self._bar.update(self._task, completed=progress.done, total=progress.total, told=self.words(progress))


def _amount(progress: jobs.Progress) -> str:
    done = f"{progress.done:,.0f}"
    return f"{done} of {progress.total:,.0f} {progress.unit}" if progress.total else f"{done} {progress.unit}"


def _speed(first: jobs.Progress, now: jobs.Progress, seconds: float) -> list[str]:
    """The rate since the beginning of this process, and the time left where the total is known."""
    name = now.rate_of or now.unit
    before, after = (each.counts.get(now.rate_of, 0) if now.rate_of else each.done for each in (first, now))
    said = [f"{(after - before) / seconds:,.0f} {name}/s"]
    if now.total and now.done > first.done:
        left = (now.total - now.done) * seconds / (now.done - first.done)
        said.append(f"{timedelta(seconds=round(left))} left")
    return said
