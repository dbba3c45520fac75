"""The watch: what the two clocks tell about the time since the last look."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.recorders import StillClock

from etl.recorder.clock import Pause, Step, SystemClock, Watch, read

MARGIN = timedelta(seconds=1)


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


def test_looks_that_follow_each_other_closely_find_nothing(clock: StillClock) -> None:
    watch = Watch(clock, MARGIN)
    for _ in range(100):
        clock.advance(1.0)
        assert watch.look() == ()


def test_a_look_after_more_than_the_margin_finds_a_pause_once(clock: StillClock) -> None:
    watch = Watch(clock, MARGIN)
    before = clock.now()
    clock.advance(1.001)
    assert watch.look() == (Pause(before, clock.now()),)
    assert watch.look() == ()


@pytest.mark.parametrize("seconds", [1.001, -1.001, 3600.0, -86400.0])
def test_a_wall_clock_that_was_set_is_a_step(clock: StillClock, seconds: float) -> None:
    watch = Watch(clock, MARGIN)
    before = clock.now()
    clock.set_by(seconds)
    assert watch.look() == (Step(before, clock.now(), before),)
    assert watch.look() == ()


def test_a_pause_in_which_the_clock_was_set_is_both_and_the_pause_ends_in_the_old_time(clock: StillClock) -> None:
    watch = Watch(clock, MARGIN)
    before = clock.now()
    clock.advance(10)
    clock.set_by(-60)
    expected = before + timedelta(seconds=10)
    assert watch.look() == (Pause(before, expected), Step(expected, before - timedelta(seconds=60), before))


def test_a_clock_that_is_set_back_may_have_been_set_right_after_the_last_look(clock: StillClock) -> None:
    watch = Watch(clock, MARGIN)
    before = clock.now()
    clock.advance(0.5)
    clock.set_by(-60)
    clock.advance(0.25)
    assert watch.look() == (Step(before + timedelta(seconds=0.75), before - timedelta(seconds=60), before),)


def test_both_clocks_are_read_together_or_again(clock: StillClock) -> None:
    """Where another process comes between the two looks, they would tell of a step that was none."""

    class Interrupted(StillClock):
        left = 3

        def now(self) -> datetime:
            found = super().now()
            if self.left:
                self.left -= 1
                self.advance(5.0)
            return found

    interrupted = Interrupted()
    reading = read(interrupted)
    assert interrupted.left == 0
    assert reading.now - reading.booted_at == timedelta(seconds=interrupted.elapsed())
    assert reading.booted_at == read(clock).booted_at
    clock.set_by(-7)
    assert reading.booted_at - read(clock).booted_at == timedelta(seconds=7)


def test_the_machine_names_its_start_or_does_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told = tmp_path / "boot_id"
    monkeypatch.setattr(SystemClock, "_boot_id", told)
    assert SystemClock().boot is None
    told.write_text("6c1f\n")
    assert SystemClock().boot == "6c1f"


def test_a_container_whose_seconds_begin_elsewhere_is_another_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    boot, offsets = tmp_path / "boot_id", tmp_path / "offsets"
    monkeypatch.setattr(SystemClock, "_boot_id", boot)
    monkeypatch.setattr(SystemClock, "_offsets", offsets)
    boot.write_text("6c1f\n")
    assert SystemClock().boot == "6c1f"
    offsets.write_text("monotonic           0         0\nboottime            0         0\n")
    assert SystemClock().boot == "6c1f"
    offsets.write_text("monotonic           0         0\nboottime        86400         0\n")
    assert SystemClock().boot == "6c1f 86400.0"


def test_small_steps_add_up_to_one_that_is_seen(clock: StillClock) -> None:
    watch = Watch(clock, MARGIN)
    clock.set_by(0.6)
    assert watch.look() == ()
    before = clock.now()
    clock.set_by(0.6)
    assert watch.look() == (Step(before, clock.now(), before),)
    assert watch.look() == ()


@pytest.mark.slow
@given(st.lists(st.tuples(st.floats(0, 5), st.floats(-5, 5)), max_size=20))
def test_steps_add_up_to_what_was_set_but_for_what_is_too_small_to_see(moves: list[tuple[float, float]]) -> None:
    clock = StillClock()
    watch = Watch(clock, MARGIN)
    unseen = timedelta()
    for advanced, was_set in moves:
        clock.advance(advanced)
        clock.set_by(was_set)
        found = watch.look()
        seen = sum((each.after - each.before for each in found if isinstance(each, Step)), timedelta())
        if seen < timedelta():
            seen += timedelta(seconds=advanced)  # it may have been set back at once, or only now
        unseen += abs(timedelta(seconds=was_set) - seen)
        assert any(isinstance(each, Pause) for each in found) == (timedelta(seconds=advanced) > MARGIN)
    assert unseen <= len(moves) * timedelta(seconds=1, milliseconds=1)


def test_the_machines_clock_is_aware_and_its_seconds_go_forward() -> None:
    clock = SystemClock()
    assert clock.now().tzinfo is UTC
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=5)
    first = clock.elapsed()
    assert clock.elapsed() >= first
