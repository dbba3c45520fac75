"""A short campaign; `make campaign SEED=… FOR=…` runs longer ones."""

from __future__ import annotations

import pytest
from campaign.blows import Do, Step
from campaign.run import TEMPORARY, campaign
from campaign.schedule import draw
from support.folder import folder

SEED = 38
SECONDS = 14.0


@pytest.mark.campaign
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_short_campaign_breaks_no_obligation() -> None:
    """With a kill -9 and a crash of the database in it."""
    plan = draw(SEED, SECONDS)
    assert {step.do for step in plan.steps} >= {Do.KILL, Do.CRASH_DATABASE}
    with folder(None, TEMPORARY) as where:
        outcome = campaign(plan, where)
    assert outcome.broken == []
    assert all(verdict.checked for verdict in outcome.verdicts)
    assert outcome.faults["kill -9"]
    assert outcome.faults["database crash"]


@pytest.mark.parametrize("seconds", [14.0, 60.0])
def test_the_same_seed_draws_the_same_campaign(seconds: float) -> None:
    assert draw(7, seconds) == draw(7, seconds)
    assert draw(7, seconds) != draw(8, seconds)


def blows(steps: tuple[Step, ...], *wanted: Do) -> list[Do]:
    return [step.do for step in steps if step.do in wanted]


PAIRS = (
    (Do.CRASH_DATABASE, Do.START_DATABASE),
    (Do.TAKE_CONNECTIONS, Do.GIVE_CONNECTIONS),
    (Do.SLOW_DATABASE, Do.FAST_DATABASE),
    (Do.FILL_DISK, Do.EMPTY_DISK),
)


@pytest.mark.parametrize("seed", range(30))
def test_every_blow_is_followed_by_its_recovery(seed: int) -> None:
    """Whatever the seed: at the end worker and database are up and nothing is frozen."""
    steps = draw(seed, 60.0).steps
    assert list(steps) == sorted(steps)
    worker = blows(steps, Do.START, Do.KILL, Do.STOP, Do.FREEZE, Do.THAW)
    assert worker[0::2] == [each for each in worker if each in (Do.START, Do.THAW)]
    assert len(worker) % 2 == 1
    for blow, recovery in PAIRS:
        found = blows(steps, blow, recovery)
        assert found == [blow, recovery] * (len(found) // 2)
    for link in {step.target for step in steps if step.do is Do.STALL}:
        found = [step.do for step in steps if step.target == link and step.do in (Do.STALL, Do.FLOW, Do.CUT)]
        assert [each is Do.STALL for each in found] == [True, False] * (len(found) // 2)
    second = blows(steps, Do.START_SECOND, Do.START_STRANGER, Do.KILL_SECOND, Do.STOP_SECOND)
    assert len(second) in (0, 2)


def test_campaigns_hold_every_kind_of_blow() -> None:
    seen = {step.do for seed in range(30) for step in draw(seed, 60.0).steps}
    assert seen == set(Do)


@pytest.mark.parametrize("seed", range(60))
def test_a_clock_is_right_in_the_end_and_no_worker_starts_before_it_has_caught_up(seed: int) -> None:
    """What that would hide is not promised, see docs/architecture.md."""
    ahead = latest = 0.0
    for step in draw(seed, 60.0).steps:
        latest = max(latest, step.at + ahead)
        if step.do is Do.SET_CLOCK:
            ahead = step.amount
        elif step.do in (Do.START, Do.START_SECOND, Do.KILL, Do.STOP):
            assert step.at + ahead >= latest, step
    assert ahead == 0


def test_a_long_campaign_freezes_the_worker_for_more_than_a_minute() -> None:
    steps = [step for step in draw(1, 180.0).steps if step.do in (Do.FREEZE, Do.THAW)]
    assert steps[1].at - steps[0].at > 60


def test_only_what_a_campaign_has_is_hit() -> None:
    for seed in range(60):
        plan = draw(seed, 60.0)
        hit = {step.do for step in plan.steps}
        assert plan.setting.small_disk or Do.FILL_DISK not in hit
        assert plan.setting.clock or Do.SET_CLOCK not in hit
        assert {step.target for step in plan.steps if step.do is Do.STALL} <= set(plan.setting.links)
