"""Gaps: what no session covers, and why; checked moment by moment against the plain words of the law."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.calls import coverage
from etl.calls.coverage import Break, SessionState
from etl.calls.gaps import Gap, GapState, SessionSpan, classify, gaps, gaps_since, pending, session_span
from etl.model import Draft, Interval, Json, What

ZERO = datetime(2024, 1, 1, tzinfo=UTC)
NO_MARGIN = timedelta(0)
LAST = 60
"""Later than anything that happens in these tests, in seconds."""


def at(second: int) -> datetime:
    return ZERO + timedelta(seconds=second)


def piece(start: int, end: int) -> Interval:
    return Interval(at(start), at(end))


def ended(start: int, end: int, reason: str = "drop", extensions: Iterable[str] = ()) -> SessionSpan:
    """A session that covered all of its time."""
    return SessionSpan(at(start), (piece(start, end),), False, frozenset(extensions), (Break(at(end), reason),))


def live(start: int, upto: int | None = None, extensions: Iterable[str] = ()) -> SessionSpan:
    """A session that lives and has covered its time up to a moment, or nothing yet."""
    return SessionSpan(at(start), (piece(start, upto),) if upto else (), True, frozenset(extensions))


def shown(found: Iterable[Gap]) -> list[tuple[int, int | None, str]]:
    def second(moment: datetime) -> int:
        return (moment - ZERO) // timedelta(seconds=1)

    return [(second(gap.start), second(gap.end) if gap.end else None, gap.reason) for gap in found]


def test_without_a_subscription_there_is_no_gap() -> None:
    assert gaps([]) == ()
    assert pending([]) == ()


def test_time_begins_with_the_first_subscription() -> None:
    assert shown(gaps([live(5, 9)])) == []


def test_a_gap_lasts_from_the_end_of_one_session_to_the_beginning_of_the_next() -> None:
    assert shown(gaps([ended(0, 10, "silence"), live(15, 20)])) == [(10, 15, "silence")]


def test_without_a_live_session_the_last_gap_lasts() -> None:
    assert shown(gaps([ended(0, 10, "stop")])) == [(10, None, "stop")]


def test_while_a_session_lives_the_time_after_its_last_covered_moment_is_no_gap() -> None:
    sessions = [ended(0, 10), live(15)]
    assert shown(gaps(sessions)) == [(10, 15, "drop")]
    (span,) = pending(sessions)
    assert span.start == at(15)


def test_a_session_that_ends_without_a_list_makes_the_gap_before_it_longer() -> None:
    useless = SessionSpan(at(15), (), False, frozenset(), (Break(at(15), "crash"),))
    assert shown(gaps([ended(0, 10), useless])) == [(10, None, "drop")]


def test_two_sessions_cover_for_each_other() -> None:
    assert shown(gaps([ended(0, 10), ended(8, 20, "stop")])) == [(20, None, "stop")]


def test_of_two_coverages_that_end_together_the_first_to_subscribe_gives_the_reason() -> None:
    assert shown(gaps([ended(3, 10, "silence"), ended(0, 10, "stop")])) == [(10, None, "stop")]


def test_where_nothing_tells_sessions_apart_their_order_does_not_either() -> None:
    one, other = ended(0, 10, "drop"), ended(0, 10, "reset")
    assert gaps([one, other]) == gaps([other, one])


def test_a_pause_leaves_a_gap_of_its_own_reason() -> None:
    span = SessionSpan(at(0), (piece(0, 10), piece(20, 30)), True, frozenset(), (Break(at(10), "pause"),))
    assert shown(gaps([span])) == [(10, 20, "pause")]


def test_a_session_with_a_filter_does_not_stand_in_for_one_without() -> None:
    sessions = [ended(0, 10, "stop"), live(5, 30, ["1000"]), live(12, 30)]
    # From 5 on the filter in force is 1000, since that session subscribed last; from 12 on all calls.
    assert shown(gaps(sessions)) == []
    assert shown(gaps([live(0, 30, ["1000"]), ended(12, 20, "stop")])) == [(20, None, "stop")]


def test_a_wider_filter_stands_in_for_a_narrower_one() -> None:
    assert shown(gaps([live(0, 40, ["1", "2"]), ended(5, 10, "drop", ["1"])])) == []
    assert shown(gaps([live(0, 40), ended(5, 10, "drop", ["1"])])) == []
    assert shown(gaps([live(0, 40, ["1"]), ended(5, 10, "drop", ["1", "2"])])) == [(10, None, "drop")]


def test_a_gap_carries_the_filter_in_force() -> None:
    (gap,) = gaps([ended(0, 10, "drop", ["1", "2"])])
    assert gap.extensions == {"1", "2"}


def test_where_another_filter_comes_into_force_another_gap_begins_for_the_same_reason() -> None:
    useless = SessionSpan(at(15), (), False, frozenset(), (Break(at(15), "crash"),))
    first, second = gaps([ended(0, 10, "drop", ["1"]), useless])
    assert first == Gap(at(10), at(15), "drop", frozenset({"1"}))
    assert second == Gap(at(15), None, "drop", frozenset())


def test_a_session_that_never_subscribed_matters_to_no_gap() -> None:
    draft = Draft(at(0), "ny-1", UUID(int=1), What.OPENED, note={"worker": "w", "extensions": []})
    assert session_span(coverage.opened(draft), NO_MARGIN) is None


# Laws, over sessions as the fold leaves them


FILTERS: list[list[Json]] = [[], [], ["1"], ["2"], ["1", "2"]]


def _happen(state: SessionState, event: str, before: int, now: int) -> SessionState:
    if event == "read":
        return coverage.read(state, at(now))
    if event == "listed":
        return coverage.listed(state, at(now), at(now))
    if event == "paused":
        return coverage.paused(state, at(before), at(now), NO_MARGIN)
    return coverage.stepped(state, at(now), at(before), NO_MARGIN)


@st.composite
def spans(draw: st.DrawFn) -> SessionSpan:
    now = draw(st.integers(0, 30))
    note: dict[str, Json] = {"worker": "w", "extensions": draw(st.sampled_from(FILTERS))}
    state = coverage.opened(Draft(at(now), "ny-1", UUID(int=1), What.OPENED, note=note))
    state = coverage.subscribed(state, at(now))
    for event in draw(st.lists(st.sampled_from(["read", "read", "listed", "paused", "back"]), max_size=7)):
        before, now = now, now + draw(st.integers(0, 6))
        state = _happen(state, event, before, now)
    if draw(st.booleans()):
        state = coverage.closed(state, at(now), draw(st.sampled_from(["drop", "stop"])), NO_MARGIN)
    span = session_span(state, NO_MARGIN)
    assert span is not None
    return span


fleets = st.lists(spans(), min_size=1, max_size=5)


def in_force(sessions: Sequence[SessionSpan], moment: datetime) -> frozenset[str] | None:
    """The filter of the session that subscribed last; of several at once the widest."""
    past = [each for each in sessions if each.subscribed_at <= moment]
    if not past:
        return None
    latest = [each.extensions for each in past if each.subscribed_at == max(each.subscribed_at for each in past)]
    return max(latest, key=lambda each: (not each, len(each), sorted(each)))


def standing(sessions: Sequence[SessionSpan], moment: datetime) -> str:
    """Whether a moment is covered, pending or in a gap, by the plain words of G4."""
    force = in_force(sessions, moment)
    if force is None:
        return "before"
    fit = [each for each in sessions if not each.extensions or (force and each.extensions >= force)]
    if any(span.start <= moment < span.end for each in fit for span in each.covered):
        return "covered"
    return "pending" if any(each.live and moment >= each.pending_from for each in fit) else "gap"


def holds(gap: Gap, moment: datetime) -> bool:
    return gap.start <= moment and (gap.end is None or moment < gap.end)


@pytest.mark.slow
@given(fleets)
def test_every_moment_since_the_first_subscription_is_covered_pending_or_in_one_gap(
    sessions: list[SessionSpan],
) -> None:
    found, open_ = gaps(sessions), pending(sessions)
    for moment in map(at, range(LAST)):
        expected = standing(sessions, moment)
        inside = [gap for gap in found if holds(gap, moment)]
        assert len(inside) == (expected == "gap")
        assert any(span.start <= moment < span.end for span in open_) == (expected == "pending")
        assert all(gap.extensions == in_force(sessions, moment) for gap in inside)


@pytest.mark.slow
@given(fleets)
def test_gaps_are_in_order_and_touch_only_where_the_filter_changes(sessions: list[SessionSpan]) -> None:
    for one, next_ in pairwise(gaps(sessions)):
        assert one.end is not None
        assert one.end < next_.start or (one.end == next_.start and one.extensions != next_.extensions)


@pytest.mark.slow
@given(fleets)
def test_every_gap_has_the_reason_of_a_coverage_that_ended_where_it_began(sessions: list[SessionSpan]) -> None:
    found = gaps(sessions)
    for gap, previous in zip(found, (None, *found), strict=False):
        if previous and previous.end == gap.start:
            assert gap.reason == previous.reason
        else:
            assert gap.reason in {
                each.reason for session in sessions for each in session.breaks if each.at == gap.start
            }


@pytest.mark.slow
@given(fleets, st.randoms(use_true_random=False))
def test_the_order_of_sessions_does_not_matter(sessions: list[SessionSpan], dice: random.Random) -> None:
    shuffled = list(sessions)
    dice.shuffle(shuffled)
    assert gaps(shuffled) == gaps(sessions)


def reaching(sessions: Sequence[SessionSpan], since: datetime) -> list[SessionSpan]:
    """What `gaps_since` asks for: those that reach the moment, and of the others the one that subscribed last."""

    def reaches(each: SessionSpan) -> bool:
        moments = [each.subscribed_at, *(span.end for span in each.covered), *(stop.at for stop in each.breaks)]
        return each.live or max(moments) >= since

    others = [each for each in sessions if not reaches(each)]
    latest = [each for each in others if each.subscribed_at == max(one.subscribed_at for one in others)]
    return [each for each in sessions if reaches(each)] + latest


@pytest.mark.slow
@given(fleets, st.integers(0, LAST), st.integers(0, 9))
def test_looking_at_later_time_only_comes_to_the_same(sessions: list[SessionSpan], second: int, off: int) -> None:
    """Whatever was thought of the time after `since`, also that the gap under way had another end."""
    since, whole = at(second), gaps(sessions)
    known = [gap for gap in whole if gap.start < since]
    if known and (known[-1].end is None or known[-1].end > since):
        known[-1] = replace(known[-1], end=since + timedelta(seconds=off))
    known.append(Gap(since + timedelta(seconds=off), None, "old"))
    assert gaps_since(since, known, reaching(sessions, since)) == whole


@pytest.mark.slow
@given(fleets, st.integers(0, LAST))
def test_gaps_that_ended_before_need_not_be_known(sessions: list[SessionSpan], second: int) -> None:
    since, whole = at(second), gaps(sessions)
    reach = tuple(gap for gap in whole if gap.end is None or gap.end >= since)
    assert gaps_since(since, reach, reaching(sessions, since)) == reach


def test_a_gap_that_ended_where_the_change_begins_can_go_on() -> None:
    """A session that seemed to end the gap came to nothing."""
    useless = SessionSpan(at(15), (), False, frozenset(), (Break(at(15), "crash"),))
    known = gaps([ended(0, 10), live(15)])
    assert shown(gaps_since(at(15), known, [ended(0, 10), useless])) == [(10, None, "drop")]


def test_without_sessions_what_was_known_before_stays() -> None:
    known = (Gap(at(0), at(5), "drop"),)
    assert gaps_since(at(9), known, []) == known


# What becomes of a gap


@pytest.mark.parametrize(
    ("filled", "accepted", "state"),
    [
        ([], [], GapState.OPEN),
        ([(0, 30)], [], GapState.FILLED),
        ([(10, 20)], [], GapState.FILLED),
        ([(10, 15), (15, 20)], [], GapState.FILLED),
        ([(10, 15)], [], GapState.OPEN),
        ([(10, 15), (16, 20)], [], GapState.OPEN),
        ([(10, 15)], [(14, 20)], GapState.ACCEPTED),
        ([], [(10, 20)], GapState.ACCEPTED),
        ([(10, 20)], [(10, 20)], GapState.FILLED),
        ([], [(10, 19)], GapState.OPEN),
    ],
)
def test_a_gap_is_filled_or_accepted_as_a_whole_or_open(
    filled: list[tuple[int, int]], accepted: list[tuple[int, int]], state: GapState
) -> None:
    gap = Gap(at(10), at(20), "drop")
    assert classify(gap, [piece(*each) for each in filled], [piece(*each) for each in accepted]) is state


def test_a_gap_that_lasts_is_open_whatever_was_read_of_it() -> None:
    everything = [Interval(at(0), datetime.max.replace(tzinfo=UTC))]
    assert classify(Gap(at(10), None, "drop"), everything, everything) is GapState.OPEN
