"""The oracle on gaps: each has a cause, and they are what follows from sessions."""

from __future__ import annotations

from datetime import datetime, timedelta

from campaign.clock import BEGINNING, END_OF_TIME
from campaign.evidence import (
    BACK_OFF,
    LISTING,
    SLACK,
    START_UP,
    Count,
    Evidence,
    Outage,
    Verdict,
    seconds,
)
from campaign.schedule import KEEPALIVE, MARGIN, PROBE_EVERY, REQUEST_TIMEOUT

from etl.calls.gaps import gaps, session_span
from etl.calls.intervals import Spans, intersect, span, subtract, union
from etl.model import Interval
from etl.simulator.config import SimulatorConfig
from etl.simulator.faults import FaultKind


def gaps_have_causes(evidence: Evidence) -> Verdict:
    """3. No gap where somebody listened in peace; none that no outage or fault is near."""
    breaches: list[str] = []
    checked = 0
    length = timedelta()
    for name, truth in evidence.truths.items():
        last = evidence.clock.shows(max((each.at for each in truth.served), default=BEGINNING))
        listed = intersect(_listed(evidence, name), span(BEGINNING, last))
        checked += len(listed)
        length += sum((each.end - each.start for each in listed), timedelta())
        peace = evidence.clock.shown(subtract(quiet_listening(evidence, name), _disturbed(evidence, name)))
        turned = _turned(evidence, name)
        caused = union(evidence.clock.shown(_causes(evidence, name)), turned)
        breaches += [f"{name}: a gap {each.start} .. {each.end} where a subscriber listened in peace"
                     for each in intersect(listed, subtract(peace, turned))]  # fmt: skip
        breaches += [f"{name}: a gap {each.start} .. {each.end} without an outage or a fault near it"
                     for each in subtract(listed, caused)]  # fmt: skip
    return Verdict("gaps have causes", checked, tuple(breaches), note=f"{length.total_seconds():.1f} s in gaps")


def _listed(evidence: Evidence, name: str) -> Spans:
    return union(Interval(gap.start, gap.end or END_OF_TIME) for gap in evidence.archive.gaps.get(name, ()))


def detection(recorder: SimulatorConfig) -> float:
    """Seconds until a silence is noticed, with the time before it that nothing was heard."""
    if recorder.keepalive:
        return 1.5 * KEEPALIVE + MARGIN + SLACK
    return PROBE_EVERY + REQUEST_TIMEOUT + MARGIN + SLACK


def quiet_listening(evidence: Evidence, name: str) -> Spans:
    """Where one subscription that got a list was live for long before and after."""
    truth, before_end = evidence.truths[name], detection(evidence.recorders[name])
    lists = [each.at for each in truth.served if each.service == "list"]
    found: list[Interval] = []
    for each in truth.connections.values():
        if each.subscribed is not None:
            end = min(moment for moment in (each.muted, each.closed, END_OF_TIME) if moment)
            listed = [at for at in lists if each.subscribed <= at < end]
            last = END_OF_TIME if end == END_OF_TIME else end - seconds(before_end)
            # The first list may have been lost on its way; coverage still begins with the subscription.
            found += (
                span(each.subscribed + seconds(SLACK), last) if len(listed) > 1 or _long(each.subscribed, end) else ()
            )
    return union(found)


def _long(start: datetime, end: datetime) -> bool:
    return end == END_OF_TIME or end - start > seconds(LISTING + START_UP)


def _disturbed(evidence: Evidence, name: str) -> Spans:
    """Our own outages, as far as they excuse a gap: the database's never do, but for one whose journal is gone."""
    wide = detection(evidence.recorders[name]) + START_UP + LISTING
    return union(
        Interval(
            _lost_since(evidence, each) - seconds(detection(evidence.recorders[name])), each.span.end + seconds(wide)
        )
        for each in evidence.excusing(name)
    )


def _turned(evidence: Evidence, name: str) -> Spans:
    """Where the clock was set: what it skipped is a gap, and so is what it showed twice, with as much around as for an
    outage."""
    reach = detection(evidence.recorders[name])
    wide = seconds(reach + START_UP + LISTING)
    return union(Interval(each.start - seconds(reach), each.end + wide) for each, _ in evidence.clock.stepped())


def _lost_since(evidence: Evidence, outage: Outage) -> datetime:
    """With the journal goes what was not in the database yet: back to the last moment at which it took data."""
    if not outage.blow.loses_journal:
        return outage.span.start
    recent = [each.span.start for each in evidence.outages if each.blow.keeps_from_database
              and each.span.start <= outage.span.start <= each.span.end + seconds(START_UP + BACK_OFF)]  # fmt: skip
    return min([outage.span.start, *recent]) - seconds(SLACK)


def _causes(evidence: Evidence, name: str) -> Spans:
    """Everything that can open a gap, as long as it can last."""
    reach = detection(evidence.recorders[name])
    wide = reach + BACK_OFF + START_UP + LISTING
    faults = (
        Interval(each.begin - seconds(reach), (each.end or END_OF_TIME - seconds(wide)) + seconds(wide))
        for each in evidence.truths[name].faults
        if each.kind in BREAKING
    )
    ours = (Interval(_lost_since(evidence, each) - seconds(reach), each.span.end + seconds(wide))
            for each in evidence.excusing(name))  # fmt: skip
    return union(faults, ours)


BREAKING = {FaultKind.DROP, FaultKind.RESET, FaultKind.SILENCE, FaultKind.REFUSE, FaultKind.RESTART, FaultKind.STALL}


def gaps_follow(evidence: Evidence) -> Verdict:
    """6. The table of gaps is what follows from all sessions; none of them is left without an end."""
    count = Count()
    for name in evidence.truths:
        states = evidence.archive.sessions.get(name, [])
        spans = [each for state in states if (each := session_span(state, seconds(MARGIN)))]
        wanted, listed = list(gaps(spans)), list(evidence.archive.gaps.get(name, ()))
        for gap in sorted({*wanted, *listed}, key=lambda each: each.start):
            where = "is listed and does not follow" if gap in listed else "follows and is not listed"
            count.see(gap in wanted and gap in listed, f"{name}: {gap} {where}")
        for state in states:
            count.see(not state.live, f"{name}: session {state.id} of {state.opened_at} was never closed")
    return count.verdict("gaps follow from sessions")
