"""Holds the archive against the truth, one obligation at a time. Nothing the worker says is looked at.

The strength of it: what happened at a moment that is in no gap must be in the archive, however many times
worker and database were killed. And a gap must have a cause that the oracle knows of.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from campaign.archive import Archive, Rejected
from campaign.schedule import GIVE_UP, KEEPALIVE, MARGIN, PROBE_EVERY, REFETCH_AFTER, REQUEST_TIMEOUT
from support.merge_oracle import Kept, Row, merge

from etl.calls.gaps import gaps, session_span
from etl.calls.intervals import Spans, intersect, span, subtract, union
from etl.fields import FIELDS
from etl.jobs.compare import contradictions
from etl.model import Fact, Interval, Kind, State
from etl.simulator.config import SimulatorConfig
from etl.simulator.faults import FaultKind
from etl.simulator.truth import TrueCall, TrueFault, Truth
from etl.simulator.wire import AS_PRINTED_BY_THE_VENDOR, GARBAGE, HALF_A_DOCUMENT

END_OF_TIME = datetime.max.replace(tzinfo=UTC)
BEGINNING = datetime.min.replace(tzinfo=UTC)

START_UP = 4.0
"""Seconds that a process needs to start on a busy machine, or to get going again."""
LISTING = 2 * REQUEST_TIMEOUT + 1
"""Seconds until a list has come whose first request was lost."""
BACK_OFF = 10.0
SLACK = 1.0


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which we were hit: `what` is worker, wiped (with its data_dir deleted), or database."""

    what: str
    span: Interval


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that the oracle judges by: truths and settings by recorder, the archive, and our own outages."""

    truths: Mapping[str, Truth]
    recorders: Mapping[str, SimulatorConfig]
    archive: Archive
    outages: tuple[Outage, ...]


@dataclass(slots=True)
class Verdict:
    """One obligation: how much was checked, what breaks it, and how much lies in a gap or is excused."""

    obligation: str
    checked: int = 0
    broken: Sequence[str] = ()
    excused: int = 0
    note: str = ""

    def lines(self) -> Iterator[str]:
        """One line, and one more for each breach."""
        mark = "BROKEN" if self.broken else "ok"
        excused = f", {self.excused} excused" if self.excused else ""
        note = f", {self.note}" if self.note else ""
        yield f"{mark:6} {self.obligation}: {self.checked} checked{excused}{note}"
        yield from (f"         {breach}" for breach in self.broken)


@dataclass(slots=True)
class _Count:
    checked: int = 0
    excused: int = 0
    broken: list[str] = field(default_factory=list)

    def see(self, holds: bool, breach: str, *, excused: bool = False) -> None:
        self.checked += 1
        if not holds and excused:
            self.excused += 1
        elif not holds:
            self.broken.append(breach)

    def verdict(self, obligation: str, note: str = "") -> Verdict:
        return Verdict(obligation, self.checked, tuple(self.broken), self.excused, note)


def judge(evidence: Evidence) -> list[Verdict]:
    """The verdict on each obligation."""
    obligations = (delivered, covered, missing, gaps_have_causes, complete, true, derived, gaps_follow, quarantined)
    return [obligation(evidence) for obligation in obligations]


def gap_spans(evidence: Evidence, name: str) -> Spans:
    """The listed gaps of a recorder; all time before its first subscription is nobody's promise either."""
    known = [state.subscribed_at for state in evidence.archive.sessions.get(name, ()) if state.subscribed_at]
    before = span(BEGINNING, min(known, default=END_OF_TIME))
    listed = (Interval(gap.start, gap.end or END_OF_TIME) for gap in evidence.archive.gaps.get(name, ()))
    return union(before, listed)


def _within(moment: datetime, spans: Iterable[Interval]) -> bool:
    return any(each.start <= moment < each.end for each in spans)


def delivered(evidence: Evidence) -> Verdict:
    """1. What reached a live subscriber is a fact, unless it lies in a gap."""
    count = _Count()
    for name, truth in evidence.truths.items():
        unheard = gap_spans(evidence, name)
        moments: dict[tuple[str, str], list[datetime]] = {}
        for each in truth.deliveries:
            if each.reached:
                moments.setdefault((each.call, each.event), []).append(each.at)
        for (call, event), at in moments.items():
            known = Kind(event) in evidence.archive.facts.get(call, {})
            breach = f"{name}: {event} of {call} was delivered at {at[0]} and is not archived"
            count.see(known, breach, excused=all(_within(each, unheard) for each in at))
    return count.verdict("what was delivered outside of gaps is archived")


