"""What was injected is counted, and recovery is the time until the database vouches for a moment after the blow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from campaign.archive import Archive
from campaign.clock import MachineClock, Turn
from campaign.evidence import Blow, Evidence, Outage
from campaign.recovery import Sample, injected, recoveries

from etl.model import Interval
from etl.simulator.truth import FaultLine, Truth

NAMES = ("a", "b")


def at(second: float) -> datetime:
    return datetime(2026, 3, 1, 12, tzinfo=UTC) + timedelta(seconds=second)


def evidence(*outages: Outage) -> Evidence:
    return Evidence({name: Truth() for name in NAMES}, {}, Archive({}, {}, {}, {}, ()), outages)


def outage(blow: Blow, start: float, end: float, recorder: str | None = None) -> Outage:
    return Outage(blow, Interval(at(start), at(end)), recorder)


def samples(*rows: tuple[float, float, float]) -> Sequence[Sample]:
    """Second, and up to when `a` and `b` are covered then."""
    return [Sample(at(second), {"a": at(a), "b": at(b)}) for second, a, b in rows]


SEEN = samples((10, 9, 9), (12, 9, 9), (14, 12.5, 9), (16, 14, 12.5))


def test_each_recorder_recovers_when_it_is_covered_past_the_end_of_the_blow() -> None:
    assert recoveries(evidence(outage(Blow.KILL, 10, 12)), SEEN) == {"kill -9": (2.0, 4.0)}
    assert recoveries(evidence(outage(Blow.STALLED, 10, 12, "b")), SEEN) == {"network stalled": (4.0,)}


def test_where_another_blow_falls_first_its_end_counts() -> None:
    struck = evidence(outage(Blow.KILL, 10, 12), outage(Blow.STALLED, 11.9, 12.2, "b"))
    assert recoveries(struck, SEEN) == {"kill -9": (2.0, 3.8), "network stalled": (3.8,)}


def test_nothing_is_measured_where_the_campaign_ends_before_all_is_well() -> None:
    assert recoveries(evidence(outage(Blow.KILL, 10, 15)), SEEN) == {}
    late = evidence(outage(Blow.KILL, 10, 12), outage(Blow.STALLED, 13, 15, "b"))
    assert recoveries(late, SEEN) == {"kill -9": (2.0,)}


def test_what_a_clock_that_was_fast_covered_in_advance_is_no_recovery() -> None:
    """At 12 the clock is set back by 20 seconds; what was covered then is taken back at 15."""
    clock = MachineClock((Turn(at(5), timedelta(seconds=20)), Turn(at(12), timedelta())))
    seen = samples((13, 31, 31), (15, 9, 9), (16, 15, 15))
    assert recoveries(replace(evidence(outage(Blow.CLOCK, 11.9, 12)), clock=clock), seen) == {"clock step": (4.0, 4.0)}


def test_faults_of_recorders_are_counted_and_those_that_interrupt_are_measured() -> None:
    told = evidence(outage(Blow.FREEZE, 0, 61), outage(Blow.STARVED, 1, 2), outage(Blow.LAST_STOP, 70, 71))
    told.truths["a"].add(FaultLine(at(10), "drop", "moment"))
    told.truths["b"].add(FaultLine(at(10), "garbage", "moment"))
    assert injected(told) == {"SIGSTOP for over a minute": 1, "drop": 1, "garbage": 1}
    assert recoveries(replace(told, outages=()), SEEN) == {"drop": (4.0,)}
