"""Volumes, busy hours, extensions and concurrent calls: what the views say is what counting by hand says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql
from support import traffic
from support.traffic import Call

from etl.store.database import Connection

pytestmark = pytest.mark.slow

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu")
BERLIN_FORWARD, BERLIN_BACK = datetime(2024, 3, 31, 1, tzinfo=UTC), datetime(2024, 10, 27, 1, tzinfo=UTC)
NEW_YORK_FORWARD, NEW_YORK_BACK = datetime(2024, 3, 10, 7, tzinfo=UTC), datetime(2024, 11, 3, 6, tzinfo=UTC)
CHANGES = (BERLIN_FORWARD, BERLIN_BACK, NEW_YORK_FORWARD, NEW_YORK_BACK)
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
NEVER = datetime(9999, 1, 1, tzinfo=UTC)
HOURS, MINUTES, SECONDS = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)

HOURLY = "SELECT recorder, hour, calls, complete, unresolved, talk_time, mean_duration FROM report.hourly_volume"
DAILY = "SELECT recorder, day, calls, complete, unresolved, talk_time, mean_duration, longest FROM report.daily_volume"
EXTENSIONS = """SELECT recorder, extension, day, calls, complete, talk_time, longest, first_call, last_call
    FROM report.extension_usage"""
BUSY = "SELECT recorder, day, hour, calls, erlangs FROM report.busy_hour"
CONCURRENT = "SELECT recorder, minute, peak, mean FROM report.concurrent_calls(%s, %s)"

Ask = Callable[..., list[tuple[Any, ...]]]


def ask(conn: Connection, query: str, *values: object, zone: str = "UTC") -> list[tuple[Any, ...]]:
    """The rows, times in UTC, as an analyst whose clock is in `zone` gets them."""
    with conn.transaction():
        conn.execute(sql.SQL("SET LOCAL TimeZone = {}").format(zone))
        rows = conn.execute(query.encode(), values or None).fetchall()
    return sorted((tuple(_plain(value) for value in row) for row in rows), key=repr)


def _plain(value: object) -> object:
    return value.astimezone(UTC) if isinstance(value, datetime) else value


def near(anchors: Sequence[datetime], hours: int) -> st.SearchStrategy[datetime]:
    seconds = st.integers(-hours * 3600, hours * 3600) | st.sampled_from([0, 1, -1, 3600, -3600])
    return st.builds(lambda anchor, number: anchor + timedelta(seconds=number), st.sampled_from(anchors), seconds)


def calls(anchors: Sequence[datetime], hours: int, longest: int) -> st.SearchStrategy[list[Call]]:
    """Calls around some moments; some without a start, an end, or either; some of no recorder."""

    def make(start: datetime, seconds: int | None, known: bool, **rest: Any) -> Call:
        end = None if seconds is None else start + timedelta(seconds=seconds)
        return Call(start if known else None, end, seen=start, **rest)

    return st.lists(
        st.builds(
            make,
            near(anchors, hours),
            st.none() | st.integers(0, longest) | st.sampled_from([60, 3600]),
            st.sampled_from([True] * 5 + [False]),
            recorder=st.sampled_from(["ny-1", "ny-2", None]),
            state=st.sampled_from(["complete", "ended", "lost", "ongoing"]),
            extension=st.sampled_from(["1000", "1001", "", None]),
        ),
        max_size=12,
    )


# Laws -----------------------------------------------------------------------------------------------------------

ANY = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@ANY
@given(found=calls(CHANGES, hours=30, longest=60 * 3600))
def test_volumes_are_those_counted_by_hand_in_every_zone(empty_conn: Connection, found: list[Call]) -> None:
    """Around both clock changes of two zones, with calls of up to two and a half days."""
    traffic.store(empty_conn, found)
    assert ask(empty_conn, HOURLY) == traffic.hourly(found)
    for name in ZONES:
        zone = ZoneInfo(name)
        assert ask(empty_conn, HOURLY, zone=name) == traffic.hourly(found), name
        assert ask(empty_conn, DAILY, zone=name) == traffic.daily(found, zone), name
        assert ask(empty_conn, EXTENSIONS, zone=name) == traffic.extension_usage(found, zone), name
        assert ask(empty_conn, BUSY, zone=name) == traffic.busy_hour(found, zone), name


@ANY
@given(found=calls(CHANGES, hours=30, longest=7200), zone=st.sampled_from(ZONES))
def test_the_sums_over_days_hours_and_extensions_are_those_of_the_calls(
    empty_conn: Connection, found: list[Call], zone: str
) -> None:
    traffic.store(empty_conn, found)
    sums = "SELECT coalesce(sum(calls), 0), coalesce(sum(complete), 0), coalesce(sum(talk_time), '0') FROM report.{}"
    every = (
        "SELECT count(*), count(*) FILTER (WHERE state = 'complete'), coalesce(sum(duration), '0') FROM report.calls"
    )
    whole = ask(empty_conn, every, zone=zone)
    for view in ("hourly_volume", "daily_volume", "extension_usage"):
        assert ask(empty_conn, sums.format(view), zone=zone) == whole, view


@ANY
@given(
    found=calls([NOON], hours=1, longest=4000) | calls([NOON], hours=1, longest=49 * 3600),
    first=st.integers(-40, 40) | st.sampled_from([48 * 60]),
    length=st.integers(0, 60),
)
def test_concurrent_calls_are_those_that_are_there_at_a_moment(
    empty_conn: Connection, found: list[Call], first: int, length: int
) -> None:
    """Against a brute-force look at every minute; ongoing calls last until now."""
    traffic.store(empty_conn, found)
    begin, end = NOON + first * MINUTES, NOON + (first + length) * MINUTES
    assert ask(empty_conn, CONCURRENT, begin, end) == traffic.concurrent(found, begin, end, datetime.now(UTC))


@ANY
@given(found=calls([NOON], hours=1, longest=4000), cut=st.integers(-60, 60))
def test_two_ranges_side_by_side_say_what_one_over_both_says(
    empty_conn: Connection, found: list[Call], cut: int
) -> None:
    traffic.store(empty_conn, found)
    edges = [NOON - 2 * HOURS, NOON + cut * MINUTES, NOON + 2 * HOURS]
    parts = [row for begin, end in pairwise(edges) for row in ask(empty_conn, CONCURRENT, begin, end)]
    assert sorted(parts, key=repr) == ask(empty_conn, CONCURRENT, edges[0], edges[-1])


# Edges ----------------------------------------------------------------------------------------------------------


def test_an_empty_archive_has_no_rows(empty_conn: Connection) -> None:
    traffic.store(empty_conn, [])
    for query in (HOURLY, DAILY, EXTENSIONS, BUSY, "SELECT day FROM report.days", "SELECT hour FROM report.hours"):
        assert ask(empty_conn, query) == []
    assert ask(empty_conn, CONCURRENT, datetime(1, 1, 1, tzinfo=UTC), NEVER) == []


def test_a_call_across_midnight_counts_on_the_day_of_its_start_and_its_traffic_in_each_hour(
    empty_conn: Connection,
) -> None:
    """23:50 to 00:20 in Berlin: ten minutes before midnight, twenty behind it."""
    start = datetime(2024, 5, 1, 21, 50, tzinfo=UTC)
    traffic.store(empty_conn, [Call(start, start + 30 * MINUTES)])
    assert ask(empty_conn, "SELECT day, calls, talk_time FROM report.daily_volume", zone="Europe/Berlin") == [
        (date(2024, 5, 1), 1, 30 * MINUTES)
    ]
    assert ask(empty_conn, "SELECT day, hour, calls, erlangs FROM report.busy_hour", zone="Europe/Berlin") == [
        (date(2024, 5, 1), datetime(2024, 5, 1, 21, tzinfo=UTC), 1, Decimal("0.1667")),
        (date(2024, 5, 2), datetime(2024, 5, 1, 22, tzinfo=UTC), 0, Decimal("0.3333")),
    ]


@pytest.mark.parametrize(
    ("change", "zone"),
    [
        (BERLIN_FORWARD, "Europe/Berlin"),
        (BERLIN_BACK, "Europe/Berlin"),
        (NEW_YORK_FORWARD, "America/New_York"),
        (NEW_YORK_BACK, "America/New_York"),
    ],
)
def test_the_day_of_a_clock_change_is_an_hour_shorter_or_longer(
    empty_conn: Connection, change: datetime, zone: str
) -> None:
    """A call in each hour of two days: 23 or 25 of them on the day of the change, in as many different hours."""
    traffic.store(empty_conn, [Call(change + number * HOURS + MINUTES) for number in range(-30, 30)])
    day = traffic.day_of(change, ZoneInfo(zone))
    length = 23 if change.month == 3 else 25
    query = "SELECT calls FROM report.daily_volume WHERE day = %s"
    assert ask(empty_conn, query, day, zone=zone) == [(length,)]
    span = "SELECT (ends - begins) = make_interval(hours => %s) FROM report.days WHERE day = %s"
    assert ask(empty_conn, span, length, day, zone=zone) == [(True,)]
    assert len(ask(empty_conn, HOURLY)) == 60


CLOCKS_BACK = {
    "Atlantic/Azores": datetime(2025, 10, 26, 1, tzinfo=UTC),
    "America/Havana": datetime(2025, 11, 2, 5, tzinfo=UTC),
    "America/Scoresbysund": datetime(2022, 10, 30, 1, tzinfo=UTC),
    "Asia/Amman": datetime(2021, 10, 28, 22, tzinfo=UTC),
    "Asia/Beirut": datetime(2025, 10, 25, 21, tzinfo=UTC),
    "Africa/Cairo": datetime(2025, 10, 30, 21, tzinfo=UTC),
    "America/Santiago": datetime(2025, 4, 6, 3, tzinfo=UTC),
    "Australia/Lord_Howe": datetime(2025, 4, 5, 15, tzinfo=UTC),
}
"""Changes over midnight, and close to it: back from 1:00 to 0:00, from 0:00 to 23:00; and by half an hour."""
CLOCKS_FORWARD = {
    "Atlantic/Azores": datetime(2025, 3, 30, 1, tzinfo=UTC),
    "America/Havana": datetime(2025, 3, 9, 5, tzinfo=UTC),
    "Asia/Beirut": datetime(2025, 3, 29, 22, tzinfo=UTC),
    "America/Santiago": datetime(2025, 9, 7, 4, tzinfo=UTC),
    "Asia/Pyongyang": datetime(2018, 5, 4, 15, tzinfo=UTC),
    "Australia/Lord_Howe": datetime(2025, 10, 4, 15, 30, tzinfo=UTC),
    "Pacific/Apia": datetime(2011, 12, 30, 10, tzinfo=UTC),
}
"""Midnights that do not exist, and a day that did not."""


def test_calls_of_the_first_of_two_midnights_do_not_vanish(empty_conn: Connection) -> None:
    """The very first call of the archive came at half past midnight in the Azores, before the clock went back to 0:00
    there: no day of report.days held it."""
    first = datetime(2025, 10, 26, 0, 30, tzinfo=UTC)
    traffic.store(empty_conn, [Call(first), Call(first + HOURS), Call(first + 25 * HOURS)])
    for view in ("daily_volume", "busy_hour", "extension_usage"):
        days = dict(ask(empty_conn, f"SELECT day, calls FROM report.{view}", zone="Atlantic/Azores"))
        assert days == {date(2025, 10, 26): 1 if view == "busy_hour" else 2, date(2025, 10, 27): 1}, view


@pytest.mark.parametrize(
    ("zone", "change"),
    [*CLOCKS_BACK.items(), *CLOCKS_FORWARD.items()],
    ids=[*(f"{zone}-back" for zone in CLOCKS_BACK), *(f"{zone}-forward" for zone in CLOCKS_FORWARD)],
)
def test_calls_are_counted_on_their_own_day_where_the_clock_changes_at_midnight(
    empty_conn: Connection, zone: str, change: datetime
) -> None:
    """A call every half hour: in Havana the day of the change had 24 of 25 hours, and the day before one too many."""
    starts = [change + number * 30 * MINUTES for number in range(-100, 100)]
    found = [Call(start, start + 20 * MINUTES, extension="1000") for start in starts]
    traffic.store(empty_conn, found)
    assert ask(empty_conn, DAILY, zone=zone) == traffic.daily(found, ZoneInfo(zone))
    assert ask(empty_conn, EXTENSIONS, zone=zone) == traffic.extension_usage(found, ZoneInfo(zone))
    assert ask(empty_conn, BUSY, zone=zone) == traffic.busy_hour(found, ZoneInfo(zone))


def test_every_day_of_every_zone_begins_at_its_first_moment(empty_conn: Connection) -> None:
    """Over three years, whatever its clocks do: just before that moment it is another day."""
    zones = ask(empty_conn, "SELECT name FROM pg_timezone_names WHERE name ~ '^[A-Z][a-z]+/'")
    wrong = """
        SELECT day FROM generate_series(timestamp '2024-01-01', '2026-12-31', '1 day') s (day),
            LATERAL (SELECT report.day_begins(day::date) AS begins) d
        WHERE begins::date <> day::date OR (begins - interval '1 microsecond')::date = day::date"""
    assert len(zones) > 300
    assert [(zone, row) for (zone,) in zones for row in ask(empty_conn, wrong, zone=zone)] == []


def test_no_call_is_lost_where_a_day_came_in_two_pieces(empty_conn: Connection) -> None:
    """In Newfoundland the clock went back at one minute past midnight: the new day had a minute, and then the old one
    an hour again. No span holds either day; each call still counts once, and the minute on the day before."""
    change = datetime(2006, 10, 29, 2, 31, tzinfo=UTC)
    traffic.store(empty_conn, [Call(change + (number * 10 - 5) * SECONDS) for number in range(-1000, 1000)])
    days = ask(empty_conn, "SELECT day, calls FROM report.daily_volume", zone="America/St_Johns")
    assert sum(calls for _, calls in days) == 2000
    edges = ask(empty_conn, "SELECT begins, ends FROM report.days", zone="America/St_Johns")
    assert edges == [
        (change - 24 * HOURS - MINUTES, change + HOURS - MINUTES),
        (change + 59 * MINUTES, change + 24 * HOURS + 59 * MINUTES),
    ]


def test_the_hour_that_comes_twice_is_two_hours(empty_conn: Connection) -> None:
    """2:30 on the night on which Berlin's clocks go back: an hour's call in the first, nothing in the second."""
    first = BERLIN_BACK - HOURS
    traffic.store(empty_conn, [Call(first, first + HOURS), Call(BERLIN_BACK + 30 * MINUTES)])
    hour = "SELECT hour, calls, erlangs FROM report.busy_hour"
    assert ask(empty_conn, hour, zone="Europe/Berlin") == [(first, 1, Decimal(1))]


def test_the_traffic_of_a_long_call_ends_where_the_call_ends_across_a_clock_change(empty_conn: Connection) -> None:
    """30 hours in Berlin, in the night of which the clock goes back: its duration is "1 day 06:00:00", and a day later
    by the clock is 25 hours later, so that it went on for an hour too many."""
    start = BERLIN_BACK - 15 * HOURS
    end = start + 30 * HOURS
    found = [Call(start, end), Call(end + 10 * MINUTES, end + 20 * MINUTES)]
    traffic.store(empty_conn, found)
    assert ask(empty_conn, BUSY, zone="Europe/Berlin") == traffic.busy_hour(found, ZoneInfo("Europe/Berlin"))


def test_of_two_equally_busy_hours_the_earlier_is_shown_and_calls_without_an_end_are_no_traffic(
    empty_conn: Connection,
) -> None:
    early, late = NOON, NOON + 3 * HOURS
    quiet = [Call(NOON + 5 * HOURS, state="ongoing") for _ in range(9)]
    traffic.store(empty_conn, [Call(late, late + MINUTES), Call(early, early + MINUTES), *quiet])
    assert ask(empty_conn, "SELECT hour, calls, erlangs FROM report.busy_hour") == [(early, 1, Decimal("0.0167"))]
    traffic.store(empty_conn, quiet)
    assert ask(empty_conn, "SELECT hour, calls, erlangs FROM report.busy_hour") == [(NOON + 5 * HOURS, 9, 0)]


def test_starts_that_cannot_be_are_counted_and_make_no_days_in_between(empty_conn: Connection) -> None:
    """The year 1, and 9998: each has its day, and the years between have none."""
    absurd = [datetime(1, 1, 2, 3, tzinfo=UTC), datetime(9998, 12, 30, 3, tzinfo=UTC)]
    found = [Call(NOON), *(Call(each, each + MINUTES) for each in absurd)]
    traffic.store(empty_conn, found)
    assert ask(empty_conn, HOURLY) == traffic.hourly(found)
    assert ask(empty_conn, DAILY, zone="Europe/Berlin") == traffic.daily(found, ZoneInfo("Europe/Berlin"))
    assert ask(empty_conn, "SELECT count(*) FROM report.days") == [(3,)]
    assert ask(empty_conn, "SELECT count(*) FROM report.hours") == [(3,)]
    assert ask(empty_conn, CONCURRENT, datetime(1, 1, 1, tzinfo=UTC), NEVER) == []


def test_days_and_hours_are_gapless_between_the_first_start_and_the_last(empty_conn: Connection) -> None:
    traffic.store(empty_conn, [Call(BERLIN_FORWARD - 40 * HOURS), Call(BERLIN_FORWARD + 40 * HOURS)])
    days = ask(empty_conn, "SELECT begins, ends FROM report.days", zone="Europe/Berlin")
    hours = ask(empty_conn, "SELECT hour, ends FROM report.hours", zone="Europe/Berlin")
    assert (len(days), len(hours)) == (4, 81)
    assert all(one[1] == two[0] for rows in (days, hours) for one, two in pairwise(sorted(rows)))


def test_a_call_that_ends_as_another_begins_is_not_concurrent_with_it(empty_conn: Connection) -> None:
    """Nor is one of no length there at all."""
    middle = NOON + 30 * SECONDS
    traffic.store(empty_conn, [Call(NOON, middle), Call(middle, NOON + MINUTES), Call(middle, middle)])
    assert ask(empty_conn, CONCURRENT, NOON, NOON + HOURS) == [("ny-1", NOON, 1, Decimal(1))]


def test_an_ongoing_call_lasts_until_now_and_not_longer(empty_conn: Connection) -> None:
    now = datetime.now(UTC)
    traffic.store(empty_conn, [Call(now - 5 * MINUTES, state="ongoing"), Call(now - 5 * MINUTES, state="ended")])
    rows = ask(empty_conn, CONCURRENT, now - HOURS, now + HOURS)
    assert len(rows) == 6
    assert {row[2] for row in rows} == {1}
    assert timedelta(minutes=float(sum(row[3] for row in rows))) == pytest.approx(5 * MINUTES, abs=10 * SECONDS)


def test_what_began_more_than_25_hours_before_counts_as_well(empty_conn: Connection) -> None:
    """The month showed a call of three days, and each of its days but the first did not."""
    end = NOON + MINUTES
    near, far = Call(NOON - 25 * HOURS, end), Call(NOON - 25 * HOURS - SECONDS, end, recorder="ny-2")
    farther, over = Call(NOON - 72 * HOURS, end, recorder="ny-3"), Call(NOON - 72 * HOURS, NOON, recorder="ny-4")
    traffic.store(empty_conn, [near, far, farther, over])
    minute = [(name, NOON, 1, Decimal(1)) for name in ("ny-1", "ny-2", "ny-3")]
    assert ask(empty_conn, CONCURRENT, NOON, NOON + HOURS) == minute
    month = ask(empty_conn, CONCURRENT, NOON - 240 * HOURS, NOON + 240 * HOURS)
    assert [row for row in month if row[1] == NOON] == minute


def test_a_call_that_goes_on_since_weeks_counts_in_each_of_their_days(empty_conn: Connection) -> None:
    """The month showed it, the day alone did not. One that began before 2000 is none."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    weeks = Call(now - 28 * 24 * HOURS, state="ongoing")
    traffic.store(empty_conn, [weeks, Call(datetime(1999, 12, 31, tzinfo=UTC), state="ongoing", recorder="ny-2")])
    yesterday = now - 24 * HOURS
    day = ask(empty_conn, CONCURRENT, yesterday, yesterday + 12 * HOURS)
    assert sorted(row[1] for row in day) == [yesterday + number * MINUTES for number in range(720)]
    month = ask(empty_conn, CONCURRENT, now - 40 * 24 * HOURS, now)
    assert [row for row in month if yesterday <= row[1] < yesterday + 12 * HOURS] == day
    assert {row[0] for row in ask(empty_conn, CONCURRENT, datetime(1990, 1, 1, tzinfo=UTC), NEVER)} == {"ny-1"}


