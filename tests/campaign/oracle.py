"""Holds the archive against the truth, one obligation at a time. Nothing the worker says is looked at.

The strength of it: what happened at a moment that is in no gap must be in the archive, however many times
worker and database were killed. And a gap must have a cause that the oracle knows of.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime

from campaign.archive import Rejected
from campaign.evidence import (
    Blow,
    Count,
    Evidence,
    Verdict,
    gap_spans,
    seconds,
    within,
)
from campaign.gaps import gaps_follow, gaps_have_causes
from campaign.rows import complete, derived, true

from etl.calls.intervals import Spans, intersect
from etl.model import Kind
from etl.simulator.faults import FaultKind
from etl.simulator.truth import TrueCall, TrueFault, Truth
from etl.simulator.wire import AS_PRINTED_BY_THE_VENDOR, GARBAGE, HALF_A_DOCUMENT


def judge(evidence: Evidence) -> list[Verdict]:
    """The verdict on each obligation."""
    obligations = (delivered, covered, missing, gaps_have_causes, complete, true, derived, gaps_follow, quarantined)
    return [obligation(evidence) for obligation in obligations]


def delivered(evidence: Evidence) -> Verdict:
    """1. What reached a live subscriber is a fact, unless it lies in a gap."""
    count = Count()
    for name, truth in evidence.truths.items():
        unheard = gap_spans(evidence, name)
        moments: dict[tuple[str, str], list[datetime]] = {}
        for each in truth.deliveries:
            if each.reached:
                moments.setdefault((each.call, each.event), []).append(each.at)
        for (call, event), at in moments.items():
            known = Kind(event) in evidence.archive.facts.get(call, {})
            breach = f"{name}: {event} of {call} was delivered at {at[0]} and is not archived"
            excused = all(within(evidence.clock.shows(each), unheard) or _unread(evidence, name, each) for each in at)
            count.see(known, breach, excused=excused)
    return count.verdict("what was delivered outside of gaps is archived")


def covered(evidence: Evidence) -> Verdict:
    """1b. What happened outside of gaps is a fact, whether it was delivered or not: coverage is honest."""
    count, shows = Count(), evidence.clock.shows
    for name, truth in evidence.truths.items():
        unheard, held = gap_spans(evidence, name), _held_starts(truth)
        for call in truth.calls.values():
            known = evidence.archive.facts.get(call.call, {})
            told = _told(call, held)
            silent = told is None or within(shows(told), unheard) or _unread(evidence, name, told)
            breach = f"{name}: {call.call} began at {call.began}, in no gap, and its start is not archived"
            count.see(Kind.START in known, breach, excused=silent or within(shows(call.began), unheard))
            if call.ended:
                breach = f"{name}: {call.call} ended at {call.ended}, in no gap, and its end is not archived"
                excused = within(shows(call.ended), unheard) or _unread(evidence, name, call.ended)
                count.see(Kind.END in known, breach, excused=excused)
    return count.verdict("what happened outside of gaps is archived")


UNREAD = 3.0
"""Seconds for which what was sent may lie unread on a machine that has too much to do."""


def _unread(evidence: Evidence, name: str, moment: datetime) -> bool:
    """On a machine too busy to read within the margin, something broke soon after: it was sent, and lay unread."""
    busy = any(each.blow is Blow.STARVED and within(moment, (each.span,)) for each in evidence.outages)
    return busy and any(moment <= at <= moment + seconds(UNREAD) for at in _breaks(evidence, name))


def _breaks(evidence: Evidence, name: str) -> Iterator[datetime]:
    """When the connections to a recorder broke."""
    yield from (each.span.start for each in evidence.excusing(name) if each.blow is not Blow.STARVED)
    for connection in evidence.truths[name].connections.values():
        yield from (moment for moment in (connection.muted, connection.closed) if moment)


def _held_starts(truth: Truth) -> set[str]:
    """Calls whose start the recorder tells only when they end: a fault that strikes the call which has just begun."""
    calls = sorted(truth.calls.values(), key=lambda call: call.began)
    began = [call.began for call in calls]
    faults = (each for each in truth.faults if each.kind == FaultKind.REORDERING)
    return {calls[bisect_right(began, each.begin) - 1].call for each in faults}


def _told(call: TrueCall, held: Collection[str]) -> datetime | None:
    """When the recorder tells of a call's start: at once, or where it reorders, at the end (None: never)."""
    return call.ended if call.call in held else call.began


