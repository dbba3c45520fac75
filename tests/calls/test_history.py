# ruff: noqa: DTZ001 - local times are naive by nature
"""Which time is asked of a history, and how it is written in the source's zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from etl.calls.history import SKEW, WINDOW, local_span, widened, windows
from etl.model import Interval

NOON = datetime(2024, 6, 3, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
NEW_YORK = ZoneInfo("America/New_York")
CASEY = ZoneInfo("Antarctica/Casey")
FALLEN_BACK = datetime(2024, 11, 3, 6, 0, tzinfo=UTC)
"""The moment at which New York's clocks went back from 2 to 1."""

moments = st.datetimes(datetime(1900, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC))
lengths = st.timedeltas(timedelta(milliseconds=1), timedelta(days=2))
zones = st.sampled_from(
    ["UTC", "America/New_York", "Europe/Budapest", "Australia/Lord_Howe", "Antarctica/Casey", "Asia/Kathmandu",
     "Pacific/Apia", "Africa/Monrovia", "Asia/Pyongyang", "America/St_Johns"]
).map(ZoneInfo)  # fmt: skip


def ways_to_read(local: datetime, zone: ZoneInfo) -> set[datetime]:
    return {local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}


@pytest.mark.slow
@given(moments, lengths, zones)
@example(FALLEN_BACK - HOUR / 2, HOUR / 4, NEW_YORK)
@example(FALLEN_BACK + HOUR / 2, HOUR / 4, NEW_YORK)
@example(datetime(2010, 3, 4, 13, 30, tzinfo=UTC), HOUR, CASEY)  # went back by three hours
@example(datetime(2011, 12, 30, 9, 30, tzinfo=UTC), HOUR, ZoneInfo("Pacific/Apia"))  # left out a day
def test_the_asked_span_holds_the_window_whichever_way_the_source_reads_it(
    start: datetime, length: timedelta, zone: ZoneInfo
) -> None:
    asked_start, asked_end = local_span(Interval(start, start + length), zone)
    assert max(ways_to_read(asked_start, zone)) <= start
    assert min(ways_to_read(asked_end, zone)) >= start + length


@pytest.mark.slow
@given(moments, lengths, zones)
def test_the_asked_span_is_wider_than_the_window_only_where_clocks_change(
    start: datetime, length: timedelta, zone: ZoneInfo
) -> None:
    asked_start, asked_end = local_span(Interval(start, start + length), zone)
    day = timedelta(days=1)
    offsets = {(start + k * HOUR).astimezone(zone).utcoffset() for k in range(-24, 2 * 24 + 25)}
    if len(offsets) == 1:
        assert ways_to_read(asked_start, zone) == {start}
        assert ways_to_read(asked_end, zone) == {start + length}
    assert min(ways_to_read(asked_start, zone)) > start - 2 * day


def test_a_window_in_the_doubled_hour_is_asked_for_with_both() -> None:
    first = Interval(FALLEN_BACK - HOUR / 2, FALLEN_BACK - HOUR / 4)
    second = Interval(FALLEN_BACK + HOUR / 2, FALLEN_BACK + 3 * HOUR / 4)
    assert local_span(first, NEW_YORK) == (datetime(2024, 11, 3, 0, 30), datetime(2024, 11, 3, 1, 45))
    assert local_span(second, NEW_YORK) == (datetime(2024, 11, 3, 1, 30), datetime(2024, 11, 3, 2, 45))


@pytest.mark.slow
@given(moments, st.timedeltas(timedelta(seconds=1), timedelta(days=9)), st.timedeltas(timedelta(minutes=30), WINDOW))
def test_windows_follow_one_another_without_holes(start: datetime, length: timedelta, each: timedelta) -> None:
    span = Interval(start, start + length)
    cut = list(windows(span, each))
    assert (cut[0].start, cut[-1].end) == (span.start, span.end)
    assert all(before.end == after.start for before, after in pairwise(cut))
    assert all(window.end - window.start <= each for window in cut)


def test_a_window_is_widened_by_the_skew_on_both_sides() -> None:
    assert widened(Interval(NOON, NOON + HOUR)) == Interval(NOON - SKEW, NOON + HOUR + SKEW)
