"""A short campaign; `make campaign SEED=… FOR=…` runs longer ones."""

from __future__ import annotations

import pytest
from campaign.blows import Do, Step
from campaign.run import campaign, folder
from campaign.schedule import draw

SEED = 7
SECONDS = 14.0


@pytest.mark.campaign
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_short_campaign_breaks_no_obligation() -> None:
    """With a kill -9 and a crash of the database in it."""
    plan = draw(SEED, SECONDS)
    assert {step.do for step in plan.steps} >= {Do.KILL, Do.CRASH_DATABASE}
    with folder(None) as where:
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


@pytest.mark.parametrize("seed", range(30))
def test_every_blow_is_followed_by_its_recovery(seed: int) -> None:
    """Whatever the seed: at the end worker and database are up and nothing is frozen."""
    steps = draw(seed, 60.0).steps
    assert list(steps) == sorted(steps)
    worker = blows(steps, Do.START, Do.KILL, Do.STOP, Do.FREEZE, Do.THAW)
    assert worker[0::2] == [each for each in worker if each in (Do.START, Do.THAW)]
    assert len(worker) % 2 == 1
    database = blows(steps, Do.CRASH_DATABASE, Do.START_DATABASE)
    assert database == [Do.CRASH_DATABASE, Do.START_DATABASE] * (len(database) // 2)
    second = blows(steps, Do.START_SECOND, Do.START_STRANGER, Do.KILL_SECOND, Do.STOP_SECOND)
    assert len(second) in (0, 2)


def test_campaigns_hold_every_kind_of_blow() -> None:
    seen = {step.do for seed in range(30) for step in draw(seed, 60.0).steps}
    assert seen == set(Do)
