"""A short exploration; `make explore` goes on for longer. Also: a seed replays, and the net has no large holes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from explore.command import main
from explore.mutants import MUTANTS, Mutant, hunted
from explore.run import explore, installed
from explore.schedule import Do, Schedule, Step, draw
from explore.shrink import shrunk
from support.postgres import Server, fresh_database

SEEDS = range(1, 26)
ROOT = Path(__file__).parent.parent.parent
SOON = [each for each in MUTANTS if "margin" in each.told or "checkpoint" in each.told]
"""Mutants that one of the first seeds finds."""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with installed() as found:
        yield found


@pytest.mark.slow
def test_a_short_exploration_breaks_no_law(folder: Path) -> None:
    outcomes = [explore(draw(seed), folder) for seed in SEEDS]
    assert [(each.schedule.seed, each.broken) for each in outcomes if each.broken] == []
    assert all(each.checked for each in outcomes)


@pytest.mark.parametrize("seed", [8, 9])
def test_a_seed_replays_exactly(folder: Path, seed: int) -> None:
    """With real journals, and with those in memory."""
    first, again = explore(draw(seed), folder), explore(draw(seed), folder)
    assert first == again
    assert len(first.trace) > 20


@pytest.mark.slow
def test_a_seed_replays_in_another_process(folder: Path) -> None:
    command = [sys.executable, "-m", "tests.explore", "--trace", "9"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    runs = [subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True) for _ in range(2)]
    assert [run.returncode for run in runs] == [0, 0], runs[0].stderr
    assert runs[0].stdout == runs[1].stdout


def test_a_seed_always_draws_the_same_schedule() -> None:
    assert draw(7) == draw(7)
    assert draw(7) != draw(8)
    assert {step.do for seed in range(300) for step in draw(seed).steps} == set(Do), "and all that can happen does"


@pytest.mark.slow
def test_postgresql_agrees_with_the_archive_in_memory(folder: Path, embedded_server: Server) -> None:
    """The merge, the gaps kept up to date bit by bit, and all that a run asks: in a world in which much happens."""
    with fresh_database(embedded_server) as url:
        assert explore(draw(12), folder, url).broken == ()


@pytest.mark.slow
def test_what_breaks_a_law_is_found_and_made_smaller(folder: Path) -> None:
    found = hunted(SOON[0], 60)
    assert found.found
    with ExitStack() as broken:
        for patching in SOON[0].broken():
            broken.enter_context(patching)
        smaller = shrunk(explore(draw(found.seeds), folder), folder)
    assert smaller.broken
    assert len(smaller.schedule.steps) < len(draw(found.seeds).steps)


@pytest.mark.slow
@pytest.mark.parametrize("mutant", SOON, ids=lambda mutant: mutant.told)
def test_a_broken_product_is_found(mutant: Mutant) -> None:
    """`python -m tests.explore --mutants 2000` tries them all."""
    assert hunted(mutant, 60).found


def test_nothing_happens_in_a_world_without_blows(folder: Path) -> None:
    calm = Schedule(1, (Step(1.0, Do.CALL, amount=3.0),), draw(1).manners, 12.0)
    outcome = explore(calm, folder)
    assert outcome.broken == ()


def test_the_command_refuses_what_are_no_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--seeds", "9..1"])
    assert ended.value.code == 2
    assert "1..10000" in capsys.readouterr().err


def test_the_command_tells_all_of_one_seed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--trace", "9"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("seed 9: ")
    assert "worker 0.1 starts" in told
