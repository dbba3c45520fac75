"""The clock of the machine that the workers run on, which a campaign sets: what it shows at a true moment, and back.

All that is archived is dated by that clock (it is the only one a worker has), and every truth by ours. The oracle
compares the two in the clock's own time: a moment in a gap is one that the clock showed.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

from etl.calls.intervals import Spans, intersect, span, union
from etl.model import Interval

BEGINNING = datetime.min.replace(tzinfo=UTC)
END_OF_TIME = datetime.max.replace(tzinfo=UTC)
AGREED = timedelta(seconds=0.5)
"""What is stamped with a moment that the clock showed before can be off by what happened since."""


@dataclass(frozen=True, slots=True)
class Turn:
    """From `at` (true time) on, the clock is `ahead` of the truth by this; negative: behind."""

    at: datetime
    ahead: timedelta


@dataclass(frozen=True, slots=True)
class MachineClock:
    """A clock that was right at first and was turned at moments, in order; it has to be right again in the end."""

    turns: tuple[Turn, ...] = ()

    def ahead(self, moment: datetime) -> timedelta:
        """By how much it is ahead of the truth at a true moment."""
        return next((each.ahead for each in reversed(self.turns) if each.at <= moment), timedelta())

    def shows(self, moment: datetime) -> datetime:
        """What it shows at a true moment."""
        return moment + self.ahead(moment)

    def shown(self, spans: Iterable[Interval]) -> Spans:
        """What it shows in the course of true spans: less where it is set forward, and some twice where back."""
        return union(
            Interval(each.start + ahead, each.end + ahead)
            for piece, ahead in self._pieces()
            for each in intersect(spans, (piece,))
        )

    def stamps(self, start: datetime, end: datetime) -> Spans:
        """The times of receipt that something read between two true moments can bear: within a journal they never
        go back, so after a step back they stand still until the clock has caught up."""
        held = (
            Interval(before - AGREED, before + AGREED)
            for before, after, step in self._steps()
            if after < before and step.at <= end and self.shows(start) < before
        )
        return union(self.shown(span(start, end)), held)

    def meant(self, shown: datetime) -> datetime:
        """The first true moment at which it showed this."""
        candidates = (shown - ahead for piece, ahead in self._pieces() if piece.start <= shown - ahead < piece.end)
        skipped = (step.at for before, after, step in self._steps() if before <= shown < after)
        return min((*candidates, *skipped), default=shown)

    def stepped(self) -> Iterator[tuple[Interval, Turn]]:
        """Each step with what it skipped, or showed a second time."""
        for before, after, step in self._steps():
            if before != after:
                yield Interval(min(before, after), max(before, after)), step

    def _steps(self) -> Iterator[tuple[datetime, datetime, Turn]]:
        ahead = timedelta()
        for each in self.turns:
            yield each.at + ahead, each.at + each.ahead, each
            ahead = each.ahead

    def _pieces(self) -> Iterator[tuple[Interval, timedelta]]:
        start, ahead = BEGINNING, timedelta()
        for each in self.turns:
            yield Interval(start, each.at), ahead
            start, ahead = each.at, each.ahead
        yield Interval(start, END_OF_TIME), ahead


RIGHT = MachineClock()


class Dial:
    """The file by which the clock is set, and what a process needs in its environment to go by it."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.turns: list[Turn] = []
        self._write(0.0)

    def set(self, ahead: float) -> None:
        """Set the clock to be `ahead` of the truth, in seconds."""
        self._write(ahead)
        self.turns.append(Turn(datetime.now(UTC), timedelta(seconds=ahead)))

    def _write(self, ahead: float) -> None:
        draft = self._file.with_suffix(".new")
        draft.write_text(f"{ahead:+.3f}\n")
        draft.rename(self._file)

    def environment(self) -> Mapping[str, str]:
        """Variables for a process whose clock this is: of the wall only, never the one that counts seconds."""
        return {
            "LD_PRELOAD": str(library()),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "NO_FAKE_STAT": "1",
        }


def library() -> Path | None:
    """The library of PyPI's libfaketime; None where it is not installed."""
    package = find_spec("libfaketime")
    found = sorted(Path(str(package.origin)).parent.rglob("libfaketime.so.1")) if package else []
    return found[0] if found else None


def can_be_set(folder: Path) -> bool:
    """Whether a process goes by such a clock here: the library is made for one kind of machine."""
    dial = Dial(folder)
    dial.set(3600.0)
    words = (sys.executable, "-c", "import time; print(time.time())")
    said = subprocess.run(words, env=dict(dial.environment()), capture_output=True, text=True, check=False).stdout
    return bool(said) and float(said) > time.time() + 1800
