"""The oracle on rows: complete where they can be, never wrong, and derived from their facts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime

from campaign.clock import END_OF_TIME
from campaign.evidence import (
    START_UP,
    Count,
    Evidence,
    Verdict,
    seconds,
)
from campaign.schedule import GIVE_UP, REFETCH_AFTER
from support.merge_oracle import Kept, Row, merge

from etl.calls.intervals import Spans, intersect, span, subtract, union
from etl.fields import FIELDS
from etl.jobs.compare import contradictions
from etl.model import Fact, Interval, Kind, State
from etl.simulator.truth import TrueCall


def complete(evidence: Evidence) -> Verdict:
    """4. A call whose end is archived is complete and final, unless its record is lost."""
    count = Count()
    for name, truth in evidence.truths.items():
        for call in truth.calls.values():
            known, row = evidence.archive.facts.get(call.call, {}), evidence.archive.calls.get(call.call)
            if Kind.END not in known or call.record_lost or row is None:
                continue
            wrong = _final(call, row)
            asked_from = call.ended
            if Kind.DETAIL in known:
                asked_from = evidence.clock.meant(known[Kind.DETAIL].first_observed_at) + seconds(REFETCH_AFTER)
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
    assert call.ended is not None
    forgotten = call.ended + seconds(evidence.recorders[name].forget_after)
    tries = span(since, min(since + seconds(GIVE_UP), forgotten))
    served = evidence.truths[name].served
    failures = sum(each.call == call.call and each.outcome == "failed" and each.at >= since for each in served)
    up = subtract(intersect(tries, _subscribed(evidence, name)), _away(evidence, name))
    return failures > 1 or all(each.end - each.start < seconds(CHANCE) for each in up)


def _subscribed(evidence: Evidence, name: str) -> Spans:
    return tuple(Interval(start, end) for start, end in evidence.truths[name].live(END_OF_TIME) if start < end)


def _away(evidence: Evidence, name: str) -> Spans:
    """Times in which the worker was out; a new one first has to learn what is owed."""
    return union(Interval(each.span.start, each.span.end + seconds(START_UP)) for each in evidence.excusing(name))


def true(evidence: Evidence) -> Verdict:
    """5a. No row contradicts the truth."""
    count = Count()
    for row in evidence.archive.calls.values():
        name = str(row["recorder"])
        call = evidence.truths[name].calls.get(str(row["call_id"])) if name in evidence.truths else None
        gone = call is not None and _forgotten_by_age(evidence, name, call)
        wrong = ["never happened"] if call is None else list(_wrong(call, row, gone))
        count.see(not wrong, f"{name}: {row['call_id']} ({row['state']}): {', '.join(wrong)}")
    return count.verdict("no row contradicts the truth")


PROVISIONAL = {"cause_id", "agent_id", "destination_name"}
"""Fields that a record may show differently until it has settled."""


def _forgotten_by_age(evidence: Evidence, name: str, call: TrueCall) -> bool:
    """The recorder said that it does not know the call when it no longer did."""
    absent = evidence.archive.facts.get(call.call, {}).get(Kind.ABSENT)
    if absent is None or call.ended is None:
        return False
    told = evidence.clock.meant(absent.first_observed_at)
    return told >= call.ended + seconds(evidence.recorders[name].forget_after)


def _wrong(call: TrueCall, row: Mapping[str, object], forgotten_by_age: bool) -> Iterator[str]:
    if row["state"] == State.LOST and not (call.record_lost or call.forgotten or forgotten_by_age):
        yield "is lost, though its record is still there"
    if row["state"] in (State.COMPLETE, State.ENDED) and call.ended is None:
        yield "has ended, though it never did"
    if row["state"] == State.ONGOING and row["end_time"] is not None:
        yield "is ongoing with an end"
    partly = row["state"] != State.COMPLETE
    for name in sorted(contradictions(call, row)):
        unknown = partly and (row.get(name) is None or name in ("native_id", "attributes"))
        if name not in PROVISIONAL and not unknown:
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
    return {"start_time", "end_time", "recorder_duration", *PROVISIONAL, *call.fields}


def derived(evidence: Evidence) -> Verdict:
    """5b. Every row follows from its facts, by the merge that is written for reading."""
    count = Count()
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
