"""Sets of moments: every operation agrees with the same operation on the moments themselves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.calls.intervals import contains, intersect, span, subtract, union
from etl.model import Interval

ZERO = datetime(2024, 1, 1, tzinfo=UTC)
MINUTES = range(20)


def at(minute: int) -> datetime:
    return ZERO + timedelta(minutes=minute)


def moments(spans: tuple[Interval, ...]) -> set[int]:
    return {minute for minute in MINUTES for each in spans if each.start <= at(minute) < each.end}


def is_normal(spans: tuple[Interval, ...]) -> bool:
    return all(one.end < next_.start for one, next_ in pairwise(spans))


pairs = st.tuples(st.integers(0, 19), st.integers(1, 20)).filter(lambda pair: pair[0] < pair[1])
sets = st.lists(pairs.map(lambda pair: Interval(at(pair[0]), at(pair[1]))), max_size=6).map(tuple)


@pytest.mark.slow
@given(sets, sets)
def test_union_subtract_and_intersect_are_those_of_sets(a: tuple[Interval, ...], b: tuple[Interval, ...]) -> None:
    for result, expected in (
        (union(a, b), moments(a) | moments(b)),
        (subtract(a, b), moments(a) - moments(b)),
        (intersect(a, b), moments(a) & moments(b)),
    ):
        assert moments(result) == expected
        assert is_normal(result)


@pytest.mark.slow
@given(sets, pairs)
def test_contains_is_that_of_sets(a: tuple[Interval, ...], pair: tuple[int, int]) -> None:
    assert contains(a, Interval(at(pair[0]), at(pair[1]))) == moments(a).issuperset(range(*pair))


@given(st.integers(0, 19), st.integers(0, 19))
def test_an_empty_span_is_nothing(start: int, end: int) -> None:
    assert moments(span(at(start), at(end))) == set(range(start, end))
