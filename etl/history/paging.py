"""How a window is read page by page, so that no row is missed while rows come and go.

Source: section 4 of the protocol. Pages are numbered by rows, so a row that appears or vanishes before the place
where we are moves all the others. Three things show it:

- a page begins with the last row of the one before: if another stands there, the set moved;
- a row that an earlier page had comes again: the set moved, or rows that start together change places;
- a page with nothing behind that row is followed by a request behind it: only an empty answer ends the window.

Without removals the first two need no stable order: all rows that were read differ and are there, and there are
no more than were read. A removal goes unseen only where rows that start together change places as well, or where
the source gives one row at a time; then the window is read until two readings agree.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from etl.protocol.history import Found, Name

READINGS = 6
"""How often a window is read before we give up on a set that never holds still."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows of a window in order of start. `observed_at`: when the page had come (UTC)."""

    observed_at: datetime
    found: Found


Ask: TypeAlias = Callable[[int | None], Page]
"""Ask for the page that begins with this row, the first being 1; with None for the first page without a number, so
that a source which counts from 0 shows itself at the second page instead of hiding its first row."""


class Unsettled(Exception):
    """The rows moved in every reading; `reason` says what was seen last."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Moved(Exception):
    """What was read does not belong together: the window must be read again."""


class _OneByOne(Exception):
    """The source gives one row at a time, so pages cannot overlap."""


def read_window(ask: Ask, settle: Callable[[int], None]) -> Iterator[Page]:
    """Every page of a window, until one reading holds together; rows come again where it is read again.

    `settle` is called before each further reading, with their number from 0. Raises Unsettled, and what `ask` raises.
    """
    reason = ""
    for reading in range(READINGS):
        if reading:
            settle(reading - 1)
        try:
            yield from _overlapping(ask)
        except _Moved as moved:
            reason = str(moved)
        except _OneByOne:
            yield from _until_two_agree(ask, settle)
            return
        else:
            return
    raise Unsettled(reason)


@dataclass(slots=True)
class _Rows:
    """What a reading has shown so far."""

    order: list[Name] = field(default_factory=list)
    _seen: set[Name] = field(default_factory=set)

    def take(self, names: tuple[Name, ...]) -> None:
        """The next rows; raises _Moved where an earlier page had one. Twice in one page is the source's affair."""
        fresh = set(names)
        if not self._seen.isdisjoint(fresh):
            raise _Moved("a row came twice")
        self._seen |= fresh
        self.order += names

    def behind_last(self, names: tuple[Name, ...]) -> tuple[Name, ...]:
        """What a page shows behind the last row; raises _Moved where it does not begin with that."""
        if names[:1] != (self.order[-1],):
            raise _Moved("a page did not begin with the last row of the one before")
        return names[1:]


def _overlapping(ask: Ask) -> Iterator[Page]:
    """One reading in which each page begins with the last row of the one before."""
    rows = _Rows()
    page = ask(None)
    if len(page.found.names) == 1:
        raise _OneByOne
    yield page
    rows.take(page.found.names)
    more = False
    while rows.order:
        page = ask(len(rows.order))
        yield page
        if behind := rows.behind_last(page.found.names):
            rows.take(behind)
            more = False
            continue
        page = ask(len(rows.order) + 1)
        yield page
        if not page.found.names:
            return
        if more:  # there is more behind, yet not together with the last row
            raise _OneByOne
        more = True


def _until_two_agree(ask: Ask, settle: Callable[[int], None]) -> Iterator[Page]:
    before: list[Name] | None = None
    reason = ""
    for reading in range(READINGS):
        if reading > 1:  # the second is always needed
            settle(reading - 2)
        try:
            order = yield from _one_by_one(ask)
        except _Moved as moved:
            before, reason = None, str(moved)
            continue
        if order == before:
            return
        before, reason = order, "two readings differed"
    raise Unsettled(reason)


def _one_by_one(ask: Ask) -> Generator[Page, None, list[Name]]:
    """One reading in which pages do not overlap; returns the names of its rows in order."""
    rows = _Rows()
    page = ask(None)
    while page.found.names:
        yield page
        rows.take(page.found.names)
        page = ask(len(rows.order) + 1)
    return rows.order