def covered(evidence: Evidence) -> Verdict:
    """1b. What happened outside of gaps is a fact, whether it was delivered or not: coverage is honest."""
    count = _Count()
    for name, truth in evidence.truths.items():
        unheard = gap_spans(evidence, name)
        for call in truth.calls.values():
            known = evidence.archive.facts.get(call.call, {})
            told = _told(truth, call)
            silent = told is None or _within(told, unheard)
            breach = f"{name}: {call.call} began at {call.began}, in no gap, and its start is not archived"
            count.see(Kind.START in known, breach, excused=silent or _within(call.began, unheard))
            if call.ended:
                breach = f"{name}: {call.call} ended at {call.ended}, in no gap, and its end is not archived"
                count.see(Kind.END in known, breach, excused=_within(call.ended, unheard))
    return count.verdict("what happened outside of gaps is archived")


def _told(truth: Truth, call: TrueCall) -> datetime | None:
    """When the recorder tells of a call's start: at once, or where it reorders, at the end (None: never)."""
    held = any(
        each.kind == FaultKind.REORDERING and timedelta() <= each.begin - call.began < _seconds(0.005)
        for each in truth.faults
    )
    return call.ended if held else call.began


def missing(evidence: Evidence) -> Verdict:
    """2. A call that is not archived at all began and ended in gaps."""
    count = _Count()
    for name, truth in evidence.truths.items():
        unheard = gap_spans(evidence, name)
        for call in truth.calls.values():
            edges = [moment for moment in (_told(truth, call), call.ended or call.forgotten) if moment]
            breach = f"{name}: {call.call} ({call.began} .. {call.ended}) is not archived, and no gap explains it"
            excused = all(_within(each, unheard) for each in edges)
            count.see(call.call in evidence.archive.calls, breach, excused=excused)
    return count.verdict("a call that is not archived lies in gaps")


def gaps_have_causes(evidence: Evidence) -> Verdict:
    """3. No gap where somebody listened in peace; none that no outage or fault is near."""
    breaches: list[str] = []
    checked = 0
    length = timedelta()
    for name, truth in evidence.truths.items():
        last = max((each.at for each in truth.served), default=BEGINNING)
        listed = intersect(_listed(evidence, name), span(BEGINNING, last))
        checked += len(listed)
        length += sum((each.end - each.start for each in listed), timedelta())
        peace = subtract(quiet_listening(evidence, name), _disturbed(evidence, name))
        breaches += [f"{name}: a gap {each.start} .. {each.end} where a subscriber listened in peace"
                     for each in intersect(listed, peace)]  # fmt: skip
        breaches += [f"{name}: a gap {each.start} .. {each.end} without an outage or a fault near it"
                     for each in subtract(listed, _causes(evidence, name))]  # fmt: skip
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
            last = END_OF_TIME if end == END_OF_TIME else end - _seconds(before_end)
            # The first list may have been lost on its way; coverage still begins with the subscription.
            found += (
                span(each.subscribed + _seconds(SLACK), last) if len(listed) > 1 or _long(each.subscribed, end) else ()
            )
    return union(found)


def _long(start: datetime, end: datetime) -> bool:
    return end == END_OF_TIME or end - start > _seconds(LISTING + START_UP)


def _disturbed(evidence: Evidence, name: str) -> Spans:
    """Our own outages, as far as they excuse a gap: the database's never do, but for one whose journal is gone."""
    wide = detection(evidence.recorders[name]) + START_UP + LISTING
    return union(
        Interval(
            _lost_since(evidence, each) - _seconds(detection(evidence.recorders[name])), each.span.end + _seconds(wide)
        )
        for each in evidence.outages
        if each.what != "database"
    )


def _lost_since(evidence: Evidence, outage: Outage) -> datetime:
    """With the journal goes what was not in the database yet: back to the last moment at which it took data."""
    if outage.what != "wiped":
        return outage.span.start
    recent = [each.span.start for each in evidence.outages if each.what == "database"
              and each.span.start <= outage.span.start <= each.span.end + _seconds(START_UP + BACK_OFF)]  # fmt: skip
    return min([outage.span.start, *recent]) - _seconds(SLACK)