def test_a_range_is_widened_to_whole_minutes(empty_conn: Connection) -> None:
    traffic.store(empty_conn, [Call(NOON, NOON + 3 * MINUTES)])
    for begin, end, expected in (
        (NOON + 30 * SECONDS, NOON + 90 * SECONDS, [0, 1]),
        (NOON, NOON + MINUTES, [0]),
        (NOON + MINUTES, NOON + MINUTES, []),
        (NOON + 2 * MINUTES, NOON, []),
        (NOON + timedelta(microseconds=1), NOON + timedelta(microseconds=2), [0]),
    ):
        rows = ask(empty_conn, CONCURRENT, begin, end)
        assert [(row[1] - NOON) / MINUTES for row in rows] == expected
        assert {row[2:] for row in rows} <= {(1, Decimal(1))}


def test_all_of_the_time_may_be_asked_for(empty_conn: Connection) -> None:
    traffic.store(
        empty_conn, [Call(NOON, NOON + MINUTES), Call(NOON + 400 * 24 * HOURS, NOON + 400 * 24 * HOURS + SECONDS)]
    )
    assert len(ask(empty_conn, "SELECT * FROM report.concurrent_calls('-infinity', 'infinity')")) == 2


def test_minutes_are_those_of_the_time_whatever_the_zone_of_the_reader(empty_conn: Connection) -> None:
    """Across a night on which clocks change."""
    found = [
        Call(NEW_YORK_BACK - 90 * MINUTES, NEW_YORK_BACK + 90 * MINUTES),
        Call(NEW_YORK_BACK, NEW_YORK_BACK + HOURS),
    ]
    traffic.store(empty_conn, found)
    begin, end = NEW_YORK_BACK - 2 * HOURS, NEW_YORK_BACK + 2 * HOURS
    expected = traffic.concurrent(found, begin, end, datetime.now(UTC))
    for zone in ZONES:
        assert ask(empty_conn, CONCURRENT, begin, end, zone=zone) == expected


