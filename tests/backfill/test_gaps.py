"""Gaps are filled by reads of the history that prove something, and by nothing else."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from support.gaps import House, Row, at, id_at, row

from etl.errors import HistoryUnreadable
from etl.jobs.backfill_gaps import GapBackfill, everything
from etl.jobs.backfill_http import HttpBackfill
from etl.jobs.history import FileSource
from etl.jobs.progress import Progress
from etl.model import Interval
from etl.store import gaps, history_reads
from etl.store.database import Cursor

pytestmark = pytest.mark.slow


def outage(house: House) -> None:
    """ny-1 was heard until minute 10 and from minute 20 on; one call was seen just before, one just after."""
    before, after = row(9.5, 0.2), row(20.5, 0.2)
    house.sessions((0, 10), (20, None))
    house.heard(before, after)
    house.fake.rows += [before, after]


def test_a_gap_is_filled_and_the_calls_in_it_are_recovered(house: House) -> None:
    outage(house)
    unseen = [row(12), row(15)]
    house.fake.rows += unseen
    report = house.fill()
    assert house.gaps() == [("ny-1", 10, 20, "filled", 2)]
    assert {house.states()[each.call_id] for each in unseen} == {"complete"}
    (gap,) = report.gaps
    assert (gap.after, gap.witnesses, gap.recovered, gap.told) == ("filled", 2, 2, None)
    assert (report.missing, report.failure) == (0, None)


def test_filling_again_changes_no_call(house: House) -> None:
    outage(house)
    house.fake.rows.append(row(12))
    house.fill()
    before = house.calls()
    house.ask("SELECT 1")
    with house.connect() as opened:
        opened.execute("UPDATE cdr.gap SET state = 'open'")
    house.clock.moment = at(70)
    house.fill()
    assert house.calls() == before
    assert house.gaps() == [("ny-1", 10, 20, "filled", 1)]


def test_a_happy_empty_answer_fills_nothing(house: House) -> None:
    """That of a wrong tenant."""
    outage(house)
    house.fake.rows.clear()
    report = house.fill()
    assert house.gaps() == [("ny-1", 10, 20, "open", 0)]
    assert report.gaps[0].told is not None
    assert report.gaps[0].told.startswith("history_incomplete: 2 calls")
    assert report.missing == 1


def test_one_vanished_witness_keeps_a_gap_open(house: House) -> None:
    outage(house)
    house.fake.rows.pop()
    assert (house.fill().gaps[0].told or "").startswith("history_incomplete: 1 calls")
    assert house.gaps() == [("ny-1", 10, 20, "open", 0)]


def test_an_erased_or_expired_call_is_no_witness(house: House) -> None:
    outage(house)
    gone = house.fake.rows.pop()
    with house.connect() as opened:
        opened.execute("INSERT INTO cdr.erased_call (call_id) VALUES (%s)", [gone.call_id])
    assert house.fill().gaps[0].witnesses == 1
    assert house.gaps() == [("ny-1", 10, 20, "filled", 0)]


def test_rows_that_are_read_in_a_wrong_zone_fill_nothing_and_damage_nothing(house: House) -> None:
    outage(house)
    held = list(house.fake.rows)
    house.heard(*(row(minute) for minute in (100, 130, 140)))
    house.fake.zone = ZoneInfo("Europe/Budapest")
    house.fake.rows += [row(-120 + 11), row(-120 + 12), row(-120 + 13)]
    before = house.calls()
    report = house.fill()
    assert house.calls() == before
    assert house.gaps() == [("ny-1", 10, 20, "open", 0)]
    assert report.failure is not None
    assert "3 of 3 rows" in report.failure
    assert "2 hours later" in report.failure
    assert "history.http.timezone" in report.failure
    assert held


def test_a_gap_that_has_just_closed_is_read_too_early_and_filled_by_a_second_read(house: House) -> None:
    outage(house)
    early = row(-20)
    house.heard(early)
    late = row(12, appears=at(33))
    house.fake.rows += [early, late]
    house.clock.moment = at(21)
    first = house.fill()
    assert (first.gaps[0].told or "").startswith("too early: ")
    assert house.gaps() == [("ny-1", 10, 20, "open", 0)]
    house.clock.moment = at(35)
    house.fill()
    assert house.gaps() == [("ny-1", 10, 20, "filled", 1)]


def test_one_row_in_a_wrong_zone_leaves_a_better_known_call_as_it_is(house: House) -> None:
    """Too few to condemn the zone."""
    house.sessions((0, 10), (20, None))
    house.heard(held := row(-120 + 12))
    house.fake.rows.append(held)
    house.fake.zone = ZoneInfo("Europe/Budapest")
    before = house.calls()
    report = house.fill()
    assert (report.counts["withheld"], report.failure) == (1, None)
    assert house.calls() == before


def test_a_witness_that_is_shown_at_a_wrong_time_is_not_shown(house: House) -> None:
    """A server that ignores the range shows it in any zone; what happened in the gap is read at a wrong time, too."""
    outage(house)
    house.fake.zone = ZoneInfo("Europe/Budapest")
    house.fake.ignores_range = True
    assert (house.fill().gaps[0].told or "").startswith("history_incomplete: 2 calls")


def test_a_window_without_a_witness_is_widened_to_the_nearest_one(house: House) -> None:
    house.sessions((0, 200), (220, None))
    near, far = row(150), row(0)
    house.heard(near, far)
    house.clock.moment = at(300)
    house.fake.rows += [near, far]
    (gap,) = house.fill().gaps
    assert (gap.after, gap.witnesses) == ("filled", 1)
    assert (gap.window.start, gap.window.end) == (near.start, at(221))


def test_a_widened_window_asks_for_its_witness_too(house: House) -> None:
    house.sessions((0, 200), (220, None))
    house.heard(row(150))
    house.clock.moment = at(300)
    assert (house.fill().gaps[0].told or "").startswith("history_incomplete: 1 calls")
    assert house.gaps()[0][3] == "open"


def test_without_any_witness_a_gap_stays_open(house: House) -> None:
    """However many rows the history has of it, and however often it shows them: nothing proves that these are all."""
    house.sessions((0, 10), (20, None))
    house.fake.rows.append(row(12))
    for minute in (60, 130):
        house.clock.moment = at(minute)
        (gap,) = house.fill().gaps
        assert (gap.told or "").startswith("history_incomplete: no call")
        assert house.gaps() == [("ny-1", 10, 20, "open", 1)]


def test_what_only_the_history_told_us_must_still_be_shown(house: House) -> None:
    outage(house)
    house.clock.moment = at(21)
    house.fake.rows.append(row(12))
    house.fill()
    house.fake.rows.pop()
    house.clock.moment = at(60)
    assert (house.fill().gaps[0].told or "").startswith("history_incomplete: 1 calls")


def test_a_gap_that_lasts_is_read_up_to_now_and_stays_open(house: House) -> None:
    house.sessions((0, 10))
    house.heard(seen := row(5))
    house.fake.rows += [seen, row(50)]
    (gap,) = house.fill().gaps
    assert gap.window.end == at(61)
    assert house.gaps() == [("ny-1", 10, None, "open", 1)]


def test_overlapping_gaps_of_two_recorders_are_read_once(house: House) -> None:
    for recorder in ("ny-1", "ny-2"):
        house.sessions((0, 10), (20, None), recorder=recorder)
        house.heard(seen := row(9.5, location=recorder), recorder=recorder)
        house.fake.rows += [seen, row(15, location=recorder)]
    house.fill()
    assert [name_state[::3] for name_state in house.gaps()] == [("ny-1", "filled"), ("ny-2", "filled")]
    assert len(house.fake.asked) == 1


def test_a_long_gap_is_read_in_windows_that_need_one_witness_together(house: House) -> None:
    house.sessions((0, 10), (1500, None))
    house.heard(seen := row(9.5))
    house.fake.rows += [seen, row(700), row(1400)]
    house.clock.moment = at(1600)
    house.fill()
    assert len(house.fake.asked) == 5
    assert house.gaps() == [("ny-1", 10, 1500, "filled", 2)]


def test_a_history_out_of_reach_is_told_and_fills_nothing(house: House) -> None:
    outage(house)
    house.fake.fails = True
    report = house.fill()
    assert report.failure == "the history is out of reach"
    assert house.gaps() == [("ny-1", 10, 20, "open", 0)]
    assert house.ask("SELECT result, told FROM cdr.backfill_run") == [("failed", report.failure)]


def test_what_was_read_before_a_failure_stays_read(house: House) -> None:
    outage(house)
    house.sessions((500, 510), (520, None), recorder="ny-2")

    def fail_later(number: int) -> None:
        house.fake.fails = number > 1

    house.fake.searching = fail_later
    house.clock.moment = at(1100)
    assert house.fill().failure is not None
    assert house.gaps()[0] == ("ny-1", 10, 20, "filled", 0)


def test_calls_without_a_record_are_searched_for_around_their_start(house: House) -> None:
    house.sessions((0, None))
    lost = row(5)
    house.begun(lost)
    assert house.states() == {lost.call_id: "ended"}
    house.fake.rows.append(lost)
    report = house.fill()
    assert (report.searched, report.found, report.missing) == (1, 1, 0)
    assert house.states() == {lost.call_id: "complete"}


def test_a_call_that_the_history_lacks_stays_missing(house: House) -> None:
    house.sessions((0, None))
    house.begun(row(5))
    report = house.fill()
    assert (report.searched, report.found, report.missing) == (1, 0, 1)


def test_accepted_and_erased_calls_are_not_searched_for(house: House) -> None:
    accepted, erased = row(5), row(6)
    house.sessions((0, None))
    house.begun(accepted, erased)
    with house.connect() as opened:
        opened.execute("INSERT INTO cdr.erased_call (call_id) VALUES (%s)", [erased.call_id])
        query = "INSERT INTO cdr.call_acceptance (call_id, who, reason) VALUES (%s, 'me', 'gone')"
        opened.execute(query, [accepted.call_id])
    assert not house.todo()


def test_a_dry_run_says_what_it_would_read_and_reads_nothing(house: House) -> None:
    outage(house)
    with house.connect() as opened:
        todo = everything(opened, house.clock())
    report = GapBackfill(house.settings, house.connect, house.sources(), now=house.clock).preview(todo)
    assert [(gap.window.start, gap.window.end, gap.after) for gap in report.gaps] == [(at(9), at(21), None)]
    assert report.missing == 1
    assert not house.fake.asked
    assert house.ask("SELECT * FROM cdr.backfill_run") == []


def test_a_bad_row_is_quarantined_once_however_often_it_is_read(house: House) -> None:
    outage(house)
    house.fake.rows[0] = replace(house.fake.rows[0], call_id="")
    for minute in (60, 70):
        house.clock.moment = at(minute)
        house.fill()
    assert house.ask("SELECT origin, state FROM cdr.quarantine") == [("http", "open")]


def files(house: House, folder: Path, *rows: Row) -> None:
    for number, each in enumerate(rows):
        path = folder / f"{number}.xml"
        path.write_text(each.element(ZoneInfo("UTC")))
        os.utime(path, 2 * ((each.end or each.start).timestamp(),))


def test_files_fill_gaps_where_there_is_no_history_over_http(house: House, tmp_path: Path) -> None:
    outage(house)
    house.history = {"files": {"roots": [tmp_path]}}
    files(house, tmp_path, *house.fake.rows, row(15), row(-3000))
    job = GapBackfill(house.settings, house.connect, [FileSource([tmp_path], house.settings)], now=house.clock)
    report = job.run(house.todo())
    assert house.gaps() == [("ny-1", 10, 20, "filled", 1)]
    assert report.gaps[0].witnesses == 2
    assert len(house.states()) == 3


def test_files_are_read_where_the_history_over_http_was_no_good(house: House, tmp_path: Path) -> None:
    outage(house)
    house.history["files"] = {"roots": [tmp_path]}
    files(house, tmp_path, *house.fake.rows, row(15))
    house.fake.rows.clear()
    sources = [*house.sources(), FileSource([tmp_path], house.settings)]
    GapBackfill(house.settings, house.connect, sources, now=house.clock).run(house.todo())
    assert house.gaps() == [("ny-1", 10, 20, "filled", 1)]
    assert house.ask("SELECT source, good FROM cdr.history_read ORDER BY id") == [("http", False), ("file", True)]


def test_a_folder_that_cannot_be_read_fills_nothing(house: House, tmp_path: Path) -> None:
    outage(house)
    house.history = {"files": {"roots": [tmp_path]}}
    files(house, tmp_path, *house.fake.rows)
    roots = [tmp_path, tmp_path / "missing"]
    report = GapBackfill(house.settings, house.connect, [FileSource(roots, house.settings)], now=house.clock).run(
        house.todo()
    )
    assert "1 metadata files or folders cannot be read" in (report.failure or "")
    assert house.gaps()[0][3] == "open"


def test_an_interrupted_run_is_noted_and_the_next_one_goes_on(house: House) -> None:
    outage(house)

    def interrupt(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        house.fill(on_progress=interrupt)
    assert house.ask("SELECT result FROM cdr.backfill_run") == [("interrupted",)]
    house.fill()
    assert house.gaps()[0][3] == "filled"


def narrowed(house: House, *extensions: str) -> None:
    """From now on ny-1 is asked for these extensions only."""
    recorder = {"name": "ny-1", "host": "127.0.0.1", "port": 1, "extensions": list(extensions)}
    house.options = {"recorder": [recorder]}


def test_a_gap_of_all_calls_is_not_filled_under_a_narrower_filter(house: House) -> None:
    """The call in it counts as a stranger today, and is not stored."""
    outage(house)
    inside = row(15, extra="<source_caller_id>999</source_caller_id>")
    house.fake.rows.append(inside)
    narrowed(house, "100")
    (gap,) = house.fill().gaps
    assert (gap.after, (gap.told or "")[:11]) == ("open", "extensions:")
    assert inside.call_id not in house.states()
    narrowed(house)
    house.clock.moment = at(70)
    house.fill()
    assert house.gaps() == [("ny-1", 10, 20, "filled", 1)]


def two_outages(house: House) -> Row:
    """The second lies 33 hours after the first; returns the call that was lost in it."""
    seen, lost = [row(9), row(2009)], row(2005)
    house.sessions((0, 10), (20, 2000), (2010, None))
    house.heard(*seen)
    house.fake.rows += [*seen, lost]
    house.clock.moment = at(4000)
    return lost


def test_a_window_that_cannot_be_read_keeps_no_later_gap_from_being_filled(house: House) -> None:
    lost = two_outages(house)

    def break_first(_: int) -> None:
        if house.fake.asked[-1].start < at(100):
            raise HistoryUnreadable("the answer is not understood")

    house.fake.searching = break_first
    report = house.fill()
    assert house.gaps() == [("ny-1", 10, 20, "open", 0), ("ny-1", 2000, 2010, "filled", 1)]
    assert lost.call_id in house.states()
    assert (report.failure, report.reached) == ("the answer is not understood", True)
    assert report.gaps[0].told == "failed: the answer is not understood"
    assert house.todo().gaps[0].read_at == at(4000), "so it is not due at once"


@pytest.mark.parametrize("count", [3, 30])
def test_a_window_in_a_wrong_zone_keeps_no_later_gap_from_being_filled(house: House, count: int) -> None:
    two_outages(house)
    odd = (10 + number / 4 for number in range(count))
    house.fake.rows += [
        Row(id_at(at(minute - 60), number), at(minute), at(minute + 1)) for number, minute in enumerate(odd)
    ]
    report = house.fill()
    assert [gap[3] for gap in house.gaps()] == ["open", "filled"]
    assert f"{count} of {count + 1} rows" in (report.failure or "")


def test_after_three_windows_that_cannot_be_read_the_rest_waits_and_these_are_noted(house: House) -> None:
    house.sessions((0, 10), (3000, 3010), (3020, None))

    def break_all(_: int) -> None:
        raise HistoryUnreadable("broken")

    house.fake.searching = break_all
    house.clock.moment = at(9000)
    assert not house.fill().reached
    assert len(house.fake.asked) == 3
    assert [gap.read_at for gap in house.todo().gaps] == [at(9000), None]


def discard_all(house: House) -> None:
    with house.connect() as opened:
        opened.execute("UPDATE cdr.quarantine SET state = 'discarded'")


def test_a_row_that_cannot_be_read_keeps_its_gap_open_until_it_is_discarded(house: House) -> None:
    outage(house)
    house.fake.rows.append(replace(row(15), call_id=""))
    (gap,) = house.fill().gaps
    assert (gap.after, (gap.told or "")[:21]) == ("open", "quarantine: 1 records")
    discard_all(house)
    house.clock.moment = at(70)
    house.fill()
    assert house.gaps()[0][3] == "filled"


@pytest.mark.parametrize(("minute", "state"), [(16, "open"), (35, "open"), (5, "filled"), (37, "filled")])
def test_a_broken_file_keeps_a_gap_open_if_it_was_written_then(
    house: House, tmp_path: Path, minute: float, state: str
) -> None:
    outage(house)
    house.history = {"files": {"roots": [tmp_path]}}
    files(house, tmp_path, *house.fake.rows)
    broken = tmp_path / "broken.xml"
    broken.write_text(row(15).element(ZoneInfo("UTC"))[:-15])
    os.utime(broken, 2 * (at(minute).timestamp(),))
    house.clock.moment = at(600)
    GapBackfill(house.settings, house.connect, [FileSource([tmp_path], house.settings)], now=house.clock).run(
        house.todo()
    )
    assert house.gaps()[0][3] == state


def test_recovered_calls_are_counted_when_a_run_ends_and_keep_no_recorder_waiting(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each count goes through all calls of a gap: not for every window, and not under the lock of its recorder."""
    house.sessions((0, 10), (3000, None))
    house.heard(seen := row(9))
    house.fake.rows += [seen, row(100), row(2900)]
    house.clock.moment = at(4000)
    counted: list[bool] = []

    def count(cursor: Cursor, number: int) -> None:
        with house.connect() as other, other.transaction(), other.cursor() as waiting:
            waiting.execute("SET LOCAL lock_timeout = '1s'")
            gaps.lock(waiting, "ny-1")
        recount(cursor, number)
        counted.append(True)

    recount = gaps.recount
    monkeypatch.setattr(gaps, "recount", count)
    house.fill()
    assert house.gaps() == [("ny-1", 10, 3000, "filled", 2)]
    assert len(house.fake.asked) == 9
    assert len(counted) == 2, "once when it was filled, and at the end"


