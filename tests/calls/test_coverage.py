"""The fold over a session's lines of the journal: what it has covered, and why it stopped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TypeVar
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.calls import coverage
from etl.calls.coverage import (
    CLOCK_STEP,
    Heard,
    Listed,
    Message,
    Reading,
    SessionState,
    Subscribed,
    covered,
    dump,
    fold,
    load,
    opened,
    settled,
    withdrawn,
)
from etl.calls.intervals import FOREVER, Spans, intersect, span
from etl.calls.repeats import comes_again
from etl.errors import CdrError
from etl.model import Draft, Interval, Json, What

ZERO = datetime(2024, 1, 1, tzinfo=UTC)
SESSION = UUID(int=1)
MARGIN = timedelta(seconds=1)

T = TypeVar("T")
Line = tuple[Draft, Heard | None]


def some(value: T | None) -> T:
    assert value is not None
    return value


def at(second: float) -> datetime:
    return ZERO + timedelta(seconds=second)


def line(second: float, what: What, heard: Heard | None = None, **note: Json) -> Line:
    return Draft(at(second), "ny-1", SESSION, what, note=note), heard


def opening(second: float = 0, extensions: Sequence[str] = ()) -> Line:
    return line(second, What.OPENED, worker="w", extensions=list[Json](extensions))


def subscribed(second: float) -> Line:
    return line(second, What.DOCUMENT, Subscribed())


def message(second: float) -> Line:
    return line(second, What.DOCUMENT, Message())


def listed(second: float, requested: float) -> Line:
    return line(second, What.DOCUMENT, Listed(at(requested)))


def paused(second: float, start: float) -> Line:
    return line(second, What.PAUSED, None, **{"from": at(start).isoformat()})


def stepped(second: float, before: float, after: float) -> Line:
    return line(second, What.STEPPED, None, **{"from": at(before).isoformat(), "to": at(after).isoformat()})


def closed(second: float, reason: str = "drop") -> Line:
    return line(second, What.CLOSED, reason=reason)


def run(*lines: Line) -> SessionState:
    state: SessionState | None = None
    for draft, heard in lines:
        state = fold(state, draft, heard, MARGIN)
    assert state is not None
    return state


def seconds(state: SessionState) -> list[tuple[float, float]]:
    """What is covered, in seconds since the beginning."""
    return [((each.start - ZERO).total_seconds(), (each.end - ZERO).total_seconds()) for each in covered(state, MARGIN)]


def broke(state: SessionState) -> list[tuple[float, str]]:
    return [((each.at - ZERO).total_seconds(), each.reason) for each in state.breaks]


START = (opening(0), subscribed(1), listed(3, 2))


def test_coverage_runs_from_the_subscription_to_a_margin_before_the_last_message() -> None:
    assert seconds(run(*START, message(10))) == [(1, 9)]


def test_nothing_counts_before_a_whole_list() -> None:
    state = run(opening(0), subscribed(1), message(10))
    assert seconds(state) == []
    assert settled(state, MARGIN) == at(1)


def test_a_list_counts_what_was_read_before_it_as_soon_as_its_moment_is_covered_itself() -> None:
    state = run(opening(0), subscribed(1), message(10), listed(11, 2))
    assert seconds(state) == []
    assert seconds(run(opening(0), subscribed(1), message(10), listed(11, 2), message(12))) == [(1, 11)]


@pytest.mark.parametrize(("requested", "counts"), [(0.999999, False), (1, True)])
def test_a_list_asked_for_before_the_confirmation_is_no_help(requested: float, counts: bool) -> None:
    assert bool(seconds(run(opening(0), subscribed(1), listed(3, requested), message(10)))) is counts


def test_a_list_before_the_subscription_is_no_help() -> None:
    assert seconds(run(opening(0), listed(0.5, 0.2), subscribed(1), message(10))) == []


def test_a_list_over_the_other_connection_does_not_prove_that_the_subscription_lives() -> None:
    assert seconds(run(*START, message(10), listed(60, 59))) == [(1, 9)]


def test_coverage_ends_with_the_session_a_margin_before_its_last_message() -> None:
    state = run(*START, message(10), closed(30, "silence"), message(40))
    assert seconds(state) == [(1, 9)]
    assert broke(state) == [(9, "silence")]
    assert (state.closed_at, state.reason, state.live) == (at(30), "silence", False)
    assert state.last_read == at(10)


def test_a_session_that_never_counted_breaks_at_its_subscription() -> None:
    assert broke(run(opening(0), subscribed(1), message(5), closed(6))) == [(1, "drop")]


def test_a_session_that_never_subscribed_breaks_nothing() -> None:
    state = run(opening(0), message(1), paused(9, 2), stepped(9, 9, 5), closed(10, "refused"))
    assert (seconds(state), broke(state), settled(state, MARGIN)) == ([], [], None)
    assert state.reason == "refused"


def test_a_list_that_came_over_the_other_connection_after_the_last_message_had_its_session_vouch_for_a_call() -> None:
    """Found by exploring (seeds 395, 417 and 773): a call went on when coverage began, and ended after the
    subscription's connection had died and before the list, which nobody heard."""
    assert seconds(run(opening(), subscribed(1), message(10), listed(20, 19), closed(21, "silence"))) == []
    assert seconds(run(opening(), subscribed(1), message(10), listed(20, 19), message(20.5), closed(21))) == []
    assert seconds(run(opening(), subscribed(1), message(10), listed(20, 19), message(21), closed(30))) == [(1, 20)]