def test_a_condition_on_the_day_or_the_hour_decides_what_is_read(empty_conn: Connection) -> None:
    """One hour of one day: one look-up by the index for it, and none for the hundred days around it."""
    traffic.store(empty_conn, [Call(NOON + number * 24 * HOURS) for number in range(-50, 50)])
    empty_conn.execute("SET enable_seqscan = off")
    try:
        for view, condition in (
            ("hourly_volume", "hour = '2024-05-01 12:00+00'"),
            ("daily_volume", "day = '2024-05-01'"),
            ("extension_usage", "day = '2024-05-01'"),
            ("busy_hour", "day = '2024-05-01'"),
        ):
            plan = ask(empty_conn, f"EXPLAIN (ANALYZE, FORMAT JSON) SELECT * FROM report.{view} WHERE {condition}")
            assert _read(plan[0][0][0]["Plan"]) < 10, view
    finally:
        empty_conn.execute("RESET enable_seqscan")


def _read(node: dict[str, Any]) -> float:
    """Rows that scans of cdr.call read, all loops together; the two that know the first start and the last aside."""
    own = node["Actual Rows"] * node["Actual Loops"] if str(node.get("Relation Name", "")).startswith("call") else 0
    return own + sum(_read(each) for each in node.get("Plans", ()))
