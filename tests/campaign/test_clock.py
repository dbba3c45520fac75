"""The clock that a campaign sets: what it shows, what it skips, what it shows twice; and that a process goes by it."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from campaign.clock import RIGHT, Dial, MachineClock, Turn, can_be_set

from etl.model import Interval


def at(second: float) -> datetime:
    return datetime(2026, 3, 1, 12, tzinfo=UTC) + timedelta(seconds=second)


def spans(*edges: tuple[float, float]) -> tuple[Interval, ...]:
    return tuple(Interval(at(start), at(end)) for start, end in edges)


def clock(*turns: tuple[float, float]) -> MachineClock:
    return MachineClock(tuple(Turn(at(moment), timedelta(seconds=ahead)) for moment, ahead in turns))


FORWARD, BACK = clock((10, 5), (20, 0)), clock((10, -5), (20, 0))


def test_a_clock_that_nobody_sets_shows_the_truth() -> None:
    assert RIGHT.shows(at(3)) == RIGHT.meant(at(3)) == at(3)
    assert RIGHT.shown(spans((1, 2))) == RIGHT.stamps(at(1), at(2)) == spans((1, 2))


def test_a_step_forward_skips_and_the_step_back_shows_twice() -> None:
    assert [FORWARD.shows(at(second)) for second in (9, 10, 19, 20)] == [at(9), at(15), at(24), at(20)]
    assert FORWARD.shown(spans((8, 12))) == spans((8, 10), (15, 17))
    assert FORWARD.shown(spans((18, 22))) == spans((20, 22), (23, 25))
    assert FORWARD.shown(spans((15, 25))) == spans((20, 25))
    assert [each for each, _ in FORWARD.stepped()] == list(spans((10, 15), (20, 25)))


def test_what_the_clock_showed_is_first_meant_for_the_first_moment_that_it_showed_it() -> None:
    assert FORWARD.meant(at(22)) == at(17)
    assert FORWARD.meant(at(12)) == at(10), "it never showed that: it was skipped at 10"
    assert BACK.meant(at(7)) == at(7)
    assert BACK.meant(at(26)) == at(26)


def test_a_receipt_soon_after_a_step_back_bears_the_time_before_it() -> None:
    assert BACK.stamps(at(11), at(12)) == spans((6, 7), (9.5, 10.5))
    assert BACK.stamps(at(17), at(18)) == spans((12, 13)), "by then the clock has caught up"


@pytest.mark.slow
def test_a_process_goes_by_the_clock_that_is_set_and_counts_seconds_as_before(tmp_path: Path) -> None:
    if not can_be_set(tmp_path):
        pytest.skip("the library of libfaketime is not made for this machine")
    dial = Dial(tmp_path)
    told = "import time, sys\nfor line in sys.stdin: print(time.time(), time.monotonic(), flush=True)"
    words = (sys.executable, "-c", told)
    process = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(dial.environment())
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        for ahead in (0.0, 3600.0, -3600.0, 0.0):
            dial.set(ahead)
            wall, counted = time.time(), time.monotonic()
            print(file=process.stdin, flush=True)
            shown = [float(word) for word in process.stdout.readline().split()]
            assert wall + ahead <= shown[0] + 0.01
            assert shown[0] <= time.time() + ahead + 0.01
            assert counted <= shown[1] <= time.monotonic()
        process.stdin.close()
    assert [turn.ahead.total_seconds() for turn in dial.turns] == [0, 3600, -3600, 0]
