"""What a read of the history proves, when a gap is due, and when a call has expired."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.calls.history import Evidence, due_at, judge
from etl.calls.retention import expired_before

NOON = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
DELAY = timedelta(minutes=15)
HOUR = timedelta(hours=1)
spans = st.timedeltas(timedelta(0), timedelta(days=400))
counts = st.integers(0, 1000)


@given(counts, counts, spans, spans)
def test_a_read_is_good_only_if_all_of_some_witnesses_were_shown_and_no_row_can_be_late(
    witnesses: int, hidden: int, late: timedelta, delay: timedelta
) -> None:
    verdict = judge(Evidence(witnesses, hidden), NOON, NOON + late, delay)
    assert verdict.good == (witnesses > 0 and hidden == 0 and late >= delay)
    assert verdict.good != bool(verdict.told)
    assert verdict.early == (witnesses > 0 and hidden == 0 and late < delay)


@given(counts, counts, spans)
def test_a_good_read_stays_good_however_much_later_it_had_been(witnesses: int, hidden: int, late: timedelta) -> None:
    shown = Evidence(witnesses, hidden)
    first, later = (judge(shown, NOON, NOON + late + more, DELAY) for more in (timedelta(0), HOUR))
    assert later.good >= first.good


@given(counts, counts)
def test_no_read_of_a_gap_that_lasts_is_good(witnesses: int, hidden: int) -> None:
    verdict = judge(Evidence(witnesses, hidden), None, NOON, DELAY)
    assert not verdict.good
    assert verdict.told
    assert verdict.early == (witnesses > 0 and hidden == 0)


def test_a_read_under_a_narrower_filter_is_never_good() -> None:
    verdict = judge(Evidence(1, narrowed=True), NOON, NOON + DELAY, DELAY)
    assert (verdict.good, verdict.early) == (False, False)
    assert verdict.told.startswith("extensions: ")


def test_a_gap_is_due_when_it_closes_then_when_no_row_can_be_late_then_hourly_and_ever_more_rarely() -> None:
    end = NOON
    assert due_at(NOON - HOUR, end, None, DELAY) == end
    assert due_at(NOON - HOUR, end, end + timedelta(seconds=5), DELAY) == end + DELAY
    assert due_at(NOON - HOUR, end, end + DELAY, DELAY) == end + DELAY + HOUR
    assert due_at(NOON - HOUR, end, end + timedelta(days=2), DELAY) == end + timedelta(days=2, hours=2)
    assert due_at(NOON - HOUR, end, end + timedelta(days=300), DELAY) == end + timedelta(days=301)


def test_a_gap_that_lasts_is_due_each_hour() -> None:
    assert due_at(NOON, None, None, DELAY) == NOON + HOUR
    assert due_at(NOON, None, NOON + 3 * HOUR, DELAY) == NOON + 4 * HOUR


@given(spans, spans)
def test_whoever_reads_whenever_a_gap_is_due_reads_once_when_no_row_can_be_late_any_more(
    length: timedelta, delay: timedelta
) -> None:
    end, read_at = NOON, None
    for _ in range(2):
        read_at = due_at(end - length, end, read_at, delay)
    assert read_at is not None
    assert read_at >= end + delay


@given(spans, spans, spans)
def test_no_gap_is_due_again_within_the_hour_once_no_row_can_be_late(
    length: timedelta, delay: timedelta, later: timedelta
) -> None:
    read_at = NOON + delay + later
    assert due_at(NOON - length, NOON, read_at, delay) >= read_at + HOUR
    assert due_at(NOON - length, None, read_at, delay) >= read_at + HOUR


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        (None, None),
        ("90d", datetime(2023, 12, 1, 12, tzinfo=UTC)),
        ("2w", datetime(2024, 2, 15, 12, tzinfo=UTC)),
        ("7y", datetime(2017, 2, 28, 12, tzinfo=UTC)),
        ("4y", datetime(2020, 2, 29, 12, tzinfo=UTC)),
        ("5000y", None),
        ("99999999999d", None),
    ],
)
def test_what_is_kept_is_kept_by_the_calendar(keep: str | None, expected: datetime | None) -> None:
    assert expired_before(keep, datetime(2024, 2, 29, 12, tzinfo=UTC)) == expected