def test_the_first_word_on_the_end_stands() -> None:
    assert run(*START, closed(30, "silence"), closed(40, "crash")).reason == "silence"


def test_a_second_confirmation_does_not_begin_anew() -> None:
    assert seconds(run(*START, subscribed(10))) == [(1, 9)]


def test_a_pause_interrupts_until_a_list_asked_for_afterwards() -> None:
    state = run(*START, message(10), paused(20, 11), message(21), listed(22, 19.9), message(23))
    assert seconds(state) == [(1, 9)]
    assert settled(state, MARGIN) == at(9)
    assert state.listed_at is None
    state = run(*START, message(10), paused(20, 11), message(21), listed(25, 20), message(30))
    assert seconds(state) == [(1, 9), (25, 29)]
    assert broke(state) == [(9, "pause")]


@pytest.mark.parametrize(("end", "interrupts"), [(12, False), (12.000001, True)])
def test_a_pause_no_longer_than_the_margin_is_none(end: float, interrupts: bool) -> None:
    assert (len(broke(run(*START, message(10), paused(end, 11)))) == 1) is interrupts


def test_what_was_read_after_the_pause_began_does_not_count_for_before() -> None:
    assert seconds(run(*START, message(10), message(19), paused(20, 11))) == [(1, 10)]


def test_a_pause_before_the_first_list_leaves_nothing_before_it_covered() -> None:
    state = run(opening(0), subscribed(1), paused(9, 2), listed(12, 10), message(20), closed(21))
    assert seconds(state) == [(12, 19)]
    assert broke(state) == [(1, "pause"), (19, "drop")]


def test_of_two_reasons_for_one_break_the_first_stands() -> None:
    assert broke(run(*START, message(10), paused(20, 11), paused(40, 30), closed(41))) == [(9, "pause")]


def test_a_piece_in_which_nothing_was_read_leaves_no_reason_of_its_own() -> None:
    state = run(*START, message(10), paused(20, 11), listed(22, 21), closed(23))
    assert seconds(state) == [(1, 9)]
    assert broke(state) == [(9, "pause")]


def test_a_clock_set_forward_is_an_interruption() -> None:
    state = run(*START, message(10), stepped(111, 11, 111), listed(112, 10.9), message(113))
    assert seconds(state) == [(1, 9)]
    state = run(*START, message(10), stepped(111, 11, 111), listed(115, 112), message(120))
    assert seconds(state) == [(1, 9), (115, 119)]
    assert broke(state) == [(9, "clock")]


@pytest.mark.parametrize("step", [1, -1, 0.2])
def test_a_clock_corrected_by_a_second_or_less_changes_nothing(step: float) -> None:
    state = run(*START, message(10))
    assert fold(state, stepped(11, 11, 11 + step)[0], None, MARGIN) == state


