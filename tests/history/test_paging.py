"""The laws of paging, against sets of rows that change between two requests."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.history.paging import Page, Unsettled, read_window
from etl.model import Record
from etl.protocol.history import Found

NOON = datetime(2024, 6, 3, 12, 0, tzinfo=UTC)
Order = Callable[[list[tuple[int, str]]], list[tuple[int, str]]]


def found(names: list[str]) -> Found:
    return Found(tuple(Record(name, "1", {}, {}, b"") for name in names))


def read(rows: list[tuple[int, str]], cap: int, change: Callable[[], None], order: Order) -> set[str]:
    """Every name that a reading shows; `change` is called after each request."""

    def ask(first: int | None) -> Page:
        shown = [name for _, name in order(rows)][(first or 1) - 1 :][:cap]
        change()
        return Page(NOON, found(shown))

    return {str(name) for page in read_window(ask, lambda reading: None) for name in page.found.names}


def test_the_numbers_of_the_rows_that_are_asked_for() -> None:
    asked: list[int | None] = []

    def ask(first: int | None) -> Page:
        asked.append(first)
        return Page(NOON, found(list("abcdefg")[(first or 1) - 1 :][:3]))

    assert [page.found.names for page in read_window(ask, lambda reading: None)] == [
        ("a", "b", "c"), ("c", "d", "e"), ("e", "f", "g"), ("g",), ()
    ]  # fmt: skip
    assert asked == [None, 3, 5, 7, 8]


def test_where_rows_come_one_by_one_one_reading_is_not_believed() -> None:
    rows = [(0, "a"), (1, "b"), (2, "c")]
    requests: list[str] = []

    def change() -> None:
        requests.append("")
        if len(requests) == 2:  # behind the first row of the first reading that counts
            del rows[0]

    assert read(rows, 1, change, sorted) >= {"b", "c"}


turns = st.lists(st.lists(st.tuples(st.booleans(), st.integers(0, 99)), max_size=3), max_size=12)
starts = st.lists(st.integers(0, 3), max_size=12)


@pytest.mark.slow
@given(starts, st.integers(1, 4), st.lists(st.lists(st.integers(0, 3), max_size=2), max_size=12), st.randoms())
def test_without_removals_no_row_is_missed_though_equal_starts_have_no_order(
    there: list[int], cap: int, appear: list[list[int]], random: Random
) -> None:
    rows = [(start, f"row-{number}") for number, start in enumerate(there)]
    waiting = [
        [(start, f"new-{turn}-{number}") for number, start in enumerate(each)] for turn, each in enumerate(appear)
    ]

    def change() -> None:
        rows.extend(waiting.pop(0) if waiting else ())

    def order(rows: list[tuple[int, str]]) -> list[tuple[int, str]]:
        return sorted(rows, key=lambda row: (row[0], random.random()))

    with suppress(Unsettled):
        assert read(rows, cap, change, order) >= {f"row-{number}" for number in range(len(there))}


@given(starts, st.integers(2, 4), turns)
def test_where_the_order_is_firm_no_row_that_stays_is_missed_whatever_comes_and_goes(
    there: list[int], cap: int, turns: list[list[tuple[bool, int]]]
) -> None:
    rows = [(start, f"row-{number}") for number, start in enumerate(there)]
    stays = {name for _, name in rows}

    def change() -> None:
        for appears, number in turns.pop(0) if turns else ():
            if appears:
                rows.append((number % 4, f"new-{len(turns)}-{number}"))
            elif rows:
                stays.discard(rows.pop(number % len(rows))[1])

    with suppress(Unsettled):
        assert read(rows, cap, change, sorted) >= stays


@given(starts, st.integers(1, 4))
def test_a_set_that_holds_still_is_read_in_one_reading(there: list[int], cap: int) -> None:
    rows = [(start, f"row-{number}") for number, start in enumerate(there)]
    assert read(rows, cap, lambda: None, sorted) == {name for _, name in rows}
