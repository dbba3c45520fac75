"""The rules by which a list is compared with what is stored (section 7 of the contract, (a) to (d))."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.recorders import NOON

from etl.calls.details import Outcome
from etl.calls.reconcile import Act, Action, Plan, Rule, Stored, conclude, plan, wants_second_list
from etl.model import State

T0 = NOON
BEFORE, AFTER = T0 - timedelta(minutes=1), T0 + timedelta(milliseconds=1)
Told = tuple[Act, Rule, str]


def call(state: State = State.ONGOING, **given: object) -> Stored:
    values = {"call_id": "x", "state": state, "first_seen_at": BEFORE, **given}
    return Stored(**values)  # type: ignore[arg-type]


def told(actions: Collection[Action]) -> list[Told]:
    return [(action.act, action.rule, action.call_id) for action in actions]


def planned(listed: Collection[str], *stored: Stored, outside: Collection[str] = ()) -> list[Told]:
    return told(plan("ny-1", T0, listed, stored, outside=outside).actions)


# (a) listed, not stored


def test_a_listed_call_that_is_not_stored_is_stored() -> None:
    assert planned(["x"]) == [(Act.STORE, Rule.MISSED_START, "x")]


def test_it_does_not_matter_whether_that_very_list_is_stored_already() -> None:
    assert planned(["x"], call(first_seen_at=AFTER, only_listed=True)) == planned(["x"])


def test_a_call_whose_start_was_heard_meanwhile_was_not_missed() -> None:
    assert planned(["x"], call(first_seen_at=AFTER)) == []


def test_a_listed_call_that_was_taken_for_lost_is_stored_again() -> None:
    assert planned(["x"], call(State.LOST)) == [(Act.STORE, Rule.MISSED_START, "x")]


def test_a_call_outside_of_our_extensions_is_not_stored_for_being_listed() -> None:
    assert planned(["x"], outside=["x"]) == []


def test_a_call_outside_of_our_extensions_is_not_absent_while_it_is_listed() -> None:
    assert planned(["x"], call(), outside=["x"]) == []


# (b) ongoing, not listed


def test_an_ongoing_call_that_is_not_listed_is_asked_about_and_nothing_more() -> None:
    assert planned([], call()) == [(Act.ASK, Rule.MISSED_END, "x")]


@pytest.mark.parametrize("first_seen_at", [T0, AFTER])
@pytest.mark.parametrize("only_listed", [False, True])
def test_a_call_first_seen_after_the_question_is_not_judged(first_seen_at: object, *, only_listed: bool) -> None:
    assert planned([], call(first_seen_at=first_seen_at, only_listed=only_listed)) == []


# (c) ended or complete, yet listed


@pytest.mark.parametrize("state", [State.ENDED, State.COMPLETE])
def test_a_listed_call_that_ended_before_the_question_is_reported(state: State) -> None:
    assert planned(["x"], call(state, end_seen_at=BEFORE)) == [(Act.REPORT, Rule.STILL_LISTED, "x")]


@pytest.mark.parametrize("state", [State.ENDED, State.COMPLETE])
@pytest.mark.parametrize("end_seen_at", [T0, AFTER])
def test_a_listed_call_whose_end_came_after_the_question_is_in_order(state: State, end_seen_at: object) -> None:
    assert planned(["x"], call(state, end_seen_at=end_seen_at)) == []


def test_a_complete_call_that_is_not_listed_is_in_order() -> None:
    assert planned([], call(State.COMPLETE, end_seen_at=BEFORE)) == []


# (d) ended without a record


def test_an_ended_call_without_a_record_is_asked_about() -> None:
    assert planned([], call(State.ENDED, end_seen_at=BEFORE)) == [(Act.ASK, Rule.NO_RECORD, "x")]


def test_a_lost_call_that_is_not_listed_stays_lost() -> None:
    assert planned([], call(State.LOST)) == []


# What follows from the answers


def concluded(
    rule: Rule,
    outcome: Outcome | None,
    second: Collection[str] | None = (),
    final: Collection[str] = (),
) -> list[tuple[Act, Rule]]:
    asked = Plan("ny-1", T0, 0, (Action(Act.ASK, rule, "x", "why"),))
    outcomes = {} if outcome is None else {"x": outcome}
    return [(action.act, action.rule) for action in conclude(asked, outcomes, second, final)]


def test_an_unknown_call_that_a_second_list_misses_too_is_absent() -> None:
    assert concluded(Rule.MISSED_END, Outcome.UNKNOWN) == [(Act.ABSENT, Rule.MISSED_END)]


def test_without_a_second_good_list_an_unknown_call_stays_as_it_is() -> None:
    assert concluded(Rule.MISSED_END, Outcome.UNKNOWN, second=None) == []


def test_an_unknown_call_that_the_second_list_has_is_reported() -> None:
    assert concluded(Rule.MISSED_END, Outcome.UNKNOWN, second=["x"]) == [(Act.REPORT, Rule.MISSED_END)]


def test_a_record_that_goes_on_contradicts_the_list_and_is_reported() -> None:
    assert concluded(Rule.MISSED_END, Outcome.UNFINISHED) == [(Act.REPORT, Rule.MISSED_END)]


@pytest.mark.parametrize("rule", [Rule.MISSED_END, Rule.NO_RECORD])
@pytest.mark.parametrize("outcome", [Outcome.FINISHED, Outcome.FAILED, Outcome.TIMEOUT, None])
def test_a_failure_or_silence_says_nothing(rule: Rule, outcome: Outcome | None) -> None:
    assert concluded(rule, outcome, final=["x"]) == []


def test_unknown_is_the_last_word_on_an_ended_call_only_when_it_was_asked_for_long_enough() -> None:
    assert concluded(Rule.NO_RECORD, Outcome.UNKNOWN, second=None) == []
    assert concluded(Rule.NO_RECORD, Outcome.UNKNOWN, second=None, final=["x"]) == [(Act.ABSENT, Rule.NO_RECORD)]


@pytest.mark.parametrize(
    ("rule", "outcome", "wanted"),
    [
        (Rule.MISSED_END, Outcome.UNKNOWN, True),
        (Rule.MISSED_END, Outcome.FINISHED, False),
        (Rule.MISSED_END, Outcome.FAILED, False),
        (Rule.NO_RECORD, Outcome.UNKNOWN, False),
    ],
)
def test_only_an_unknown_ongoing_call_needs_a_second_list(rule: Rule, outcome: Outcome, *, wanted: bool) -> None:
    asked = Plan("ny-1", T0, 0, (Action(Act.ASK, rule, "x", "why"),))
    assert wants_second_list(asked, {"x": outcome}) is wanted


# Laws

ids = st.sampled_from("abcdef")
moments = st.sampled_from([BEFORE, T0, AFTER])
calls = st.builds(
    Stored,
    call_id=ids,
    state=st.sampled_from(State),
    first_seen_at=moments,
    end_seen_at=st.none() | moments,
    only_listed=st.booleans(),
)
stores = st.lists(calls, unique_by=lambda each: each.call_id)
lists = st.sets(ids)


@given(lists, stores, lists, st.randoms())
def test_the_order_of_what_is_compared_does_not_matter(
    listed: set[str], stored: list[Stored], outside: set[str], dice: st.DataObject
) -> None:
    first = plan("ny-1", T0, sorted(listed), stored, outside=outside)
    shuffled = list(stored)
    dice.shuffle(shuffled)  # type: ignore[attr-defined]
    again = plan("ny-1", T0, sorted(listed, reverse=True), shuffled, outside=outside)
    assert again == first


@given(lists, stores)
def test_no_plan_takes_a_call_for_absent(listed: set[str], stored: list[Stored]) -> None:
    assert Act.ABSENT not in [action.act for action in plan("ny-1", T0, listed, stored).actions]


@given(lists, stores, st.dictionaries(ids, st.sampled_from(Outcome)), st.none() | lists, lists)
def test_absent_are_only_calls_that_are_not_listed_and_that_the_recorder_does_not_know(
    listed: set[str],
    stored: list[Stored],
    outcomes: dict[str, Outcome],
    second: set[str] | None,
    final: set[str],
) -> None:
    found = plan("ny-1", T0, listed, stored)
    for action in conclude(found, outcomes, second, final):
        if action.act is Act.ABSENT:
            assert action.call_id not in listed | (second or set())
            assert outcomes[action.call_id] is Outcome.UNKNOWN
            assert action.rule is Rule.NO_RECORD or second is not None


@given(lists, stores)
def test_once_carried_out_a_plan_stores_nothing_more(listed: set[str], stored: list[Stored]) -> None:
    """The list is stored; asked again at once, nothing of it is news."""
    known = {each.call_id: each for each in stored}
    found = plan("ny-1", T0, listed, stored)
    for action in found.actions:
        if action.act is Act.STORE:
            known[action.call_id] = Stored(action.call_id, State.ONGOING, BEFORE, only_listed=True)
    again = plan("ny-1", T0, listed, known.values())
    assert [action for action in again.actions if action.act is Act.STORE] == []
    assert again.asks() == found.asks()
