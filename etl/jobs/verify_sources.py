"""The history, read afresh for `cdr verify`: over HTTP in windows, or every metadata file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import ClassVar, Protocol

from etl.calls.history import SKEW, windows
from etl.calls.ids import is_timed
from etl.errors import HistoryRefused, HistoryUnavailable
from etl.history.files import FileRead, Problem, Trouble, scan
from etl.history.http import Page
from etl.ingest.history import HistoryReader, Told
from etl.model import Fact, Interval, Kind


@dataclass(frozen=True, slots=True)
class Piece:
    """What a piece of the history came to, and how much is done with it, in the source's unit."""

    told: Told
    done: float


class Source(Protocol):
    """A history to be read. Records may come twice."""

    kind: ClassVar[Kind]
    unit: ClassVar[str]

    @property
    def delay(self) -> timedelta:
        """How late records may appear."""

    def total(self, span: Interval) -> float | None:
        """How much there is to read, in `unit`; None if nobody knows."""

    def pieces(self, span: Interval) -> Iterator[Piece]:
        """All that the history has of the span, and some beside it. Raises HistoryError where it is not all."""


class Searches(Protocol):
    """What is asked of a client of the HTTP history."""

    def search(self, window: Interval) -> Iterator[Page]:
        """The rows of a window."""


@dataclass(frozen=True, slots=True)
class OverHttp:
    """The HTTP history. `delay`: configuration `history.http.delay`."""

    client: Searches
    reader: HistoryReader
    delay: timedelta
    kind: ClassVar[Kind] = Kind.HTTP
    unit: ClassVar[str] = "hours"

    def total(self, span: Interval) -> float:
        """Hours."""
        return (span.end - span.start) / timedelta(hours=1)

    def pieces(self, span: Interval) -> Iterator[Piece]:
        """Page by page. Raises HistoryUnavailable, HistoryRefused."""
        for window in windows(span):
            guard = ZoneGuard("history.http.timezone")
            done = (window.start - span.start) / timedelta(hours=1)
            for page in self.client.search(window):
                told = self.reader.rows(page.found, page.observed_at)
                guard.check(told.read)
                yield Piece(told, done)
            yield Piece(Told(), (window.end - span.start) / timedelta(hours=1))


@dataclass(frozen=True, slots=True)
class InFiles:
    """The metadata files below `roots`; `limit`: bytes of the largest; `tell` hears of what cannot be read.

    `delay`: configuration `history.files.delay`.
    """

    roots: Sequence[Path]
    reader: HistoryReader
    limit: int
    tell: Callable[[Problem], None]
    delay: timedelta
    kind: ClassVar[Kind] = Kind.FILE
    unit: ClassVar[str] = "files"

    def total(self, span: Interval) -> None:
        """Nobody knows how many files there are."""

    def pieces(self, span: Interval) -> Iterator[Piece]:
        """Every file that was written after the span began: a record is written after its call began.

        Raises HistoryUnavailable for a root that cannot be read, HistoryRefused for a wrong zone.
        """
        guard = ZoneGuard("history.files.timezone")
        for number, file in enumerate(self._scan(span), 1):
            told = self.reader.file(file.path, file.observed_at, file.body)
            guard.check(told.read)
            yield Piece(told, number)

    def _scan(self, span: Interval) -> Iterator[FileRead]:
        return scan(self.roots, span.start - SKEW, self.limit, self._heard)

    def _heard(self, problem: Problem) -> None:
        if problem.root:
            raise HistoryUnavailable(
                f"{problem.path}: {problem.told}; history.files.roots names it: is its disk mounted?"
            )
        if problem.trouble is not Trouble.LOOP:
            self.tell(problem)


class ZoneGuard:
    """Stops at a history that is read in a wrong zone, before anything is judged by its times."""

    _ENOUGH = 3

    def __init__(self, key: str) -> None:
        """`key` names the setting."""
        self._key = key
        self._timed = self._suspect = 0

    def check(self, facts: Sequence[Fact]) -> None:
        """Take these records into account, too. Raises HistoryRefused where more than half of all that can tell are
        off by whole quarters of an hour."""
        for fact in facts:
            if is_timed(fact.id_time) and "start_time" in fact.values:
                self._timed += 1
                self._suspect += "zone_suspect" in fact.quality
        if self._timed >= self._ENOUGH and self._suspect * 2 > self._timed:
            raise HistoryRefused(
                f"{self._suspect} of {self._timed} records of the history begin whole quarters of an hour away from the"
                f" time in their ids: its times are read in a wrong zone; correct {self._key}"
            )