def test_an_import_counts_what_it_recovered_in_a_gap_that_stays_open(house: House) -> None:
    house.sessions((0, 10))
    house.fake.rows.append(row(50))
    HttpBackfill(house.settings, house.connect, house.sources()[0], now=house.clock).run(Interval(at(0), at(55)))
    assert house.gaps() == [("ny-1", 10, None, "open", 1)]


class Killed(BaseException):
    """What nothing catches."""


def test_a_run_that_is_killed_before_it_has_counted_leaves_no_filled_gap_that_nobody_counts(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had marked the gap by then, and a filled gap is not looked at again: its calls stayed 0."""
    outage(house)
    house.fake.rows.append(row(12))

    def die(cursor: Cursor, number: int) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(gaps, "recount", die)
        with pytest.raises(Killed):
            house.fill()
    assert house.gaps() == [("ny-1", 10, 20, "open", 0)]
    house.fill()
    assert house.gaps() == [("ny-1", 10, 20, "filled", 1)]


def test_an_import_that_is_killed_before_it_has_counted_is_taken_up_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had ended for good by then."""
    house.sessions((0, 10))
    house.fake.rows.append(row(50))
    wanted = Interval(at(0), at(55))

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(history_reads, "recount", die)
        with pytest.raises(Killed):
            HttpBackfill(house.settings, house.connect, house.sources()[0], now=house.clock).run(wanted)
    assert house.ask("SELECT result FROM cdr.backfill_run") == [(None,)]
    HttpBackfill(house.settings, house.connect, house.sources()[0], now=house.clock).run(wanted)
    assert house.ask("SELECT result FROM cdr.backfill_run") == [("done",)]
    assert house.gaps() == [("ny-1", 10, None, "open", 1)]
