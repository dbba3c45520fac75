"""What a list of the calls being recorded says about the calls we hold: a plan, as a tuple of actions.

Section 7 of the contract, rules (a) to (d). Pure: `--dry-run` prints the very object that a run executes. No call is
ended by absence alone, and a list that is not understood never gets here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from etl.calls.details import Outcome
from etl.model import State


class Act(StrEnum):
    """What is to be done about a call."""

    STORE = "store"
    """It is listed and new to us, or was given up for lost: the sighting is a fact."""
    ASK = "ask"
    """Ask the recorder for its detail."""
    ABSENT = "absent"
    """The recorder neither lists nor knows it: store that as a fact."""
    REPORT = "report"
    """List, record and archive contradict each other: change nothing, say so."""


class Rule(StrEnum):
    """Which rule an action follows from."""

    MISSED_START = "a"
    MISSED_END = "b"
    STILL_LISTED = "c"
    NO_RECORD = "d"


@dataclass(frozen=True, slots=True)
class Stored:
    """A call of the recorder as it is stored. `end_seen_at`: when its end was first heard of, None if never.
    `only_listed`: nothing but lists has shown it."""

    call_id: str
    state: State
    first_seen_at: datetime
    end_seen_at: datetime | None = None
    only_listed: bool = False


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do; `told` says why, for people."""

    act: Act
    rule: Rule
    call_id: str
    told: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What follows from one list of one recorder, asked for at `asked_at` (UTC)."""

    recorder: str
    asked_at: datetime
    listed: int
    actions: tuple[Action, ...]

    def asks(self) -> tuple[Action, ...]:
        """The calls whose detail is to be asked for."""
        return tuple(action for action in self.actions if action.act is Act.ASK)


def plan(
    recorder: str,
    asked_at: datetime,
    listed: Collection[str],
    stored: Iterable[Stored],
    *,
    outside: Collection[str] = (),
) -> Plan:
    """Compare a whole list with what is stored of its recorder.

    `listed` are the canonical ids of all listed calls; `outside` those of them that match none of our extensions:
    they are not stored, but they are not absent either. `stored` must hold every call of the recorder that is not
    `complete`, and every listed call that is stored at all; whether this very list is stored already does not matter.
    Actions come in the order of their call ids, so equal input gives an equal plan.
    """
    known = {call.call_id: call for call in stored}
    ids = set(listed)
    found = [_of_listed(call_id, known.get(call_id), asked_at, call_id in outside) for call_id in ids]
    found += [_of_unlisted(call, asked_at) for call in known.values() if call.call_id not in ids]
    actions = sorted((action for action in found if action is not None), key=lambda action: action.call_id)
    return Plan(recorder, asked_at, len(ids), tuple(actions))


def _of_listed(call_id: str, call: Stored | None, asked_at: datetime, outside: bool) -> Action | None:
    if call is None or (call.only_listed and call.first_seen_at >= asked_at):
        return None if outside else Action(Act.STORE, Rule.MISSED_START, call_id, "listed, and its start was missed")
    if call.state is State.LOST:
        return Action(Act.STORE, Rule.MISSED_START, call_id, "listed, though it had been taken for lost")
    if call.end_seen_at is not None and call.end_seen_at < asked_at:
        return Action(Act.REPORT, Rule.STILL_LISTED, call_id, f"still listed, though it is {call.state} with us")
    return None


def _of_unlisted(call: Stored, asked_at: datetime) -> Action | None:
    """A call that was first seen after the question may have begun after the answer: nothing follows for it."""
    if call.state is State.ONGOING and call.first_seen_at < asked_at:
        return Action(Act.ASK, Rule.MISSED_END, call.call_id, "ongoing with us, but not listed: its end was missed")
    if call.state is State.ENDED:
        return Action(Act.ASK, Rule.NO_RECORD, call.call_id, "ended, and its record is missing")
    return None


def wants_second_list(plan: Plan, outcomes: Mapping[str, Outcome]) -> bool:
    """Whether an ongoing call is unknown to the recorder: only a second list can say that it is absent."""
    return any(
        action.rule is Rule.MISSED_END and outcomes.get(action.call_id) is Outcome.UNKNOWN for action in plan.asks()
    )


def conclude(
    plan: Plan, outcomes: Mapping[str, Outcome], second: Collection[str] | None, final: Collection[str] = ()
) -> tuple[Action, ...]:
    """What follows from the answers to a plan's questions.

    `outcomes` by call id; what is missing there was not answered. `second` are the ids of a second good list, asked
    for at least a second after the first, None without one. `final`: calls without a record that have been asked for
    long enough, so that "unknown" is the last word.
    """
    found = (_concluded(action, outcomes.get(action.call_id), second, final) for action in plan.asks())
    return tuple(action for action in found if action is not None)


def _concluded(
    action: Action, outcome: Outcome | None, second: Collection[str] | None, final: Collection[str]
) -> Action | None:
    call_id, rule = action.call_id, action.rule
    if rule is Rule.MISSED_END and outcome is Outcome.UNFINISHED:
        return Action(Act.REPORT, rule, call_id, "not listed, but its record says that it goes on")
    if outcome is not Outcome.UNKNOWN:
        return None
    if second is not None and call_id in second:
        return Action(Act.REPORT, rule, call_id, "unknown to the recorder, yet in its second list")
    if rule is Rule.NO_RECORD:
        told = "ended, and the recorder does not know it any more"
        return Action(Act.ABSENT, rule, call_id, told) if call_id in final else None
    if second is None:
        return None
    return Action(Act.ABSENT, rule, call_id, "in neither of two lists, and the recorder does not know it")