def test_a_clock_set_back_withdraws_what_was_covered_after() -> None:
    """After the step the journal's times stand still at 100 until the clock has caught up."""
    state = run(*START, message(100), stepped(100, 100, 50), listed(100, 51), message(100))
    assert seconds(state) == [(1, 50)]
    assert broke(state) == [(50, "clock")]
    state = run(*START, message(100), stepped(100, 100, 50), listed(100, 51), message(140))
    assert seconds(state) == [(1, 50), (100, 139)]


def test_a_clock_set_back_to_before_the_session_leaves_nothing_of_it() -> None:
    state = run(*START, message(100), paused(110, 101), listed(112, 111), message(120), stepped(120, 120, 0.5))
    assert (seconds(state), broke(state)) == ([], [(1, "clock")])


def test_a_clock_set_back_withdraws_from_sessions_that_have_ended() -> None:
    ended = run(*START, message(100), closed(101))
    state = withdrawn(ended, at(50), MARGIN)
    assert (seconds(state), broke(state)) == ([(1, 50)], [(50, "clock")])
    assert (state.closed_at, state.reason) == (ended.closed_at, "drop")
    assert withdrawn(ended, at(99), MARGIN) == ended


def test_a_pause_in_which_the_clock_was_set_back_still_wants_a_list_asked_for_after_it() -> None:
    state = run(*START, message(10), paused(70, 10), stepped(70.1, 70, -20), listed(71, 9), message(75))
    assert seconds(state) == []
    state = run(*START, message(10), paused(70, 10), stepped(70.1, 70, 5), listed(71, 9), message(75), listed(80, 75))
    assert seconds(replace(state, last_read=at(90))) == [(1, 5), (80, 89)]


def heard_of(number: int, last: float, booted: float = -100, boot: str = "b") -> SessionState:
    """A session that ended after it had read from 1 to `last` seconds."""
    state = run(*START, message(last), closed(last))
    return replace(state, id=UUID(int=number), readings=(Reading(at(0), boot, at(booted)),), reading_at=at(0))


def reading(booted: float, boot: str | None = "b", now: float = 500) -> Reading:
    return Reading(at(now), boot, at(booted))


def told(entry: Line, booted: float, now: float, seen: float | None = None) -> Draft:
    """The line with what the machine's clocks said."""
    clocks = {"boot": "b", "booted_at": at(booted).isoformat(), "now": at(now).isoformat()}
    clocks |= {} if seen is None else {"seen": at(seen).isoformat()}
    return replace(entry[0], note={**entry[0].note, **clocks})


def test_a_session_remembers_what_it_told_of_its_machines_clock() -> None:
    state = opened(told(opening(0), -100, 0))
    assert state.readings == (Reading(at(0), "b", at(-100)),)
    state = some(fold(state, told(stepped(5, 5, -5), -110, -4, 4.9), None, MARGIN))
    assert state.readings == (Reading(at(0), "b", at(-100)), Reading(at(-4), "b", at(-110), at(4.9)))
    assert state.reading_at == at(5)
    assert load(json.loads(json.dumps(dump(state)))) == state


def test_a_clock_set_back_while_nobody_ran_makes_doubtful_what_comes_again() -> None:
    """Set back by 30 seconds at some moment after second 80: from second 50 on all may come again."""
    found = comes_again([heard_of(1, 40), heard_of(2, 80)], reading(-130))
    assert found == {UUID(int=1): since(50), UUID(int=2): since(50)}


@pytest.mark.parametrize("booted", [-100, -101, -60])
def test_a_clock_that_was_not_set_back_makes_nothing_doubtful(booted: float) -> None:
    assert comes_again([heard_of(1, 80)], reading(booted)) == {}


def test_of_other_machines_and_earlier_starts_nothing_is_known() -> None:
    others = [heard_of(1, 80, boot="another"), replace(heard_of(2, 80), readings=())]
    assert comes_again(others, reading(-130)) == {}
    assert comes_again([heard_of(1, 80)], reading(-130, boot=None)) == {}


def test_whoever_lives_since_the_clock_was_set_back_says_nothing_of_when_that_was() -> None:
    later = shifted(heard_of(2, 400), 51, -130)
    assert comes_again([heard_of(1, 80), later], reading(-130)) == {UUID(int=1): since(50)}


