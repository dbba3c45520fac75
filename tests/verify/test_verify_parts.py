"""What is no finding is counted apart, and what a history leaves open is not held against the archive."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from support.verifying import NOON, READ_AT, SPAN, Call, History, World, every_field

from etl.errors import HistoryRefused
from etl.model import Interval, Kind

CALLS = [Call(number, fields=every_field(number)) for number in (1, 2, 3)]
FIRST, SECOND, THIRD = CALLS

pytestmark = pytest.mark.slow


def test_a_call_that_ended_within_the_delay_may_still_appear(world: World) -> None:
    lately = Interval(READ_AT - timedelta(hours=2), READ_AT)
    for minutes, kind in ((20, "extra"), (10, "late")):
        call = Call(int((READ_AT - NOON) / timedelta(minutes=1)) - minutes)
        world.archive(call, seen=READ_AT)
        report = world.verify([], span=lately)
        assert report.counts[kind] == 1
    assert world.found() == {("extra", Call(24 * 60 - 20).id): ()}


def test_erased_calls_are_neither_missing_nor_extra(world: World) -> None:
    world.archive(FIRST, SECOND)
    for call in (SECOND, THIRD):
        world.change("INSERT INTO cdr.erased_call (call_id) VALUES (%s)", call.id)
    assert world.verify([FIRST, THIRD]).counts == {"compared": 1, "erased": 2}
    assert world.findings == []


def test_expired_calls_are_neither_missing_nor_extra(world: World) -> None:
    world.archive(SECOND)
    world.configure(retention={"keep": "1d"})
    at_noon = [Call(-1), SECOND]
    span = Interval(SPAN.start - timedelta(hours=1), SPAN.end)
    assert world.verify([at_noon[0]], span=span).counts == {"expired": 1, "extra": 1}


def test_an_archived_call_that_has_expired_need_not_be_shown(world: World) -> None:
    world.archive(Call(-1))
    world.configure(retention={"keep": "1d"})
    span = Interval(SPAN.start - timedelta(hours=1), SPAN.end)
    assert world.verify([], span=span).counts == {"expired": 1}


def test_a_call_that_the_filter_of_its_recorder_leaves_out_is_not_missing(world: World) -> None:
    world.configure(recorder={"extensions": ["1000"]})
    stranger = replace(THIRD, fields={"location": "NY", "source_caller_id": "2000"})
    ours = replace(SECOND, fields={"location": "NY", "source_caller_id": "1000"})
    assert world.verify([stranger, ours]).counts == {"compared": 1, "filtered": 1, "missing": 1}
    assert world.found() == {("missing", ours.id): ()}


def test_a_stranger_that_is_archived_is_compared_and_repaired(world: World) -> None:
    world.configure(recorder={"extensions": ["1000"]})
    world.archive(replace(SECOND, fields={"location": "NY", "source_caller_id": "2000"}))
    shown = [replace(SECOND, fields={"location": "NY", "source_caller_id": "3000"}), THIRD]
    shown[1] = replace(THIRD, fields={"location": "NY", "source_caller_id": "3000"})
    assert world.verify(shown, repair=True).agrees
    assert world.rows("SELECT source_caller_id FROM cdr.call") == [("3000",)]


def test_a_history_that_is_silent_about_a_field_says_nothing(world: World) -> None:
    world.archive(*CALLS)
    assert world.verify([replace(each, fields={}) for each in CALLS]).agrees


def test_of_other_fields_those_are_compared_that_both_have(world: World) -> None:
    world.archive(FIRST)
    shown = replace(FIRST, fields={"shared_item": "another", "unheard_of": "x"})
    world.verify([shown])
    assert world.found() == {("different", FIRST.id): ("attributes",)}
    assert world.findings[0].told == {"attributes": [{"shared_item": "item 1"}, {"shared_item": "another"}]}


def test_a_finished_record_makes_the_state_differ_where_the_archive_has_none(world: World) -> None:
    world.archive(replace(FIRST, fields={}), kind=Kind.END)
    world.verify([replace(FIRST, fields={})])
    assert world.found() == {("different", FIRST.id): ("state",)}


def test_an_unfinished_record_is_compared_with_nothing(world: World) -> None:
    world.archive(FIRST)
    assert world.verify([replace(FIRST, state="0", seconds=5), replace(SECOND, state="0")]).counts == {"unfinished": 2}


@pytest.mark.parametrize(("archived", "shown"), [("seconds", "milliseconds"), ("milliseconds", "minutes")])
def test_times_are_compared_as_finely_as_both_are_written(world: World, archived: str, shown: str) -> None:
    world.archive(replace(FIRST, unit=archived))
    assert world.verify([replace(FIRST, unit=shown)]).agrees
    world.verify([replace(FIRST, unit=shown, seconds=90)])
    assert world.found() == {("different", FIRST.id): ("end_time",)}


def test_a_fraction_that_was_received_may_not_be_cut_off(world: World) -> None:
    world.archive(FIRST)
    for table in ("call", "fact"):
        world.change(f"UPDATE cdr.{table} SET start_time = date_trunc('second', start_time)")
    world.verify([FIRST])
    assert world.found() == {("different", FIRST.id): ("start_time",)}


def test_rows_that_began_before_or_after_are_not_judged(world: World) -> None:
    near = Interval(FIRST.start + timedelta(seconds=5), SECOND.start + timedelta(seconds=5))
    report = world.verify(CALLS, span=near)
    assert report.counts == {"compared": 1, "missing": 1, "outside": 2}
    assert world.found() == {("missing", SECOND.id): ()}


def test_a_start_moved_out_of_the_range_by_hand_hides_nothing(world: World) -> None:
    world.archive(*CALLS)
    world.change("UPDATE cdr.call SET start_time = start_time - interval '40 days'")
    world.verify([FIRST])
    assert world.found() == {
        ("different", FIRST.id): ("start_time",),
        **{("underived", each.id): ("start_time",) for each in CALLS},
    }


def test_calls_whose_ids_have_no_time_are_held_against_their_facts(world: World) -> None:
    world.archive(FIRST)
    for table in ("call", "fact"):
        world.change(f"UPDATE cdr.{table} SET call_id = 'plain', id_time = '1970-01-01 00:00:00+00'")
    world.change("UPDATE cdr.call SET start_time = NULL, first_seen_at = now()")
    world.verify([])
    assert world.found() == {("underived", "plain"): ("first_seen_at", "start_time")}


def test_a_row_without_facts_stays_for_a_person_to_judge(world: World) -> None:
    world.archive(FIRST)
    world.change("DELETE FROM cdr.fact")
    report = world.verify([FIRST])
    assert world.found() == {("underived", FIRST.id): ("call_id",)}
    assert report.left == 1


def test_a_call_that_is_shown_twice_is_judged_by_what_came_last(world: World) -> None:
    world.archive(FIRST)
    other = replace(FIRST, fields={"location": "elsewhere"})
    assert world.verify(History([other, FIRST], page=1)).agrees
    assert world.rows("SELECT count(*) FROM cdr.verify_finding") == [(0,)]
    assert not world.verify(History([FIRST, other], page=1)).agrees


def test_an_unfinished_record_does_not_take_the_place_of_a_finished_one(world: World) -> None:
    world.archive(FIRST)
    assert world.verify(History([FIRST, replace(FIRST, state="0")], page=1)).counts == {"compared": 1}


def test_a_history_in_a_wrong_zone_is_not_compared(world: World) -> None:
    shifted = [_Shifted(number) for number in range(4)]
    with pytest.raises(HistoryRefused, match=r"history\.http\.timezone .* run this again\. The comparison ends here"):
        world.verify(History(list(shifted)), repair=True)
    assert world.rows("SELECT count(*) FROM cdr.call") == [(0,)]


def test_three_records_of_doubtful_times_before_many_good_ones_do_not_condemn_a_zone(world: World) -> None:
    good = [Call(number) for number in range(5, 15)]
    world.archive(*good)
    doubtful: list[Call] = [_Shifted(number) for number in range(3)]
    report = world.verify(History(doubtful + good, page=1))
    assert report.counts == {"compared": 13, "missing": 3}


def test_a_wrong_zone_is_seen_where_each_window_shows_but_one_call(world: World) -> None:
    shifted: list[Call] = [_Shifted(number * 6 * 60 + 30) for number in range(4)]
    with pytest.raises(HistoryRefused, match=r"history\.http\.timezone"):
        world.verify(shifted, span=Interval(NOON, NOON + timedelta(days=1)), repair=True)
    assert world.rows("SELECT count(*) FROM cdr.call") == [(0,)]


def test_calls_are_judged_page_by_page(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etl.jobs.verify.PAGE", 2)
    world.archive(*CALLS[:2])
    assert world.verify(History(CALLS, page=1), repair=True).counts == {"compared": 3, "missing": 1, "mended": 1}


class _Shifted(Call):
    """Its time is an hour later than its id says, as if read in another zone."""

    @property
    def id(self) -> str:
        return Call(self.number - 60).id


def test_a_record_of_doubtful_times_is_told_and_repairs_nothing(world: World) -> None:
    doubtful = _Shifted(5)
    world.archive(replace(Call(-55), fields={"agent_id": "known"}))
    report = world.verify([doubtful], repair=True)
    assert world.found() == {("different", doubtful.id): ("end_time", "start_time")}
    assert report.left == 1
    assert world.rows("SELECT start_time, agent_id FROM cdr.call") == [(Call(-55).start, "known")]


def test_a_record_of_doubtful_times_does_not_take_the_place_of_facts_whose_row_was_removed(world: World) -> None:
    known = Call(-55)
    world.archive(known)
    world.change("DELETE FROM cdr.call")
    report = world.verify([_Shifted(5)], repair=True)
    assert world.rows("SELECT start_time FROM cdr.call") == [(known.start,)]
    assert report.left == 1
    assert world.rows("SELECT kind FROM cdr.fact") == [("detail",)]


@pytest.mark.parametrize("kind", [Kind.START, Kind.END, Kind.UNFINISHED])
def test_a_call_without_a_record_is_not_extra(world: World, kind: Kind) -> None:
    world.archive(replace(FIRST, state="0"), kind=Kind.DETAIL if kind is Kind.UNFINISHED else kind)
    assert world.verify([]).counts == {}


def test_a_record_without_an_id_leaves_the_comparison_unproven(world: World) -> None:
    class Nameless(Call):
        @property
        def id(self) -> str:
            return ""

    world.archive(FIRST)
    report = world.verify([FIRST, Nameless(9)])
    assert report.counts == {"compared": 1, "unreadable": 1}
    assert not report.agrees


def test_an_interrupted_run_says_so(world: World) -> None:
    with pytest.raises(KeyboardInterrupt):
        world.verify(History(CALLS, page=1, fail=KeyboardInterrupt()))
    assert world.rows("SELECT result FROM cdr.verify_run") == [("interrupted",)]


def test_long_spans_are_asked_for_in_windows(world: World) -> None:
    history = History([])
    world.verify(history, span=Interval(NOON, NOON + timedelta(days=1)))
    assert [(each.end - each.start) for each in history.asked] == [timedelta(hours=6)] * 4


def test_a_repair_changes_no_row_that_was_right(world: World) -> None:
    world.archive(*CALLS)
    before = world.rows("SELECT call_id, recorded_at FROM cdr.call ORDER BY 1")
    assert world.verify(CALLS, repair=True).agrees
    assert world.rows("SELECT call_id, recorded_at FROM cdr.call ORDER BY 1") == before


def test_values_of_calls_are_not_kept(world: World) -> None:
    world.archive(replace(FIRST, fields={"source_name": "Secret Name"}))
    world.verify([replace(FIRST, fields={"source_name": "Other Secret"})])
    kept = world.rows("SELECT f::text FROM cdr.verify_finding f") + world.rows("SELECT r::text FROM cdr.verify_run r")
    assert len(kept) == 2
    assert not any("Secret" in row[0] for row in kept)


def test_what_was_deleted_by_age_is_expired_even_if_all_is_kept_by_now(world: World) -> None:
    world.change("INSERT INTO cdr.expiry (id, before) VALUES (1, %s)", SPAN.start)
    span = Interval(SPAN.start - timedelta(hours=1), SPAN.end)
    assert world.verify([Call(-1)], span=span).counts == {"expired": 1}
    assert world.verify([Call(-1)], span=span, repair=True).counts == {"expired": 1}
    assert world.rows("SELECT count(*) FROM cdr.call") == [(0,)]
