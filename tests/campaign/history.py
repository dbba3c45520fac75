"""The oracle on history: when all is well again, the archive is the truth, every gap is filled, and `verify` agrees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from campaign.archive import GapStates
from campaign.evidence import Count, Evidence, Verdict
from campaign.rows import PROVISIONAL

from etl.jobs.compare import contradictions
from etl.model import Kind, State
from etl.simulator.truth import TrueCall


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What was done after the last fault, beside a worker, as exit codes: `cdr reconcile`, `backfill gaps`, `verify`,
    and `verify` once more after a repair, if there was something to repair.

    All that from `began` on. `since` is when each recorder's time begins, `until` when that of `verify` ended. `gaps`
    are those that had ended before all this, `recent` counts those that had not: a busy machine makes some at any time.
    `in_files`: the history is one of files, whose records are as old as the file: they do not win over a detail that
    came later.
    """

    began: datetime
    reconciled: int
    filled: int
    verified: int
    repaired: int
    since: Mapping[str, datetime]
    until: datetime
    gaps: GapStates
    recent: int
    findings: tuple[str, ...]
    in_files: bool

    @property
    def stays(self) -> set[str]:
        """Calls whose record changed after it was archived, and that no repair can mend."""
        return {each.split()[0] for each in self.findings if _provisional(each)} if self.in_files else set()


def judge_history(evidence: Evidence, aftermath: Aftermath) -> list[Verdict]:
    """The verdict on each obligation of the history."""
    return [
        _nothing_ongoing(evidence, aftermath),
        _filled(evidence, aftermath),
        _whole(evidence, aftermath),
        _verified(evidence, aftermath),
    ]


def _nothing_ongoing(evidence: Evidence, aftermath: Aftermath) -> Verdict:
    """All calls have ended or were forgotten, so one reconcile leaves none that goes on, but for those whose recorder
    answered with an error just then. 5 is for what lies in gaps."""
    count = Count()
    failed = {each.call for truth in evidence.truths.values() for each in truth.served
              if each.outcome == "failed" and each.at >= aftermath.began}  # fmt: skip
    for call_id, row in evidence.archive.calls.items():
        count.see(row["state"] != State.ONGOING, f"{call_id} is still ongoing", excused=call_id in failed)
    if aftermath.reconciled not in (0, 5):
        count.broken.append(f"cdr reconcile ended with exit code {aftermath.reconciled}: see recovery.log")
    return count.verdict("after one cdr reconcile no call goes on")


def _filled(evidence: Evidence, aftermath: Aftermath) -> Verdict:
    """But for gaps of a recorder that answered not one detail: then nothing vouches for what its history shows."""
    count = Count()
    witnessed = {kept[Kind.DETAIL].fact.recorder for kept in evidence.archive.facts.values() if Kind.DETAIL in kept}
    for (recorder, start), state in aftermath.gaps.items():
        breach = f"{recorder}: the gap from {start} on is {state}"
        count.see(state == "filled", breach, excused=recorder not in witnessed)
    return count.verdict("every gap that has ended is filled")


def _whole(evidence: Evidence, aftermath: Aftermath) -> Verdict:
    count = Count()
    for name, call in _promised(evidence, aftermath):
        row = evidence.archive.calls.get(call.call)
        state = "not archived" if row is None else str(row["state"])
        wrong = [] if row is None or state != State.COMPLETE else sorted(contradictions(call, row))
        breach = f"{name}: {call.call} ({call.began} .. {call.ended}) is {state} {' '.join(wrong)}"
        excused = call.call in aftermath.stays and set(wrong) <= PROVISIONAL
        count.see(state == State.COMPLETE and not wrong, breach, excused=state == State.COMPLETE and excused)
    return count.verdict("after the history was read every call is archived as it truly was")


def _promised(evidence: Evidence, aftermath: Aftermath) -> Iterator[tuple[str, TrueCall]]:
    """Every call that has ended, from the first subscription of all recorders on."""
    since = max(aftermath.since.values())
    for name, truth in evidence.truths.items():
        yield from ((name, call) for call in truth.calls.values() if call.ended and call.start >= since)


def _verified(evidence: Evidence, aftermath: Aftermath) -> Verdict:
    """A record that had no chance to be asked for a second time may be found to differ; nothing else may be found."""
    broken = [f"verify found {each}" for each in aftermath.findings if not _provisional(each)]
    broken += [f"{what} ended with exit code {code}: see recovery.log" for what, code in _codes(evidence, aftermath)]
    provisional = sum(_provisional(each) for each in aftermath.findings)
    return Verdict("verify agrees", len(evidence.archive.calls), tuple(broken), provisional)


def _provisional(finding: str) -> bool:
    _, kind, *fields = finding.split()
    return kind == "different" and set(fields) <= PROVISIONAL


def _codes(evidence: Evidence, aftermath: Aftermath) -> Iterator[tuple[str, int]]:
    """Exit codes that nothing explains: `backfill gaps` says so where calls stay lost, because they never ended, and
    where a gap is too recent to be filled."""
    lost = any(row["state"] != State.COMPLETE for row in evidence.archive.calls.values())
    if aftermath.filled not in ((0, 5) if lost or aftermath.recent else (0,)):
        yield "cdr backfill gaps", aftermath.filled
    if aftermath.verified not in (0, 5):
        yield "cdr verify", aftermath.verified
    if aftermath.repaired not in ((0, 5) if aftermath.stays else (0,)):
        yield "cdr verify, at the end", aftermath.repaired