def missing(evidence: Evidence) -> Verdict:
    """2. A call that is not archived at all began and ended in gaps."""
    count = Count()
    for name, truth in evidence.truths.items():
        unheard, held = gap_spans(evidence, name), _held_starts(truth)
        for call in truth.calls.values():
            edges = [moment for moment in (_told(call, held), call.ended or call.forgotten) if moment]
            breach = f"{name}: {call.call} ({call.began} .. {call.ended}) is not archived, and no gap explains it"
            excused = all(
                within(evidence.clock.shows(each), unheard) or _unread(evidence, name, each) for each in edges
            )
            count.see(call.call in evidence.archive.calls, breach, excused=excused)
    return count.verdict("a call that is not archived lies in gaps")


_BYTES: dict[str, tuple[bytes, ...]] = {
    FaultKind.GARBAGE: GARBAGE,
    FaultKind.MALFORMED: AS_PRINTED_BY_THE_VENDOR,
    FaultKind.CUT_OFF: (HALF_A_DOCUMENT,),
}
LATE = 3.0
"""Seconds until the bytes of such a fault have come and were told from a document."""


def quarantined(evidence: Evidence) -> Verdict:
    """7. Bytes that are no document are in quarantine, unless they came in a gap."""
    count = Count()
    for name, truth in evidence.truths.items():
        unheard = gap_spans(evidence, name)
        rows = sorted((each for each in evidence.archive.quarantine if each.recorder == name), key=_observed)
        pools = {kind: _occurrences(rows, texts) for kind, texts in _BYTES.items()}
        faults = [each for each in truth.faults if each.kind in pools]
        # Those in no gap choose first: the bytes of one in a gap may have come, or not.
        stamped = [(each, _arrival(evidence, name, each)) for each in faults]
        for fault, stamps in sorted(stamped, key=lambda each, unheard=unheard: (_in_gap(each, unheard), each[0].begin)):  # type: ignore[misc]
            breach = f"{name}: {fault.kind} at {fault.begin} is not in quarantine"
            count.see(_take(pools[fault.kind], stamps), breach, excused=_in_gap((fault, stamps), unheard))
    return count.verdict("what is no document is in quarantine")


def _observed(row: Rejected) -> datetime:
    return row.observed_at


def _occurrences(rows: Iterable[Rejected], texts: Sequence[bytes]) -> list[datetime]:
    return [row.observed_at for row in rows for text in texts for _ in range(row.body.count(text))]


def _arrival(evidence: Evidence, name: str, fault: TrueFault) -> Spans:
    """The times of receipt that its bytes can bear; a network that stalls holds them back for as long."""
    last = fault.begin + seconds(LATE)
    stalls = (each.span for each in evidence.outages if each.blow is Blow.STALLED and each.recorder == name)
    held = [each.end + seconds(LATE) for each in stalls if each.start <= last and each.end >= fault.begin]
    return evidence.clock.stamps(fault.begin, max(last, *held) if held else last)


def _take(pool: list[datetime], stamps: Spans) -> bool:
    """One occurrence that this fault can have brought about, which then serves no other."""
    for at in pool:
        if within(at, stamps):
            pool.remove(at)
            return True
    return False


def _in_gap(fault: tuple[TrueFault, Spans], unheard: Spans) -> bool:
    return bool(intersect(fault[1], unheard))
