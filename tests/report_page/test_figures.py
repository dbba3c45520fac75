"""The figures: what they say of rows that are known, from none at all to fifty recorders in a year."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.findings import FIRST, empty, lively, midnight

from etl.cli.words import reason
from etl.model import Interval
from etl.report import coverage, traffic, usage, volume
from etl.report.charts import Bars, Figure, Heat, Panels, Stack, Timeline
from etl.report.days import MOST_LAYERS, MOST_ROWS, days_of, passed_hours
from etl.report.rows import (
    BusyHour,
    CauseCount,
    Coverage,
    DayVolume,
    ExtensionUse,
    Findings,
    Gap,
    HourVolume,
    Peak,
    Pending,
)

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
ONE = DayVolume("ny-1", date(2026, 3, 5), 1, 1, 0, MINUTE, MINUTE)


def every(found: Findings) -> list[Figure]:
    parts = (volume.figures(found), traffic.figures(found), usage.figures(found), coverage.figures(found, reason))
    return [figure for part in parts for figure in part]


# Any archive


def test_an_empty_archive_has_figures_that_say_so() -> None:
    """Each in words, and none with a plot of nothing."""
    for figure in every(empty()):
        assert figure.chart is None, figure.key
        assert figure.table is None, figure.key
        assert figure.summary.endswith(".")
        assert figure.summary.startswith(("There", "No "))


def test_an_archive_with_gaps_only_shows_them() -> None:
    gap = Gap(7, "ny-1", midnight(2), midnight(2) + 3 * HOUR, "crash", "open", 0)
    found = replace(empty(), gaps=(gap,))
    assert coverage.timeline(found).chart is not None
    listed = coverage.gaps(found, reason).table
    assert listed is not None
    assert listed.rows == (("7", "ny-1", "2026-03-03 00:00:00", "3 h", "worker died", "open", "0"),)
    assert volume.calls_by_day(found).chart is None


@pytest.mark.slow
@pytest.mark.parametrize("days", [1, 31, 366])
@pytest.mark.parametrize("recorders", [1, 5, 50])
def test_every_figure_has_a_plot_with_as_many_values_as_steps_and_a_table_of_whole_rows(
    days: int, recorders: int
) -> None:
    found = lively(days, tuple(f"recorder-{number}" for number in range(recorders)))
    for figure in every(found):
        assert figure.table is not None, figure.key
        assert figure.table.rows, figure.key
        assert len(figure.table.rows) <= MOST_ROWS, figure.key
        assert {len(row) for row in figure.table.rows} == {len(figure.table.columns)}
        match figure.chart:
            case Stack(edges, layers) | Panels(edges, layers):
                assert {len(layer.values) for layer in layers} == {len(edges) - 1}
                assert list(edges) == sorted(set(edges))
                assert 1 <= len(layers) <= MOST_LAYERS + 1
            case Bars(labels, values):
                assert len(labels) == len(values) <= volume.RANKED


# How many calls


def test_the_plot_of_days_has_all_calls_whoever_is_shown_apart() -> None:
    """Six recorders and more: what is left goes into a layer of its own."""
    found = lively(31, tuple(f"recorder-{number}" for number in range(9)))
    chart = volume.calls_by_day(found).chart
    assert isinstance(chart, Stack)
    assert [layer.label for layer in chart.layers][-1] == "4 more"
    assert sum(sum(layer.values) for layer in chart.layers) == found.calls


def test_days_without_calls_are_days_too() -> None:
    """In the plot, in the mean, and as the day with the fewest."""
    found = replace(empty(10), days=(replace(ONE, calls=5),))
    figure = volume.calls_by_day(found)
    assert isinstance(figure.chart, Stack)
    assert list(figure.chart.layers[0].values) == [0, 0, 0, 0, 5, 0, 0, 0, 0, 0]
    assert figure.summary == (
        "5 calls began in 10 days, 0.5 a day; most on Thursday 2026-03-05 (5), fewest on Sunday 2026-03-01 (0)."
    )


def test_one_call_on_one_day_is_told_as_one() -> None:
    found = replace(empty(1), days=(replace(ONE, day=FIRST),))
    assert volume.calls_by_day(found).summary == "1 call began on Sunday 2026-03-01."
    assert volume.calls_by_recorder(found).summary == "ny-1 has the most calls: 1, 100.0% of all."


@pytest.mark.slow
def test_a_table_that_would_be_too_long_has_sums_of_days() -> None:
    found = lively(366, tuple(f"recorder-{number}" for number in range(50)))
    table = volume.calls_by_day(found).table
    assert table is not None
    assert len(table.rows) == 366
    assert sum(int(row[1].replace(",", "")) for row in table.rows) == found.calls
    assert "all recorders together" in table.caption


def test_calls_without_a_recorder_are_counted_under_that_name() -> None:
    found = replace(empty(), days=(replace(ONE, recorder=None), ONE))
    table = volume.calls_by_recorder(found).table
    assert table is not None
    assert {row[0]: row[1] for row in table.rows} == {"no recorder": "1", "ny-1": "1"}


def test_the_heat_map_is_of_the_hours_on_the_wall() -> None:
    """Means over the weeks of the report; 02:00 to 03:00 of the last Sunday in March does not exist in Berlin."""
    hours = [midnight(number) + 10 * HOUR for number in (2, 9)]  # Tuesdays, in winter
    summer = midnight(30) + 10 * HOUR  # Tuesday the 31st
    calls = tuple(HourVolume(hour, 5) for hour in (*hours, summer))
    chart = volume.calls_by_hour(replace(empty(), days=(replace(ONE, calls=15),), hours=calls)).chart
    assert isinstance(chart, Heat)
    assert chart.values[10][1] == 15 / 5
    assert sum(value or 0 for row in chart.values for value in row) == 3
    short = replace(empty(1), span=Interval(midnight(28), midnight(29)), now=midnight(40), days=(ONE,))
    sunday = volume.calls_by_hour(short).chart
    assert isinstance(sunday, Heat)
    assert [row[6] for row in sunday.values].count(None) == 1
    assert sunday.values[2][6] is None
    assert {row[0] for row in sunday.values} == {None}


def test_hours_that_have_not_come_yet_do_not_thin_out_the_mean() -> None:
    found = replace(empty(7), now=midnight(1) + 10 * HOUR)
    assert len(passed_hours(found)) == 34
    assert passed_hours(replace(found, now=midnight(0) - HOUR)) == []


# How many at once


def test_the_busiest_hour_is_named_with_its_day_and_recorder() -> None:
    rows = (
        BusyHour("ny-1", FIRST, midnight(0) + 9 * HOUR, 3, Decimal("1.5")),
        BusyHour("ny-2", FIRST, midnight(0) + 8 * HOUR, 3, Decimal("2.25")),
    )
    figure = traffic.busy_hours(replace(empty(2), busy=rows))
    assert figure.summary == (
        "The busiest hour was that from 08:00 on Sunday 2026-03-01, on ny-2: 2.25 erlangs, that is calls at once on"
        " average."
    )
    assert isinstance(figure.chart, Panels)
    assert [(layer.label, layer.values) for layer in figure.chart.layers] == [("ny-2", (2.25, 0)), ("ny-1", (1.5, 0))]
    assert not figure.chart.whole


def test_concurrent_calls_are_shown_by_the_hour_and_in_a_long_time_by_the_day() -> None:
    """The table has the highest hour of each day, the earlier of two."""
    rows = tuple(Peak("ny-1", midnight(1) + hour * HOUR, peak) for hour, peak in ((9, 2), (10, 7), (11, 7), (12, 1)))
    short, long = (traffic.concurrent_calls(replace(empty(days), peaks=rows)) for days in (7, 90))
    assert isinstance(short.chart, Panels)
    assert isinstance(long.chart, Panels)
    assert len(short.chart.layers[0].values) == 7 * 24
    assert short.chart.layers[0].values[24 + 9 : 24 + 13] == (2, 7, 7, 1)
    assert long.chart.layers[0].values[:3] == (0, 7, 0)
    assert short.table is not None
    assert short.table.rows == (("2026-03-02", "ny-1", "10:00", "7"),)
    assert "At most 7 calls" in short.summary


def test_traffic_in_the_hour_that_comes_twice_stays_in_its_place() -> None:
    """25 hours on the last Sunday of October."""
    start = datetime(2025, 10, 25, 22, tzinfo=UTC)
    span = Interval(start, start + 25 * HOUR)
    found = replace(empty(), span=span, now=span.end, peaks=(Peak("ny-1", start + 3 * HOUR, 4),))
    chart = traffic.concurrent_calls(found).chart
    assert isinstance(chart, Panels)
    assert len(chart.layers[0].values) == 25
    assert chart.layers[0].values[3] == 4
    assert days_of(found) == [date(2025, 10, 26)]


# Whose calls


def test_extensions_are_ranked_and_those_without_are_told_apart() -> None:
    rows = tuple(ExtensionUse(f"{number:04}", number, number, MINUTE, None, None) for number in range(1, 151))
    nobody = ExtensionUse(None, 4, 4, MINUTE, None, None)
    found = replace(empty(), days=(replace(ONE, calls=15000),), extensions=(nobody, *rows))
    figure = usage.extensions(found)
    assert figure.summary == "150 extensions had calls; 0150 had the most: 150, 1.0% of all."
    assert figure.note == "4 calls without an extension. The plot shows the first 15, the table the first 100."
    assert figure.table is not None
    assert [row[0] for row in figure.table.rows[:2]] == ["0150", "0149"]
    assert len(figure.table.rows) == usage.MOST_EXTENSIONS
    assert figure.table.rows[0][2:] == ("150", "0:01:00", "-", "-")


@pytest.mark.parametrize(
    ("names", "masked"),
    [
        (["#0123456789abcdef", "#fedcba9876543210"], True),
        (["#0123456789abcdef", "1000"], False),
        (["#0123456789abcdefa"], False),
        (["", None], False),
        ([], False),
    ],
)
def test_pseudonyms_are_told_from_extensions(names: list[str | None], masked: bool) -> None:
    rows = tuple(ExtensionUse(name, 1, 1, MINUTE, None, None) for name in names)
    assert usage.masked(replace(empty(), extensions=rows)) is masked


def test_causes_have_their_share_and_one_that_nobody_reported_is_named_as_such() -> None:
    rows = (CauseCount(None, 1), CauseCount("normal", 6), CauseCount("busy", 1))
    figure = usage.causes(replace(empty(), causes=rows))
    assert figure.table is not None
    assert figure.table.rows == (("normal", "6", "75.0%"), ("busy", "1", "12.5%"), ("not reported", "1", "12.5%"))
    assert "“normal”: 6 calls, 75.0% of all" in figure.summary


# Coverage


def covered(first: datetime, in_first: timedelta, whole: timedelta) -> Coverage:
    return Coverage("ny-1", first, in_first, whole, 0, 0, 0, 0)


DAY = 24 * HOUR


@pytest.mark.parametrize(
    ("row", "gaps", "known"),
    [
        (covered(midnight(0), HOUR, 10 * DAY), [], (timedelta(), 10 * DAY)),
        (covered(midnight(1), 20 * MINUTE, 9 * DAY - 40 * MINUTE), [], (DAY + 40 * MINUTE, 10 * DAY)),
        (covered(midnight(0), HOUR, 3 * DAY), [], (timedelta(), 3 * DAY)),
        (covered(midnight(0), HOUR, 9 * DAY), [(DAY, 2 * DAY)], (timedelta(), 10 * DAY)),
        (covered(midnight(0), timedelta(), 8 * DAY), [(-DAY, 2 * DAY)], (timedelta(), 10 * DAY)),
        (covered(midnight(0), HOUR, 9 * DAY), [(9 * DAY, None)], (timedelta(), 10 * DAY)),
        (covered(midnight(1), 5 * MINUTE, 10 * MINUTE), [(DAY + 50 * MINUTE, DAY + 70 * MINUTE)],
         (DAY + 45 * MINUTE, DAY + 75 * MINUTE)),
        (covered(midnight(0), 5 * MINUTE, 5 * MINUTE), [], (timedelta(), 5 * MINUTE)),
        (covered(midnight(0), timedelta(), timedelta()), [], None),
    ],
    ids=["whole", "late", "retired", "gap", "gap-before", "gap-lasts", "gap-over-hour", "pending", "nothing"],
)  # fmt: skip
def test_a_recorders_time_follows_from_what_was_covered_and_its_gaps(
    row: Coverage, gaps: list[tuple[timedelta, timedelta | None]], known: tuple[timedelta, timedelta] | None
) -> None:
    """Offsets from the begin of the report. Before the first subscription nothing is drawn, nor what is pending."""
    begin = midnight(0)
    found = empty(10)
    given = [Gap(1, "ny-1", begin + a, b if b is None else begin + b, "drop", "open", 0) for a, b in gaps]
    expected = None if known is None else Interval(begin + known[0], begin + known[1])
    assert coverage.known(row, given, replace(found, gaps=tuple(given))) == expected


def test_gaps_count_as_far_as_they_lie_in_the_report() -> None:
    found = empty(10)
    around = Gap(1, "ny-1", midnight(-5), midnight(1), "drop", "open", 0)
    lasting = Gap(2, "ny-1", midnight(9), None, "stop", "open", 0)
    inside = Gap(3, "ny-1", midnight(3), midnight(3) + HOUR, "clock", "filled", 4)
    found = replace(found, gaps=(around, lasting, inside), coverage=(covered(midnight(0), timedelta(), 7 * DAY),))
    assert coverage.uncovered(found) == 2 * DAY + HOUR
    assert coverage.lost(found.gaps, found)["filled"] == coverage.Lost(1, HOUR, 4)
    table = coverage.timeline(found).table
    assert table is not None
    assert table.rows[0][:5] == ("ny-1", "77.41%", "2 (2 d)", "1 (1 h)", "0")
    chart = coverage.timeline(found).chart
    assert isinstance(chart, Timeline)
    days = [(0 * DAY, DAY), (9 * DAY, 10 * DAY), (3 * DAY, 3 * DAY + HOUR)]
    expected = [Interval(midnight(0) + start, midnight(0) + end) for start, end in days]
    assert [mark.span for mark in chart.lanes[0].marks] == expected
    listed = coverage.gaps(found, reason).table
    assert listed is not None
    assert [row[0] for row in listed.rows] == ["1", "2", "3"]
    assert listed.rows[1][3] == "1 d 6 h, lasts"


def test_what_is_pending_is_drawn_and_told_apart_from_gaps() -> None:
    """In the plot, its sentence and its table; a recorder without a gap is not covered for that."""
    gap = Gap(1, "ny-1", midnight(1), midnight(2), "drop", "filled", 0)
    pending = Pending("ny-1", midnight(7), None)
    heard = replace(covered(midnight(0), HOUR, 6 * DAY), recorder="ny-1")
    figure = coverage.timeline(replace(empty(10), gaps=(gap,), coverage=(heard,), pending=(pending,)))
    assert isinstance(figure.chart, Timeline)
    (lane,) = figure.chart.lanes
    assert lane.known == Interval(midnight(0), midnight(10))
    assert [(mark.span, mark.state) for mark in lane.marks] == [
        (Interval(midnight(1), midnight(2)), "filled"),
        (Interval(midnight(7), midnight(10)), "pending"),
    ]
    assert figure.table is not None
    names = [column.name for column in figure.table.columns]
    assert dict(zip(names, figure.table.rows[0], strict=True)).items() >= {
        "covered": "60.00%", "filled": "1 (1 d)", "pending": "3 d",
    }.items()  # fmt: skip
    assert figure.summary == (
        "Sessions listened for 60.00% of the time of 1 recorder; 1 gap (1 filled) lasted 1 d in all."
        " Of 3 d nobody knows yet: pending."
    )


def test_a_recorder_of_which_nothing_was_ever_heard_has_its_time_too() -> None:
    """Subscribed to on the second day, and pending ever since: before that, nothing of it is drawn."""
    first = midnight(1) + 20 * MINUTE
    row = covered(midnight(1), timedelta(), timedelta())
    found = replace(empty(10), coverage=(row,), pending=(Pending("ny-1", first, None),))
    assert coverage.known(row, coverage.unheard(found)["ny-1"], found) == Interval(first, midnight(10))


def test_of_many_gaps_the_open_and_the_longest_are_listed() -> None:
    gaps = [Gap(n, "ny-1", midnight(0) + n * HOUR, midnight(0) + n * HOUR + n * timedelta(seconds=1), "drop",
                "open" if n == 1 else "filled", 0) for n in range(1, 400)]  # fmt: skip
    figure = coverage.gaps(replace(empty(), gaps=tuple(gaps)), reason)
    assert figure.table is not None
    assert [row[0] for row in figure.table.rows[:3]] == ["1", "399", "398"]
    assert len(figure.table.rows) == coverage.MOST_GAPS
    assert "200 of 399" in figure.note


@given(st.integers(0, 400), st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Apia"]))
def test_days_are_gapless_whatever_the_zone(number: int, name: str) -> None:
    """From midnight to midnight, and every hour that has passed lies in one of them."""
    zone = ZoneInfo(name)
    found = empty(number % 40 + 1, zone)
    days = days_of(found)
    assert len(days) == number % 40 + 1
    assert {hour.astimezone(zone).date() for hour in passed_hours(found)} == set(days)
