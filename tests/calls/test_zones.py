"""Local times and the instants they can mean, above all on the nights when clocks change."""

# ruff: noqa: DTZ001, DTZ901 - local times without a zone are what this is about

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from etl.calls.zones import parse_local, readings

ZONES = [
    "UTC",
    "America/New_York",
    "Europe/Budapest",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "America/St_Johns",
    "Africa/Casablanca",
    "Pacific/Apia",
    "America/Sao_Paulo",
]
zones = st.sampled_from([ZoneInfo(name) for name in ZONES])
LORD_HOWE, NEW_YORK, BUDAPEST = ZoneInfo(ZONES[3]), ZoneInfo(ZONES[1]), ZoneInfo(ZONES[2])


@st.composite
def near_changes(draw: st.DrawFn) -> tuple[datetime, ZoneInfo]:
    """Local times within some hours of a change of the clock, where all the trouble is."""
    zone = draw(zones)
    day = datetime(draw(st.integers(1880, 2037)), 1, 1, tzinfo=UTC)
    offsets = [(day + timedelta(days=each)).astimezone(zone).utcoffset() for each in range(366)]
    days = [each for each in range(365) if offsets[each] != offsets[each + 1]] or [0]
    minutes = draw(st.integers(-120, 28 * 60))
    near = day + timedelta(days=draw(st.sampled_from(days)), minutes=minutes, seconds=draw(st.integers(0, 59)))
    return near.astimezone(zone).replace(tzinfo=None, fold=0) + timedelta(minutes=draw(st.integers(-90, 90))), zone


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2011-03-24 14:02:19.673", datetime(2011, 3, 24, 14, 2, 19, 673000)),
        ("2011-03-24 14:02:19", datetime(2011, 3, 24, 14, 2, 19)),
        ("2011-03-24 14:02", datetime(2011, 3, 24, 14, 2)),
        ("2011-03-24T14:02:19.6", datetime(2011, 3, 24, 14, 2, 19, 600000)),
        ("2011-03-24 14:02:19.123456789", datetime(2011, 3, 24, 14, 2, 19, 123456)),
    ],
)
def test_the_documented_formats_are_read(text: str, expected: datetime) -> None:
    assert parse_local(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2011-03-24",
        "2011-03-24 14",
        "2011-03-24 14:02:19.",
        "2011-03-24 14:02:19.1234567890",
        "2011-03-24 14:02:19Z",
        "2011-03-24 14:02:19+01:00",
        "2011-02-29 14:02:19",
        "2011-03-24 24:00:00",
        "2011-03-24 23:59:60",
        "0000-01-01 00:00:00",
        "20110324 140219",
        "2011-W12-4 14:02",
        "24.03.2011 14:02:19",
        "2011-03-24  14:02:19",
        "٢٠١١-03-24 14:02:19",
        "2011-03-24 14:02\n",
    ],
)
def test_anything_else_is_not_a_time(text: str) -> None:
    assert parse_local(text) is None


@given(st.text(alphabet="0123456789-: .T", max_size=32) | st.text(max_size=40))
def test_parsing_is_total(text: str) -> None:
    parse_local(text)


@given(near_changes())
@example((datetime(1883, 11, 18, 12, 2), NEW_YORK))  # four minutes came twice that day
@example((datetime(2011, 12, 30, 5), ZoneInfo("Pacific/Apia")))  # a day that never was
def test_readings_are_exactly_the_instants_that_a_wall_clock_shows_so(near: tuple[datetime, ZoneInfo]) -> None:
    local, zone = near
    read = readings(local, zone)
    around = {zone.utcoffset(local.replace(fold=fold) + timedelta(days=days)) for fold in (0, 1) for days in (-2, 0, 2)}
    instants = {(local - offset).replace(tzinfo=UTC) for offset in around if offset is not None}
    shown = {each for each in instants if each.astimezone(zone).replace(tzinfo=None, fold=0) == local}
    assert read.nonexistent == (not shown)
    if shown:
        assert set(read.instants) == shown
        assert list(read.instants) == sorted(read.instants)


@given(near_changes())
def test_a_time_that_does_not_exist_is_read_by_the_offset_before_the_change(near: tuple[datetime, ZoneInfo]) -> None:
    local, zone = near
    read = readings(local, zone)
    if read.nonexistent:
        (instant,) = read.instants
        before = (instant - timedelta(days=1, hours=1)).astimezone(zone).utcoffset()
        assert before is not None
        assert instant == (local - before).replace(tzinfo=UTC)


def test_the_doubled_hour_has_two_readings() -> None:
    read = readings(datetime(2024, 11, 3, 1, 30), NEW_YORK)
    assert read.instants == (datetime(2024, 11, 3, 5, 30, tzinfo=UTC), datetime(2024, 11, 3, 6, 30, tzinfo=UTC))
    assert not read.nonexistent


def test_the_doubled_half_hour_of_lord_howe_has_two_readings() -> None:
    assert len(readings(datetime(2024, 4, 7, 1, 29, 59), LORD_HOWE).instants) == 1
    first, second = readings(datetime(2024, 4, 7, 1, 30), LORD_HOWE).instants
    assert second - first == timedelta(minutes=30)


def test_the_skipped_hour_does_not_exist() -> None:
    read = readings(datetime(2024, 3, 31, 2, 30), BUDAPEST)
    assert read.instants == (datetime(2024, 3, 31, 1, 30, tzinfo=UTC),)
    assert read.nonexistent


@pytest.mark.parametrize(
    ("local", "zone"),
    [(datetime.min, ZoneInfo("Asia/Tokyo")), (datetime.max, NEW_YORK)],
)
def test_an_instant_beyond_what_can_be_held_is_no_reading(local: datetime, zone: ZoneInfo) -> None:
    assert readings(local, zone).instants == ()


@given(st.datetimes(), zones)
def test_reading_is_total(local: datetime, zone: ZoneInfo) -> None:
    assert len(readings(local, zone).instants) <= 2
