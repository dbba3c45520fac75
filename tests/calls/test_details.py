"""Which detail is asked for and when, in virtual time."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from etl.calls.details import Details, Outcome, Purpose, Request, Sequel

GIVE_UP, REFETCH_AFTER = 600.0, 60.0
UNANSWERED = [Outcome.UNFINISHED, Outcome.UNKNOWN, Outcome.FAILED, Outcome.TIMEOUT]


def scheduler(concurrency: int = 8, limit: int = 1000) -> Details:
    return Details(concurrency=concurrency, give_up=GIVE_UP, refetch_after=REFETCH_AFTER, limit=limit)


def asked(requests: Sequence[Request]) -> list[tuple[str, str]]:
    return [(request.call_id, request.purpose.value) for request in requests]


def drive(details: Details, answers: Sequence[Outcome], now: float = 0.0) -> list[tuple[float, Purpose]]:
    """Answers every request at once, with the last answer for ever; returns when what was asked."""
    asked: list[tuple[float, Purpose]] = []
    while (at := details.next_at()) is not None:
        now = max(now, at)
        for request in details.due(now):
            asked.append((now, request.purpose))
            details.answered(request.call_id, answers[min(len(asked), len(answers)) - 1], now)
        assert len(asked) < 100
    return asked


def test_an_ended_call_is_asked_for_at_once() -> None:
    details = scheduler()
    details.ended("a", 5.0)
    assert details.next_at() == 5.0
    assert asked(details.due(5.0)) == [("a", "end")]


def test_the_first_finished_record_is_asked_for_once_more() -> None:
    details = scheduler()
    details.ended("a", 0.0)
    assert drive(details, [Outcome.FINISHED]) == [(0.0, Purpose.END), (60.0, Purpose.REFETCH)]
    assert len(details) == 0


@pytest.mark.parametrize("outcome", UNANSWERED)
def test_without_a_finished_record_it_is_asked_again_at_growing_pauses_until_given_up(outcome: Outcome) -> None:
    details = scheduler()
    details.ended("a", 0.0)
    times = drive(details, [outcome])
    assert [at for at, _ in times] == [0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 600]
    assert [purpose for _, purpose in times] == [Purpose.END] * 10 + [Purpose.LAST]
    assert len(details) == 0


def test_a_finished_record_wins_over_any_number_of_unknowns() -> None:
    details = scheduler()
    details.ended("a", 0.0)
    answers = [Outcome.UNKNOWN, Outcome.UNFINISHED, Outcome.FINISHED]
    assert drive(details, answers) == [(0, Purpose.END), (1, Purpose.END), (3, Purpose.END), (63, Purpose.REFETCH)]


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.TIMEOUT, Outcome.UNFINISHED])
def test_a_second_look_that_fails_is_tried_again_within_the_same_bound(outcome: Outcome) -> None:
    details = scheduler()
    details.ended("a", 0.0)
    times = [at for at, _ in drive(details, [Outcome.FINISHED, outcome])]
    assert times == [0, *(60.0 + at for at in (0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 600))]


def test_a_call_unknown_at_the_second_look_is_left_alone() -> None:
    details = scheduler()
    details.ended("a", 0.0)
    assert len(drive(details, [Outcome.FINISHED, Outcome.UNKNOWN])) == 2


def test_what_follows_is_told() -> None:
    details = scheduler()
    details.ended("a", 0.0)
    details.due(0.0)
    assert details.answered("a", Outcome.UNKNOWN, 0.0) is Sequel.RETRY
    details.due(1.0)
    assert details.answered("a", Outcome.FINISHED, 1.0) is Sequel.REFETCH
    details.due(61.0)
    assert details.answered("a", Outcome.FINISHED, 61.0) is Sequel.DONE
    details.resume_end("b", -1000.0)
    details.due(62.0)
    assert details.answered("b", Outcome.UNKNOWN, 62.0) is Sequel.GIVEN_UP


def test_a_second_end_of_a_call_in_hand_asks_nothing_more() -> None:
    details = scheduler()
    details.ended("a", 0.0)
    details.ended("a", 0.0)
    assert asked(details.due(0.0)) == [("a", "end")]
    details.ended("a", 0.1)
    assert details.due(0.1) == []
    details.answered("a", Outcome.FAILED, 0.2)
    details.ended("a", 0.3)
    assert details.due(0.3) == []
    assert asked(details.due(1.2)) == [("a", "end")]


def test_an_answer_to_nothing_is_an_error_of_the_caller() -> None:
    details = scheduler()
    details.ended("a", 0.0)
    with pytest.raises(KeyError):
        details.answered("a", Outcome.FINISHED, 0.0)


def test_fresh_ends_go_before_retries_before_second_looks() -> None:
    details = scheduler(concurrency=1)
    details.resume_refetch("refetch", -1000.0)
    details.resume_end("retry", -10.0)
    details.ended("fresh", 5.0)
    order = []
    for _ in range(3):
        (request,) = details.due(5.0)
        order.append(request.call_id)
        details.answered(request.call_id, Outcome.FAILED, 5.0)
    assert order == ["fresh", "retry", "refetch"]


def test_a_call_that_ended_long_before_the_restart_is_asked_for_one_last_time() -> None:
    details = scheduler()
    details.resume_end("a", -5000.0)
    assert drive(details, [Outcome.UNKNOWN]) == [(0.0, Purpose.LAST)]


def test_a_second_look_survives_a_restart() -> None:
    details = scheduler()
    details.resume_refetch("a", -20.0)
    assert drive(details, [Outcome.FINISHED]) == [(40.0, Purpose.REFETCH)]


def test_while_all_places_are_taken_nothing_is_due() -> None:
    details = scheduler(concurrency=1)
    details.ended("a", 0.0)
    details.ended("b", 0.0)
    assert asked(details.due(0.0)) == [("a", "end")]
    assert details.next_at() is None
    details.answered("a", Outcome.FAILED, 0.5)
    assert details.next_at() == 0.0


def test_beyond_its_limit_a_call_is_refused_and_said_so() -> None:
    details = scheduler(limit=1)
    assert details.ended("a", 0.0)
    assert details.ended("a", 0.0)
    assert not details.ended("b", 0.0)
    assert not details.resume_end("b", 0.0)
    drive(details, [Outcome.FINISHED])
    assert details.ended("b", 100.0)


@given(st.lists(st.sampled_from(list(Outcome)), min_size=1, max_size=30))
def test_every_call_comes_to_an_end(answers: list[Outcome]) -> None:
    details = scheduler()
    details.ended("a", 0.0)
    times = drive(details, answers)
    assert times[-1][0] <= 2 * GIVE_UP + REFETCH_AFTER
    assert len(details) == 0


class Model(RuleBasedStateMachine):
    """Any interleaving of ends, answers and passing time against what the rules promise."""

    calls = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.details = scheduler(concurrency=3)
        self.now = 0.0
        self.flying: dict[str, Purpose] = {}
        self.not_before: dict[str, float] = {}
        self.ended_at: dict[str, float] = {}
        self.attempts: dict[str, int] = {}
        self.finished: set[str] = set()

    @rule(target=calls, call_id=st.sampled_from("abcdef"))
    def end(self, call_id: str) -> str:
        assert self.details.ended(call_id, self.now)
        if call_id not in self.ended_at:
            self.ended_at[call_id] = self.not_before[call_id] = self.now
            self.attempts[call_id] = 0
        return call_id

    @rule(seconds=st.sampled_from([0.0, 0.25, 1.0, 8.0, 60.0, 700.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def ask(self) -> None:
        requests = self.details.due(self.now)
        free = 3 - len(self.flying)
        ripe = [each for each, when in self.not_before.items() if when <= self.now and each not in self.flying]
        assert len(requests) == min(free, len(ripe))
        for request in requests:
            assert request.call_id in ripe
            assert (request.purpose is Purpose.REFETCH) == (request.call_id in self.finished)
            if request.purpose is not Purpose.REFETCH:
                late = self.now >= self.ended_at[request.call_id] + GIVE_UP
                assert (request.purpose is Purpose.LAST) == late
            self.flying[request.call_id] = request.purpose
            self.attempts[request.call_id] += 1

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), outcome=st.sampled_from(list(Outcome)))
    def answer(self, data: st.DataObject, outcome: Outcome) -> None:
        call_id = data.draw(st.sampled_from(sorted(self.flying)))
        purpose = self.flying.pop(call_id)
        sequel = self.details.answered(call_id, outcome, self.now)
        if sequel in (Sequel.DONE, Sequel.GIVEN_UP):
            self._forget(call_id, purpose, outcome, sequel)
        elif sequel is Sequel.REFETCH:
            assert purpose is not Purpose.REFETCH
            assert outcome is Outcome.FINISHED
            self.finished.add(call_id)
            self.not_before[call_id] = self.now + REFETCH_AFTER
            self.ended_at[call_id] = self.now + REFETCH_AFTER
            self.attempts[call_id] = 0
        else:
            assert outcome is not Outcome.FINISHED
            pause = 2.0 ** (self.attempts[call_id] - 1)
            deadline = self.ended_at[call_id] + GIVE_UP
            assert purpose is not Purpose.LAST
            self.not_before[call_id] = max(self.now, min(self.now + pause, deadline))

    def _forget(self, call_id: str, purpose: Purpose, outcome: Outcome, sequel: Sequel) -> None:
        if sequel is Sequel.DONE:
            assert purpose is Purpose.REFETCH
            assert outcome in (Outcome.FINISHED, Outcome.UNKNOWN)
        else:
            assert outcome is not Outcome.FINISHED
            assert self.now >= self.ended_at[call_id] + GIVE_UP
        for known in (self.not_before, self.ended_at, self.attempts):
            del known[call_id]
        self.finished.discard(call_id)

    @invariant()
    def knows_what_is_in_hand_and_when_to_come_back(self) -> None:
        assert len(self.details) == len(self.ended_at)
        waiting = [when for each, when in self.not_before.items() if each not in self.flying]
        full = len(self.flying) >= 3
        assert self.details.next_at() == (None if full else min(waiting, default=None))


TestModel = pytest.mark.slow(Model.TestCase)
