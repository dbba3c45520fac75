"""A span of time is imported from the history over HTTP: once, whatever interrupts it, and never for the worse."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from support.gaps import House, Row, at, row

from etl.errors import HistoryRefused
from etl.ingest.interpret import Interpreter
from etl.jobs.backfill_http import HttpBackfill, Report
from etl.jobs.progress import Progress
from etl.jobs.zone_guard import ZoneGuard
from etl.model import Fact, Interval, Kind
from etl.store.rebuild import rebuild

pytestmark = pytest.mark.slow

DAY = Interval(at(0), at(1440))


@pytest.fixture(autouse=True)
def _next_day(house: House) -> None:
    house.clock.moment = at(2000)


def job(house: House, **options: Any) -> HttpBackfill:
    return HttpBackfill(house.settings, house.connect, house.sources()[0], now=house.clock, **options)


def imported(house: House, wanted: Interval = DAY, **options: Any) -> Report:
    return job(house, **options).run(wanted)


def test_calls_that_nobody_saw_are_imported(house: House) -> None:
    house.fake.rows += [row(5), row(700), row(1400, location="elsewhere")]
    report = imported(house)
    assert set(house.states().values()) == {"complete"}
    assert house.ask("SELECT recorder, source FROM cdr.call ORDER BY start_time") == [
        ("ny-1", "http"),
        ("ny-1", "http"),
        ("elsewhere", "http"),
    ]
    assert report.counts["completed"] == 3
    assert (report.open_gaps, report.unresolved, report.failure) == (0, 0, None)


def test_importing_again_changes_no_call(house: House) -> None:
    house.fake.rows += [row(minute) for minute in range(0, 1440, 60)]
    imported(house)
    before = house.calls()
    house.clock.moment = at(3000)
    imported(house)
    assert house.calls() == before


def test_a_run_that_was_interrupted_goes_on_at_its_window(house: House) -> None:
    house.fake.rows += [row(minute) for minute in (5, 365, 725, 1085)]

    def interrupt(number: int) -> None:
        if number == 3:
            raise KeyboardInterrupt

    house.fake.searching = interrupt
    with pytest.raises(KeyboardInterrupt):
        imported(house)
    assert house.ask("SELECT result, position FROM cdr.backfill_run") == [("interrupted", at(720))]
    assert len(house.states()) == 2
    house.fake.searching = lambda _: None
    house.fake.asked.clear()
    told: list[datetime] = []
    report = imported(house, on_resumed=told.append)
    assert told == [at(720)]
    assert [each.start for each in house.fake.asked] == [at(720), at(1080)]
    assert (report.since, report.counts["completed"]) == (at(720), 4)
    assert len(house.states()) == 4


def test_a_run_that_is_done_begins_anew(house: House) -> None:
    imported(house)
    house.fake.asked.clear()
    assert imported(house).since is None
    assert len(house.fake.asked) == 4


def test_a_history_out_of_reach_is_told_and_the_next_run_goes_on(house: House) -> None:
    def fail_later(number: int) -> None:
        house.fake.fails = number > 1

    house.fake.searching = fail_later
    assert imported(house).failure == "the history is out of reach"
    house.fake.searching = lambda _: None
    house.fake.fails = False
    assert imported(house).since == at(360)


def test_a_dry_run_says_what_is_new_and_writes_nothing(house: House) -> None:
    known, open_, new = row(5), row(6), row(7)
    house.heard(known)
    house.begun(open_)
    house.fake.rows += [known, open_, new]
    before = house.calls()
    counts = job(house).preview(DAY).counts
    assert {name: counts[name] for name in ("records", "new", "known", "open")} == {
        "records": 3, "new": 1, "known": 2, "open": 1,
    }  # fmt: skip
    assert house.calls() == before
    assert house.ask("SELECT * FROM cdr.backfill_run") == []


def test_what_lies_elsewhere_is_left_and_counted_and_what_reaches_in_is_stored(house: House) -> None:
    """A server may ignore the range, or select by overlap."""
    house.fake.ignores_range = True
    reaching, elsewhere = row(-30, length=60), row(-30, length=5)
    house.fake.rows += [reaching, elsewhere, row(5000)]
    report = imported(house, Interval(at(0), at(60)))
    assert house.states() == {reaching.call_id: "complete"}
    assert report.counts["outside"] == 2


def test_a_wrong_zone_stops_the_run_before_anything_is_stored(house: House) -> None:
    held = [row(minute) for minute in (5, 6, 7)]
    house.heard(*held)
    house.fake.rows += held
    house.fake.zone = ZoneInfo("America/New_York")
    house.fake.ignores_range = True
    before = house.calls()
    report = imported(house)
    assert report.failure is not None
    assert "3 of 3 rows of the history start 4 hours earlier" in report.failure
    assert "history.http.timezone" in report.failure
    assert house.calls() == before


def in_new_york(house: House, rows: list[Row]) -> None:
    """The history writes the times of New York, and we believe that they are UTC."""
    house.fake.zone = ZoneInfo("America/New_York")
    house.fake.rows += rows


def test_a_quiet_site_in_a_wrong_zone_is_refused_although_no_window_has_three_rows(house: House) -> None:
    house.clock.moment = at(3000)
    in_new_york(house, [row(360 * window + minute) for window in range(2, 7) for minute in (100, 200)])
    report = imported(house, Interval(at(0), at(2880)))
    assert report.failure is not None
    assert "4 of 4 rows of the history start 4 hours earlier" in report.failure
    assert "'cdr rebuild'" in report.failure
    assert len(house.states()) == 2


def test_what_was_stored_in_a_wrong_zone_is_mended_by_a_rebuild_and_the_run_begins_anew(house: House) -> None:
    """Its windows asked for other times: going on behind them would leave their calls out for ever."""
    house.clock.moment = at(3000)
    calls = [row(360 * window + minute) for window in range(7) for minute in (100, 200)]
    in_new_york(house, calls)
    span = Interval(at(0), at(2880))
    assert imported(house, span).failure
    house.history = {"http": {"url": "http://history.example", "delay": "15m", "timezone": "America/New_York"}}
    house.fake.believed = house.fake.zone
    with house.connect() as opened:
        assert sum(page.calls_changed for page in list(rebuild(opened, Interpreter(house.settings).reread))[-1:]) == 2
    assert house.ask("SELECT * FROM cdr.call WHERE 'zone_suspect' = ANY(quality)") == []
    report = imported(house, span)
    assert (report.since, report.failure, report.counts["records"]) == (None, None, len(calls))
    assert dict(house.ask("SELECT call_id, start_time FROM cdr.call")) == {each.call_id: each.start for each in calls}


def test_a_run_that_goes_on_reads_again_what_may_have_come_late(house: House) -> None:
    late = row(355, appears=at(368))
    house.fake.rows += [row(5), late]
    house.clock.moment = at(361)

    def fail_later(number: int) -> None:
        house.fake.fails = number == 2

    house.fake.searching = fail_later
    assert imported(house).failure
    house.clock.moment = at(3000)
    assert imported(house).since == at(346)
    assert late.call_id in house.states()


def test_a_run_goes_on_no_earlier_than_its_start(house: House) -> None:
    house.history["http"]["delay"] = "12h"
    house.clock.moment = at(361)

    def fail_later(number: int) -> None:
        house.fake.fails = number == 2

    house.fake.searching = fail_later
    assert [imported(house).since for _ in range(2)] == [None, at(0)]


@pytest.mark.parametrize(("minute", "until"), [(1455, None), (1454, 1455), (700, 1455)])
def test_it_is_told_until_when_rows_may_be_late(house: House, minute: float, until: float | None) -> None:
    house.clock.moment = at(minute)
    assert imported(house).late_until == (at(until) if until else None)


def test_gaps_of_the_span_are_filled_and_what_stays_open_is_told(house: House) -> None:
    house.sessions((0, 10), (20, 30), (100, None))
    house.heard(before := row(9))
    house.fake.rows += [before, row(15)]
    report = imported(house, Interval(at(0), at(60)))
    assert [gap[3] for gap in house.gaps()] == ["filled", "open"]
    assert (report.filled, report.open_gaps) == (1, 1)


def test_a_gap_that_reaches_over_windows_is_filled_by_all_of_them(house: House) -> None:
    house.sessions((0, 10), (800, None))
    held = [row(9), row(361), row(801)]
    house.heard(*held)
    house.fake.rows += held
    imported(house)
    assert house.gaps() == [("ny-1", 10, 800, "filled", 0)]


def test_calls_that_are_held_and_not_shown_are_counted_without_any_gap(house: House) -> None:
    """A wrong tenant or zone gives a happy empty answer. Copies of the history's own calls prove nothing."""
    house.sessions((0, None))
    house.fake.rows += [row(5), *(shown := [row(20), row(400)])]
    imported(house)
    house.heard(*shown, row(21), row(401), row(402), recorder="ny-2")
    house.heard(row(2000))
    house.fake.rows.pop(0)
    house.clock.moment = at(3000)
    assert imported(house).counts["hidden"] == 3
    assert job(house).preview(DAY).counts["hidden"] == 3