def _causes(evidence: Evidence, name: str) -> Spans:
    """Everything that can open a gap, as long as it can last."""
    reach = detection(evidence.recorders[name])
    wide = reach + BACK_OFF + START_UP + LISTING
    faults = (
        Interval(each.begin - _seconds(reach), (each.end or END_OF_TIME - _seconds(wide)) + _seconds(wide))
        for each in evidence.truths[name].faults
        if each.kind in _BREAKING
    )
    ours = (Interval(_lost_since(evidence, each) - _seconds(reach), each.span.end + _seconds(wide))
            for each in evidence.outages if each.what != "database")  # fmt: skip
    return union(faults, ours)


_BREAKING = {FaultKind.DROP, FaultKind.RESET, FaultKind.SILENCE, FaultKind.REFUSE, FaultKind.RESTART, FaultKind.STALL}


def complete(evidence: Evidence) -> Verdict:
    """4. A call whose end is archived is complete and final, unless its record is lost."""
    count = _Count()
    for name, truth in evidence.truths.items():
        for call in truth.calls.values():
            known, row = evidence.archive.facts.get(call.call, {}), evidence.archive.calls.get(call.call)
            if Kind.END not in known or call.record_lost or row is None:
                continue
            wrong = _final(call, row)
            asked_from = call.ended
            if Kind.DETAIL in known:
                asked_from = known[Kind.DETAIL].first_observed_at + _seconds(REFETCH_AFTER)
            breach = f"{name}: {call.call}, ended {call.ended}, is {row['state']}: {', '.join(wrong)}"
            count.see(not wrong, breach, excused=bool(wrong) and _no_chance(evidence, name, call, asked_from))
    return count.verdict("a call whose end is archived is complete and as it truly was")


def _final(call: TrueCall, row: Mapping[str, object]) -> list[str]:
    if row["state"] != State.COMPLETE:
        return ["has no full record"]
    return sorted(contradictions(call, row))


CHANCE = GIVE_UP / 2 + 0.5
"""Seconds without any trouble that are enough: the pauses between two tries double up to half of GIVE_UP."""


def _no_chance(evidence: Evidence, name: str, call: TrueCall, since: datetime | None) -> bool:
    """While the record was asked for, worker and recorder were never up together for long, or it failed twice."""
    assert since is not None
    tries = span(since, since + _seconds(GIVE_UP))
    served = evidence.truths[name].served
    failures = sum(each.call == call.call and each.outcome == "failed" and each.at >= since for each in served)
    up = subtract(intersect(tries, _subscribed(evidence, name)), _away(evidence))
    return failures > 1 or all(each.end - each.start < _seconds(CHANCE) for each in up)


def _subscribed(evidence: Evidence, name: str) -> Spans:
    return tuple(Interval(start, end) for start, end in evidence.truths[name].live(END_OF_TIME) if start < end)


def _away(evidence: Evidence) -> Spans:
    """Times in which the worker was out; a new one first has to learn what is owed."""
    return union(
        Interval(each.span.start, each.span.end + _seconds(START_UP))
        for each in evidence.outages
        if each.what != "database"
    )


def true(evidence: Evidence) -> Verdict:
    """5a. No row contradicts the truth."""
    count = _Count()
    for row in evidence.archive.calls.values():
        name = str(row["recorder"])
        call = evidence.truths[name].calls.get(str(row["call_id"])) if name in evidence.truths else None
        wrong = ["never happened"] if call is None else list(_wrong(call, row))
        count.see(not wrong, f"{name}: {row['call_id']} ({row['state']}): {', '.join(wrong)}")
    return count.verdict("no row contradicts the truth")


_PROVISIONAL = {"cause_id", "agent_id", "destination_name"}
"""Fields that a record may show differently until it has settled."""


def _wrong(call: TrueCall, row: Mapping[str, object]) -> Iterator[str]:
    if row["state"] == State.LOST and not call.record_lost and not call.forgotten:
        yield "is lost, though its record is still there"
    if row["state"] in (State.COMPLETE, State.ENDED) and call.ended is None:
        yield "has ended, though it never did"
    if row["state"] == State.ONGOING and row["end_time"] is not None:
        yield "is ongoing with an end"
    partly = row["state"] != State.COMPLETE
    for name in sorted(contradictions(call, row)):
        unknown = partly and (row.get(name) is None or name in ("native_id", "attributes"))
        if name not in _PROVISIONAL and not unknown:
            yield name
    yield from (name for name in _columns(row) if name not in _true_columns(call))
    # Flags of quality say that a value did not fit; these recorders write nothing that does not.
    quality = row["quality"]
    if isinstance(quality, list):
        yield from (f"flag {flag}" for flag in quality if flag not in ("end_ambiguous", "nonexistent_time"))


