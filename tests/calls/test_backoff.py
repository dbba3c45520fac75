"""Back-off: soon, spread out, and never too often."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.calls.backoff import Backoff

uniforms = st.floats(0, 1, exclude_max=True)


def test_the_range_doubles_from_half_a_second_to_ten() -> None:
    backoff = Backoff()
    assert [backoff.next(1000.0 * n, 1.0) for n in range(7)] == [0.5, 1, 2, 4, 8, 10, 10]


@given(uniforms)
def test_the_delay_is_anywhere_in_the_range(uniform: float) -> None:
    assert Backoff().next(0, uniform) == pytest.approx(uniform * 0.5)


def test_only_proven_health_makes_the_next_wait_short_again() -> None:
    backoff = Backoff()
    for n in range(5):
        backoff.next(1000.0 * n, 1.0)
    backoff.healthy()
    assert backoff.next(9000.0, 1.0) == 0.5


def test_the_twenty_first_attempt_waits_for_the_minute_to_pass() -> None:
    backoff = Backoff()
    for _ in range(20):
        backoff.healthy()
        assert backoff.next(100.0, 1.0) == 0.5
    backoff.healthy()
    assert backoff.next(103.0, 1.0) == pytest.approx(57.5)


@given(st.lists(st.tuples(uniforms, st.booleans(), st.floats(0, 5)), max_size=80))
def test_in_any_minute_there_are_no_more_than_twenty_attempts(steps: list[tuple[float, bool, float]]) -> None:
    """Each attempt happens when it was told to; sessions live for a while, some of them healthy."""
    backoff, now = Backoff(), 0.0
    attempts: list[float] = []
    for uniform, healthy, lifetime in steps:
        now += backoff.next(now, uniform)
        attempts.append(now)
        now += lifetime
        if healthy:
            backoff.healthy()
    for earlier, later in zip(attempts, attempts[20:], strict=False):
        assert later - earlier >= 60 - 1e-6