def test_calls_that_the_history_may_still_hide_are_not_counted(house: House) -> None:
    house.clock.moment = at(60)
    house.heard(row(50), row(30))
    house.options = {"retention": {"keep": "1d"}}
    house.heard(row(-1500))
    assert imported(house, Interval(at(-2000), at(60))).counts["hidden"] == 1


def test_a_missing_call_of_the_span_is_told_and_one_of_another_time_is_not(house: House) -> None:
    house.sessions((0, None))
    house.begun(row(5), row(100))
    assert imported(house, Interval(at(0), at(60))).unresolved == 1


def test_there_is_no_future_to_read(house: House) -> None:
    house.clock.moment = at(100)
    imported(house)
    assert house.fake.asked == [Interval(at(0), at(101))]


def test_progress_knows_how_much_time_there_is(house: House) -> None:
    seen: list[Progress] = []
    imported(house, on_progress=seen.append)
    assert [(each.done, each.total) for each in seen] == [(0, 24), (6, 24), (12, 24), (18, 24), (24, 24)]


def fact(each: Row, minutes: float, *quality: str) -> Fact:
    values = {"start_time": at(minutes)}
    return Fact(each.call_id, each.start, Kind.HTTP, each.start, None, None, b"", b"", values, {}, quality)


@pytest.mark.parametrize(("suspects", "fine", "stops"), [(3, 2, True), (3, 3, False), (2, 0, False), (2, 1, False)])
def test_the_guard_strikes_at_three_rows_that_are_most(suspects: int, fine: int, stops: bool) -> None:
    guard = ZoneGuard("key")
    guard.see(fact(row(0), 60, "zone_suspect") for _ in range(suspects))
    guard.see(fact(row(0), 0) for _ in range(fine))
    if not stops:
        guard.check()
        return
    with pytest.raises(HistoryRefused, match="1 hours later"):
        guard.check()