def _columns(row: Mapping[str, object]) -> list[str]:
    """The typed columns that have a value."""
    return [known.name for known in FIELDS if row[known.name] is not None]


def _true_columns(call: TrueCall) -> set[str]:
    return {"start_time", "end_time", *_PROVISIONAL, *call.fields}


def derived(evidence: Evidence) -> Verdict:
    """5b. Every row follows from its facts, by the merge that is written for reading."""
    count = _Count()
    for call_id, kept in evidence.archive.facts.items():
        row = evidence.archive.calls.get(call_id)
        same = row is not None and _row(row) == _merged(kept.values())
        count.see(same, f"{call_id}: its row does not follow from its facts")
    bare = set(evidence.archive.calls) - set(evidence.archive.facts)
    count.broken += [f"{call_id}: a row without facts" for call_id in sorted(bare)]
    return count.verdict("rows follow from their facts")


def _merged(kept: Iterable[Kept]) -> Row:
    each = list(kept)
    facts: list[Fact] = [one.fact for one in each]
    return replace(merge(facts), first_seen_at=min(one.first_observed_at for one in each))


def _row(row: Mapping[str, object]) -> Row:
    names = ("call_id", "id_time", "recorder", "attributes", "first_seen_at")
    return Row(
        state=State(str(row["state"])),
        source=Kind(str(row["source"])),
        values={known.name: row[known.name] for known in FIELDS},  # type: ignore[misc]
        quality=tuple(row["quality"]),  # type: ignore[arg-type]
        **{name: row[name] for name in names},  # type: ignore[arg-type]
    )


def gaps_follow(evidence: Evidence) -> Verdict:
    """6. The table of gaps is what follows from all sessions; none of them is left without an end."""
    count = _Count()
    for name in evidence.truths:
        states = evidence.archive.sessions.get(name, [])
        spans = [each for state in states if (each := session_span(state, _seconds(MARGIN)))]
        wanted, listed = list(gaps(spans)), list(evidence.archive.gaps.get(name, ()))
        for gap in sorted({*wanted, *listed}, key=lambda each: each.start):
            where = "is listed and does not follow" if gap in listed else "follows and is not listed"
            count.see(gap in wanted and gap in listed, f"{name}: {gap} {where}")
        for state in states:
            count.see(not state.live, f"{name}: session {state.id} of {state.opened_at} was never closed")
    return count.verdict("gaps follow from sessions")


_BYTES: dict[str, tuple[bytes, ...]] = {
    FaultKind.GARBAGE: GARBAGE,
    FaultKind.MALFORMED: AS_PRINTED_BY_THE_VENDOR,
    FaultKind.CUT_OFF: (HALF_A_DOCUMENT,),
}
LATE = 3.0
"""Seconds until the bytes of such a fault have come and were told from a document."""


def quarantined(evidence: Evidence) -> Verdict:
    """7. Bytes that are no document are in quarantine, unless they came in a gap."""
    count = _Count()
    for name, truth in evidence.truths.items():
        unheard = gap_spans(evidence, name)
        rows = sorted((each for each in evidence.archive.quarantine if each.recorder == name), key=_observed)
        pools = {kind: _occurrences(rows, texts) for kind, texts in _BYTES.items()}
        faults = [each for each in truth.faults if each.kind in pools]
        # Those in no gap choose first: the bytes of one in a gap may have come, or not.
        for fault in sorted(faults, key=lambda each, unheard=unheard: (_in_gap(each, unheard), each.begin)):  # type: ignore[misc]
            breach = f"{name}: {fault.kind} at {fault.begin} is not in quarantine"
            count.see(_take(pools[fault.kind], fault), breach, excused=_in_gap(fault, unheard))
    return count.verdict("what is no document is in quarantine")


def _observed(row: Rejected) -> datetime:
    return row.observed_at


def _occurrences(rows: Iterable[Rejected], texts: Sequence[bytes]) -> list[datetime]:
    return [row.observed_at for row in rows for text in texts for _ in range(row.body.count(text))]


def _take(pool: list[datetime], fault: TrueFault) -> bool:
    """One occurrence that this fault can have brought about, which then serves no other."""
    for at in pool:
        if fault.begin <= at <= fault.begin + _seconds(LATE):
            pool.remove(at)
            return True
    return False


def _in_gap(fault: TrueFault, unheard: Spans) -> bool:
    return bool(intersect(span(fault.begin, fault.begin + _seconds(LATE)), unheard))


def _seconds(number: float) -> timedelta:
    return timedelta(seconds=number)