def test_a_clock_set_back_and_set_right_again_had_a_dead_session_vouch_for_what_came_again() -> None:
    """Found by a campaign: the dead session was not closed yet when the clock was wrong for three seconds. A living
    one saw it set back by 30 s at second 90, and set right at what was then second 63."""
    living = alive(2, told(opening(85), -100, 85), *set_back_and_right(90, 30, 93))
    assert comes_again([heard_of(1, 80), living], reading(-100)) == {UUID(int=1): span(at(60), at(63))}


def test_one_that_looks_late_at_the_clock_does_not_keep_what_came_again_from_being_found() -> None:
    """Stopped from second 10 to 250, while another lived from 20 to 80, and the clock was 60 s behind from 100 to
    200. The next that lives opens when all is right again."""
    dead = shifted(heard_of(1, 60), 20, -100)
    late = alive(2, told(opening(0), -100, 0), told(stepped(250, 250, -50), -160, 190, 10))
    assert comes_again([dead, late], reading(-160)) == {dead.id: since(20)}, "after its last word"
    exact = alive(3, told(opening(0), -100, 0), told(stepped(100, 100, 40), -160, 40, 100))
    assert comes_again([dead, late, exact], reading(-160)) == {dead.id: since(40)}, "nor does it make it more"


def test_only_what_came_again_is_taken_back_from_a_session_that_was_stopped_meanwhile() -> None:
    other = alive(2, told(opening(85), -100, 85), *set_back_and_right(90, 10, 93))
    found = comes_again([heard_of(1, 50_000), other], reading(-100))
    assert found == {UUID(int=1): span(at(80), at(83))}
    left = coverage.taken_back(heard_of(1, 50_000), found[UUID(int=1)])
    assert (seconds(left), broke(left)) == ([(1, 80), (83, 49_999)], [(80, "clock"), (49_999, "drop")])


@pytest.mark.parametrize(
    ("away", "left", "reasons"),
    [
        ((0, 2), [(2, 9), (20, 29)], [(0, "clock"), (9, "pause"), (29, "end")]),
        ((0, 15), [(20, 29)], [(0, "clock"), (29, "end")]),
        ((5, 25), [(1, 5), (25, 29)], [(5, "clock"), (29, "end")]),
        ((25, 99), [(1, 9), (20, 25)], [(9, "pause"), (25, "clock")]),
        ((0, 99), [], [(0, "clock")]),
        ((9, 20), [(1, 9), (20, 29)], [(9, "pause"), (29, "end")]),
    ],
)
def test_every_piece_that_is_left_says_why_it_ends(
    away: tuple[float, float], left: list[tuple[float, float]], reasons: list[tuple[float, str]]
) -> None:
    state = run(*START, message(10), paused(20, 11), listed(20, 20), message(30), closed(31, "end"))
    found = coverage.taken_back(replace(state, subscribed_at=at(0)), span(at(away[0]), at(away[1])))
    assert (seconds(found), broke(found)) == (left, reasons)


def test_a_session_knows_of_a_step_that_it_or_a_later_one_has_told() -> None:
    step = told(stepped(200, 200, 170), -130, 170, 200)
    assert not coverage.knows(heard_of(1, 80), step)
    assert not coverage.knows(replace(heard_of(1, 80), readings=()), step)
    assert coverage.knows(shifted(heard_of(1, 80), 100, -130), step)
    assert coverage.knows(shifted(heard_of(1, 80), 100, -140), step)


def test_the_clock_was_set_back_before_the_dead_session_began() -> None:
    low = shifted(heard_of(1, 40), 0, -130)
    assert comes_again([low, shifted(heard_of(2, 80), 100, -100)], reading(-100)) == {}


def test_the_time_of_the_journal_that_stands_still_is_no_sign_of_life() -> None:
    """Set back by 60 s at second 90, dead soon after it, though its journal stamped second 90; then set back by
    another 10 s."""
    state = opened(told(opening(0), -100, 0))
    state = some(fold(state, told(stepped(90, 90, 30), -160, 30, 90), None, MARGIN))
    dead = coverage.closed(replace(state, subscribed_at=at(1), last_read=at(90)), at(90), "crash", MARGIN)
    assert comes_again([dead], reading(-170)) == {dead.id: since(20)}


