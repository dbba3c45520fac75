"""How often we were hit by what, and how long it took until all was well again.

All is well again when the database vouches for a moment after the blow: every recorder that was struck is covered past
it, by a session that is subscribed and has its list, and that coverage has come into the database with all data before
it. Where other blows fall before that, the time is counted from the end of the last of them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg
from campaign.clock import END_OF_TIME
from campaign.evidence import Blow, Evidence, Outage
from campaign.gaps import BREAKING
from support.beside import Beside

from etl.simulator.faults import FaultKind
from etl.simulator.truth import Truth

LOOK_EVERY = 0.25
ROOM = timedelta(seconds=1)
LONG = timedelta(minutes=1)
NOT_INJECTED = (Blow.LAST_STOP, Blow.STARVED)


@dataclass(frozen=True, slots=True)
class Sample:
    """Up to when (by the worker's clock) each recorder was covered according to the database, `at` a true moment."""

    at: datetime
    covered: Mapping[str, datetime]


class Watcher(Beside):
    """A thread that looks into the database, whenever it can, how far each recorder is covered."""

    def __init__(self, url: str) -> None:
        self.samples: list[Sample] = []
        self._url = url
        super().__init__()

    def watch(self) -> None:
        while not self.over.wait(LOOK_EVERY):
            with suppress(psycopg.Error), psycopg.connect(
                self._url, application_name="campaign watcher", autocommit=True, connect_timeout=2
            ) as connection:  # fmt: skip
                self._look(connection)

    def _look(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        query = "SELECT recorder, max(upper(coverage)) FROM cdr.session WHERE NOT isempty(coverage) GROUP BY recorder"
        while not self.over.wait(LOOK_EVERY):
            at = datetime.now(UTC)
            rows = connection.execute(query).fetchall()
            self.samples.append(Sample(at, {str(name): until for name, until in rows}))  # type: ignore[misc]


def injected(evidence: Evidence) -> Mapping[str, int]:
    """How often each fault struck: ours by the blow, the recorders' by their own truth."""
    counts = Counter(_name(each) for each in evidence.outages if each.blow not in NOT_INJECTED)
    for truth in evidence.truths.values():
        counts.update(str(each.kind) for each in truth.faults)
        counts.update(_others(truth))
    return dict(counts)


def _name(outage: Outage) -> str:
    long = outage.blow is Blow.FREEZE and outage.span.end - outage.span.start > LONG
    return f"{outage.blow} for over a minute" if long else str(outage.blow)


def _others(truth: Truth) -> Iterator[str]:
    """Faults that the truth tells of without a line of their own."""
    yield from (str(FaultKind.DETAIL_ERRORS) for each in truth.served if each.outcome == "failed")
    yield from (str(FaultKind.FORGOTTEN_DETAILS) for each in truth.calls.values() if each.record_lost)
    yield from ("call forgotten by a restart" for each in truth.calls.values() if each.forgotten)


def recoveries(evidence: Evidence, samples: Sequence[Sample]) -> Mapping[str, Sequence[float]]:
    """For each fault that interrupts anything: the seconds from its end until all was well again, each time."""
    found: dict[str, list[float]] = defaultdict(list)
    everyone = tuple(evidence.truths)
    for each in evidence.outages:
        if each.blow not in (*NOT_INJECTED, Blow.SECOND):
            for recorder in (each.recorder,) if each.recorder else everyone:
                found[_name(each)] += _recovery(evidence, samples, each.span.end, recorder)
    for recorder, truth in evidence.truths.items():
        for fault in truth.faults:
            if fault.kind in BREAKING and fault.end is not None:
                found[str(fault.kind)] += _recovery(evidence, samples, fault.end, recorder)
    return {name: tuple(each) for name, each in found.items() if each}


def _recovery(evidence: Evidence, samples: Sequence[Sample], over: datetime, recorder: str) -> tuple[float, ...]:
    """Nothing where the campaign ended before; from the end of the last blow where others fell meanwhile."""
    blows = tuple(_blows(evidence, recorder))
    while (well := _well(evidence, samples, over, recorder)) is not None:
        later = max((end for start, end in blows if start < well and end > over), default=None)
        if later is None:
            return (round((well - over).total_seconds(), 2),)
        over = later
    return ()


def _well(evidence: Evidence, samples: Sequence[Sample], over: datetime, recorder: str) -> datetime | None:
    """When the database first vouched for a moment after that one."""
    shows, past = evidence.clock.shows, evidence.clock.shows(over)
    for sample in samples:
        latest = shows(sample.at) + ROOM  # what is covered beyond that is to be taken back yet
        if sample.at > over and past < sample.covered.get(recorder, past) <= latest:
            return sample.at
    return None


def _blows(evidence: Evidence, recorder: str) -> Iterator[tuple[datetime, datetime]]:
    """From when to when something struck a recorder, or all."""
    for each in evidence.outages:
        if each.blow not in (*NOT_INJECTED, Blow.SECOND) and each.recorder in (None, recorder):
            yield each.span.start, each.span.end
    for fault in evidence.truths[recorder].faults:
        if fault.kind in BREAKING:
            yield fault.begin, fault.end or END_OF_TIME