def test_a_call_across_the_seam_of_two_runs_is_not_lost_in_a_filled_gap(house: House) -> None:
    """The first run reads the beginning of a gap that lasts; the call ends behind what was read."""
    before, after = row(5), row(200)
    across = row(50, length=40, appears=at(91))
    house.heard(before)
    house.sessions((0, 10))
    house.fake.rows += [before, across]
    house.clock.moment = at(80)
    imported(house, Interval(at(0), at(60)))
    house.sessions((180, None))
    house.heard(after)
    house.fake.rows.append(after)
    house.clock.moment = at(300)
    imported(house, Interval(at(60), at(280)))
    assert house.gaps() == [("ny-1", 10, 180, "open", 0)]
    imported(house, Interval(at(0), at(280)))
    assert house.gaps() == [("ny-1", 10, 180, "filled", 1)]
    assert across.call_id in house.states()


def test_a_call_across_the_seam_of_a_run_that_goes_on_is_not_lost_in_a_filled_gap(house: House) -> None:
    before, across, after = row(5), row(350, length=40, appears=at(391)), row(500)
    house.heard(before)
    house.sessions((0, 10))
    house.fake.rows += [before, across]

    def fail_later(number: int) -> None:
        house.fake.fails = number > 1

    house.fake.searching = fail_later
    house.clock.moment = at(378)
    imported(house)
    house.fake.searching, house.fake.fails = lambda _: None, False
    house.sessions((480, None))
    house.heard(after)
    house.fake.rows.append(after)
    house.clock.moment = at(2000)
    imported(house)
    assert across.call_id not in house.states()
    assert house.gaps()[0][3] == "open"