@pytest.mark.slow
@given(st.lists(st.tuples(st.floats(2, 300), st.floats(-60, 60)), min_size=1, max_size=6), st.integers(0, 6))
def test_no_session_vouches_for_a_time_that_came_after_it(steps: list[tuple[float, float]], late: int) -> None:
    """Sessions follow each other, and between any two of them the clock is set: what the archive holds each to covers
    no moment that the clock showed once more while a later one lived; also where the first of them are known to
    have ended only at the last."""
    true, ahead, states, showed = 0.0, 0.0, [], []
    for number, (length, step) in enumerate(steps):
        session = shifted(heard_of(number, length), true + ahead, booted=-100 + ahead)
        showed.append((true, span(at(true + ahead) + CLOCK_STEP, at(true + ahead + length))))
        states.append((session, true + length))
        true, ahead = true + length + 10, ahead + step
        if number >= late:
            states = held_to(states, Reading(at(true + ahead), "b", at(-100 + ahead)))
    showed.append((true, since(true + ahead + 1)))
    states = held_to(states, Reading(at(true + ahead), "b", at(-100 + ahead)))
    for state, ended in states:
        assert [shown for moment, shown in showed if moment > ended and intersect(state.coverage, shown)] == []


def held_to(states: list[tuple[SessionState, float]], now: Reading) -> list[tuple[SessionState, float]]:
    again = comes_again([each for each, _ in states], now)
    return [(coverage.taken_back(each, again.get(each.id, ())), ended) for each, ended in states]


def since(second: float) -> Spans:
    return span(at(second), FOREVER)


def alive(number: int, first: Draft, *lines: Draft) -> SessionState:
    state = opened(first)
    for each in lines:
        state = some(fold(state, each, None, MARGIN))
    return replace(state, id=UUID(int=number))


def set_back_and_right(true: float, by: float, until: float) -> list[Draft]:
    """Set back by so many seconds, from one moment to another."""
    back = told(stepped(true, true, true - by), -100 - by, true - by, true)
    return [back, told(stepped(until, until - by, until), -100, until, until - by)]


def shifted(state: SessionState, by: float, booted: float) -> SessionState:
    """The same session, at another time."""
    later = timedelta(seconds=by)
    return replace(
        state,
        opened_at=state.opened_at + later,
        subscribed_at=some(state.subscribed_at) + later,
        last_read=some(state.last_read) + later,
        coverage=tuple(Interval(each.start + later, each.end + later) for each in state.coverage),
        breaks=(),
        readings=(Reading(at(by), "b", at(booted)),),
        reading_at=at(by),
    )


def test_a_session_without_a_known_opening_covers_nothing() -> None:
    for draft, heard in (subscribed(1), listed(3, 2), message(10), closed(11)):
        assert fold(None, draft, heard, MARGIN) is None


def test_an_opening_tells_worker_and_filter() -> None:
    state = opened(opening(0, ["1001", "1000"])[0])
    assert (state.id, state.recorder, state.worker) == (SESSION, "ny-1", "w")
    assert (state.extensions, state.opened_at) == (("1001", "1000"), at(0))


@pytest.mark.parametrize("what", [What.PAUSED, What.STEPPED])
@pytest.mark.parametrize("moment", ["", "soon", "2024-01-01T00:00:05"])
def test_an_interruption_that_cannot_be_read_is_taken_for_the_worst(what: What, moment: str) -> None:
    state = run(*START, message(10), line(11, what, None, **{"from": moment, "to": moment}), message(12))
    assert seconds(state) == []


def behind(second: float) -> Line:
    return line(second, What.DOCUMENT, Message(), behind=True)


def test_a_message_read_seconds_late_before_a_reset_had_its_session_vouch_for_what_was_lost() -> None:
    """The reader was starved: what it read last had been sent long before, and what was sent then was lost unread."""
    assert seconds(run(*START, message(10), behind(15), behind(20), closed(20))) == [(1, 9)]


