"""Numbers and times as the page writes them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.report import words

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("length", "told"),
    [
        (timedelta(), "0 s"),
        (timedelta(milliseconds=1500), "1.5 s"),
        (timedelta(seconds=59.99), "60 s"),
        (timedelta(seconds=60), "1 min"),
        (timedelta(minutes=2, seconds=3), "2 min 3 s"),
        (timedelta(hours=2, seconds=3), "2 h"),
        (timedelta(hours=2, minutes=3, seconds=4), "2 h 3 min"),
        (timedelta(days=1), "1 d"),
        (timedelta(days=1234, hours=5, minutes=6), "1,234 d 5 h"),
    ],
)
def test_a_length_is_told_in_its_two_largest_units(length: timedelta, told: str) -> None:
    assert words.lasting(length) == told


@pytest.mark.parametrize(
    ("part", "whole", "told"),
    [(0, 0, "-"), (0, 10, "0.00%"), (10, 10, "100%"), (86399, 86400, "99.99%"), (1, 3, "33.33%")],
)
def test_a_share_of_time_is_rounded_down(part: int, whole: int, told: str) -> None:
    assert words.share(timedelta(seconds=part), timedelta(seconds=whole)) == told


@given(st.timedeltas(min_value=timedelta(), max_value=timedelta(days=9999)), st.timedeltas(timedelta(microseconds=1)))
def test_only_the_whole_is_a_hundred_percent(part: timedelta, more: timedelta) -> None:
    assert words.share(part, part) in ("100%", "-")
    if part.days + more.days < 10**6:
        assert words.share(part, part + more) != "100%"


@pytest.mark.parametrize(
    ("length", "told"),
    [(None, "-"), (timedelta(), "0:00:00"), (timedelta(hours=1234, seconds=5.4), "1,234:00:05")],
)
def test_a_table_has_hours_minutes_and_seconds(length: timedelta | None, told: str) -> None:
    assert words.clock(length) == told


def test_a_time_that_comes_twice_says_which_it_is() -> None:
    """At the end of summer time 02:30 comes twice; at its beginning nothing is ambiguous."""
    twice = [datetime(2025, 10, 26, hour, 30, tzinfo=UTC) for hour in (0, 1)]
    assert [words.moment(at, BERLIN) for at in twice] == ["2025-10-26 02:30:00 +0200", "2025-10-26 02:30:00 +0100"]
    assert [words.hour_of(at, BERLIN) for at in twice] == ["02:30 +0200", "02:30 +0100"]
    assert words.moment(datetime(2025, 3, 30, 1, 30, tzinfo=UTC), BERLIN) == "2025-03-30 03:30:00"
    assert words.moment(datetime(2025, 7, 1, 22, 30, tzinfo=UTC), BERLIN) == "2025-07-02 00:30:00"


def test_many_names_are_cut_to_a_few() -> None:
    assert words.listed([]) == ""
    assert words.listed(["a"]) == "a"
    assert words.listed(["a", "b", "c"]) == "a, b and c"
    assert words.listed([str(number) for number in range(9)]) == "0, 1, 2, 3, 4 and 4 more"


def test_counts_have_thousands_and_a_plural() -> None:
    assert words.counted(1, "call") == "1 call"
    assert words.counted(1234567, "call") == "1,234,567 calls"
    assert words.weekday(date(2026, 3, 2)) == "Monday 2026-03-02"
    assert words.percent(0, 0) == "-"
    assert words.percent(0, 9) == "0.0%"
    assert words.percent(1, 10_000) == "less than 0.1%"
    assert words.hours(timedelta(hours=1234, minutes=30)) == "1,234.5 h"
    assert words.hours(timedelta(minutes=3)) == "3 min"
