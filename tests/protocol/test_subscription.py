"""The subscription's state machine: its table, the 1.5 rule, probes, and our own pauses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.model import Asked, Kind
from etl.protocol.dialect import Dialect
from etl.protocol.documents import parse
from etl.protocol.messages import KeepAlive, Message, Notification, Unplaced, read
from etl.protocol.subscription import (
    PATIENCE,
    TRANSITIONS,
    Alive,
    Confirmed,
    Dead,
    Event,
    Happening,
    ProtocolError,
    Refused,
    State,
    Stray,
    Subscription,
)

PROBE_EVERY, TIMEOUT = 30.0, 10.0


def answer(request_id: int | str, body: str = "", code: int = 0) -> Message:
    xml = f"<VerbaApi><Response code='{code}'><Request id='{request_id}'/>{body}</Response></VerbaApi>"
    return read(parse(xml.encode()), Dialect())[0]


NOTE = Notification(Kind.END, (), ())
CONFIRM = answer(1)
ANNOUNCE = answer(1, "<Keepalive time='10'/>")
REFUSE = answer(1, "<ErrorMessage>no licence</ErrorMessage>", code=5)


def subscription(*first: Message) -> Subscription:
    made = Subscription((), Dialect(), probe_every=PROBE_EVERY, request_timeout=TIMEOUT)
    made.start(0.0)
    for message in first:
        made.message(message, 0.0)
    return made


def test_the_subscribe_request_is_sent_first_and_once() -> None:
    made = Subscription(["1000"], Dialect(), probe_every=PROBE_EVERY, request_timeout=TIMEOUT)
    assert b'type="SubscribeOnCallEvent" id="1"><Extension number="1000"/>' in made.start(0.0)
    with pytest.raises(ProtocolError, match='"subscribing" does not know the event "start"'):
        made.start(0.0)


def test_a_message_before_the_start_is_a_mistake_of_ours() -> None:
    made = Subscription((), Dialect(), probe_every=PROBE_EVERY, request_timeout=TIMEOUT)
    assert made.deadline() is None
    with pytest.raises(ProtocolError, match='"new" does not know the event "keep-alive"'):
        made.message(KeepAlive(1.0), 0.0)


def test_the_table_knows_every_message_in_every_state_once_started() -> None:
    messages = set(Happening) - {Happening.START, Happening.DUE}
    for state in set(State) - {State.NEW}:
        assert messages <= {happening for before, happening in TRANSITIONS if before is state}, state
    assert {before for before, happening in TRANSITIONS if happening is Happening.DUE} == set(State) - {
        State.NEW,
        State.CLOSED,
    }
    assert {after for (before, _), after in TRANSITIONS.items() if before is State.CLOSED} == {State.CLOSED}
    assert not [before for (before, _), after in TRANSITIONS.items() if after is State.NEW]


def test_the_response_is_awaited_for_the_request_timeout_whatever_else_arrives() -> None:
    made = subscription(NOTE, KeepAlive(100.0))
    assert made.deadline() == TIMEOUT
    assert made.tick(TIMEOUT - 0.1) == (None, None)
    assert made.tick(TIMEOUT) == (None, Dead("the subscription was not answered within 10 s"))
    assert made.state is State.CLOSED
    assert made.deadline() is None
    assert not made.confirmed


def test_the_first_confirmation_is_told_and_the_second_is_not() -> None:
    made = subscription()
    assert made.message(ANNOUNCE, 1.0) == [Confirmed(10.0)]
    assert made.confirmed
    assert made.message(ANNOUNCE, 2.0) == []
    assert made.deadline() == 2.0 + PATIENCE * 10
    assert made.message(CONFIRM, 3.0) == []
    assert made.deadline() == 2.0 + PATIENCE * 10


@pytest.mark.parametrize("before", [(), (ANNOUNCE,), (CONFIRM,)])
def test_a_refusal_ends_the_subscription_at_any_time(before: tuple[Message, ...]) -> None:
    made = subscription(*before)
    assert made.message(REFUSE, 1.0) == [Refused("5", "no licence")]
    assert made.state is State.CLOSED
    assert made.message(REFUSE, 1.0) == made.message(NOTE, 1.0) == made.message(CONFIRM, 1.0) == []


def test_each_keepalive_announces_the_next_and_one_and_a_half_intervals_are_the_end() -> None:
    made = subscription(ANNOUNCE)
    assert made.deadline() == 15.0
    assert made.message(KeepAlive(4.0), 14.9) == [Alive()]
    assert made.deadline() == 14.9 + 6.0
    assert made.tick(20.8) == (None, None)
    assert made.tick(20.9) == (None, Dead("no keep-alive within 1.5 times the announced 4 s"))


def test_where_keepalives_are_announced_nothing_else_takes_their_place() -> None:
    made = subscription(ANNOUNCE)
    assert made.message(NOTE, 14.0) == []
    assert made.message(Unplaced("bad_keepalive", "abc"), 14.0) == []
    assert made.tick(15.0)[1] is not None


def test_without_keepalive_a_probe_is_sent_and_its_answer_even_a_failure_is_life() -> None:
    made = subscription(CONFIRM)
    assert made.deadline() == PROBE_EVERY
    sent, event = made.tick(PROBE_EVERY)
    assert event is None
    assert sent is not None
    assert b'type="GetCallList" id="2"' in sent
    assert made.asked("2") is Asked.PROBE
    assert made.deadline() == PROBE_EVERY + TIMEOUT
    assert made.message(answer(2, code=9), 35.0) == [Alive()]
    assert made.deadline() == 35.0 + PROBE_EVERY


def test_a_notification_after_the_probe_is_life_too_and_the_late_answer_is_no_stray() -> None:
    made = subscription(CONFIRM)
    made.tick(PROBE_EVERY)
    assert made.message(NOTE, 31.0) == [Alive()]
    assert made.message(answer(2), 32.0) == []
    assert made.state is State.QUIET


def test_a_probe_without_any_sign_of_life_is_the_end() -> None:
    made = subscription(CONFIRM)
    made.tick(PROBE_EVERY)
    assert made.tick(PROBE_EVERY + TIMEOUT) == (None, Dead("the probe was not answered within 10 s"))


def test_keepalives_that_come_unannounced_put_the_rule_in_force() -> None:
    made = subscription(CONFIRM)
    assert made.message(KeepAlive(2.0), 5.0) == [Alive()]
    assert made.deadline() == 8.0


def test_after_a_pause_of_our_own_what_is_waiting_can_be_read_before_silence_is_judged() -> None:
    made = subscription(ANNOUNCE)
    made.resumed(3600.0)
    assert made.tick(3600.0) == (None, None)
    assert made.message(KeepAlive(10.0), 3600.1) == [Alive()]
    made.resumed(3600.2)
    assert made.deadline() == 3600.1 + 15.0
    silent = subscription(ANNOUNCE)
    silent.resumed(3600.0)
    assert isinstance(silent.tick(3600.0 + TIMEOUT)[1], Dead)


def test_a_pause_does_not_cost_a_probe_its_answer_and_does_not_wake_the_dead() -> None:
    made = subscription(CONFIRM)
    made.tick(PROBE_EVERY)
    made.resumed(500.0)
    assert made.deadline() == 500.0 + TIMEOUT
    assert made.tick(500.0 + TIMEOUT)[1] is not None
    made.resumed(900.0)
    assert made.deadline() is None


def test_an_answer_that_is_still_arriving_is_waited_for_but_a_keepalive_is_not() -> None:
    made = subscription()
    made.receiving(9.0)
    assert made.deadline() == 19.0
    made.message(ANNOUNCE, 9.0)
    made.receiving(20.0)
    assert made.deadline() == 24.0


@pytest.mark.parametrize("request_id", [None, "", "0", "2", "01", "x", "\uff19", "1" * 5000, "-1", "1.0"])
def test_a_response_to_nothing_asked_is_told_and_never_fatal(request_id: str | None) -> None:
    made = subscription(CONFIRM)
    assert made.asked(request_id) is None
    stray = answer(request_id or "", "<Call id='1'/>")
    assert made.message(stray, 1.0) == [Stray(request_id or None)]
    assert made.state is State.QUIET


messages = st.sampled_from(
    [NOTE, CONFIRM, ANNOUNCE, KeepAlive(3.0), answer(2), answer(3), answer(99), Unplaced("empty"), REFUSE]
)
actions = st.one_of(messages, st.sampled_from(["tick", "resumed", "receiving"]), st.floats(0.0, 40.0))


@given(st.lists(actions, max_size=60))
def test_any_course_of_events_keeps_the_machine_sound(course: list[Message | str | float]) -> None:
    """It ends at most once, confirms at most once, sends only probes, and always has a deadline until it has ended."""
    made, now = subscription(), 0.0
    events: list[Event] = []
    for action in course:
        if isinstance(action, float):
            now += action
        elif isinstance(action, str):
            events += perform(made, action, now)
        else:
            events += made.message(action, now)
        assert (made.state is State.CLOSED) == any(isinstance(event, Dead | Refused) for event in events)
        assert (made.deadline() is None) == (made.state is State.CLOSED)
    kinds = [type(event) for event in events]
    assert kinds.count(Dead) + kinds.count(Refused) <= 1
    assert kinds.count(Confirmed) == made.confirmed
    assert Alive not in kinds[: kinds.index(Confirmed)] if made.confirmed else Alive not in kinds


def perform(made: Subscription, action: str, now: float) -> list[Event]:
    if action != "tick":
        getattr(made, action)(now)
        return []
    due = (made.deadline() or now + 1) <= now
    sent, event = made.tick(now)
    assert due == (sent is not None or event is not None)
    assert sent is None or b"GetCallList" in sent
    return [event] if event else []