def test_whoever_has_caught_up_has_heard_everything_in_between() -> None:
    state = run(*START, message(10), behind(15), behind(20))
    assert settled(state, MARGIN) == at(9), "pending meanwhile"
    assert seconds(run(*START, message(10), behind(15), behind(20), message(21))) == [(1, 20)]


def test_bytes_that_were_rejected_prove_nothing() -> None:
    state = run(*START, message(10))
    assert fold(state, line(20, What.REJECTED)[0], None, MARGIN) == state
    assert fold(state, line(20, What.DOCUMENT)[0], None, MARGIN) == state


EVENTS = ["message", "listed", "stale", "paused", "forward", "back", "closed", "subscribed"]


@st.composite
def sessions(draw: st.DrawFn) -> list[Line]:
    """The lines of any session, as a worker would write them: times never go back."""
    now = 0.0
    lines = [opening(0), *draw(st.sampled_from([(), (subscribed(0),), (subscribed(0), listed(0, 0))]))]
    for event in draw(st.lists(st.sampled_from(EVENTS), max_size=12)):
        before, now = now, now + draw(st.sampled_from([0.0, 0.5, 1.0, 5.0, 30.0]))
        asked = draw(st.floats(0, now))
        lines.append(
            {
                "message": message(now),
                "listed": listed(now, now),
                "stale": listed(now, asked),
                "paused": paused(now, before),
                "forward": stepped(now, before, now),
                "back": stepped(now, now, asked),
                "closed": closed(now),
                "subscribed": subscribed(now),
            }[event]
        )
    return lines


@pytest.mark.slow
@given(sessions())
def test_pieces_are_disjoint_and_lie_between_subscription_and_last_message(lines: list[Line]) -> None:
    state = run(*lines)
    pieces = covered(state, MARGIN)
    assert all(one.end <= next_.start for one, next_ in pairwise(pieces))
    if pieces:
        assert state.subscribed_at is not None
        assert state.last_read is not None
        assert state.subscribed_at <= pieces[0].start
        assert pieces[-1].end <= state.last_read - MARGIN


@pytest.mark.slow
@given(sessions())
def test_only_a_clock_set_back_takes_coverage_away_and_only_after_its_new_time(lines: list[Line]) -> None:
    for earlier, later in pairwise(range(1, len(lines) + 1)):
        draft = lines[later - 1][0]
        before, after = run(*lines[:earlier]), run(*lines[:later])
        back = draft.what is What.STEPPED and str(draft.note["to"]) < str(draft.note["from"])
        limit = datetime.fromisoformat(str(draft.note["to"])) if back else at(10**6)
        kept = [each for each in covered(before, MARGIN) if each.end <= limit]
        assert all(any(old.start == new.start and old.end <= new.end for new in covered(after, MARGIN)) for old in kept)


@pytest.mark.slow
@given(sessions())
def test_every_interruption_and_the_end_leave_their_reason(lines: list[Line]) -> None:
    state = run(*lines)
    ends = [each.end for each in state.coverage]
    assert [each for each in ends if each not in {each.at for each in state.breaks}] == []
    assert sorted(state.breaks, key=lambda each: each.at) == list(state.breaks)
    if state.subscribed_at and not state.live:
        assert state.breaks[-1].at == settled(state, MARGIN)


@pytest.mark.slow
@given(sessions(), st.integers(0, 12))
def test_a_restart_anywhere_goes_on_from_the_stored_state(lines: list[Line], cut: int) -> None:
    state = run(*lines[: cut + 1])
    again = load(json.loads(json.dumps(dump(state))))
    assert again == state
    for draft, heard in lines[cut + 1 :]:
        folded = fold(again, draft, heard, MARGIN)
        assert folded is not None
        again = folded
    assert again == run(*lines)


@pytest.mark.parametrize("key", ["id", "opened_at", "coverage", "breaks"])
def test_a_stored_state_that_cannot_be_read_is_said(key: str) -> None:
    dumped = dump(run(*START, message(10), closed(11)))
    with pytest.raises(CdrError, match="can't be read"):
        load({**dumped, key: [["x"]]})
    del dumped[key]
    with pytest.raises(CdrError, match="can't be read"):
        load(dumped)
