"""Gaps are filled from the history, and calls without a record are searched for in it (section 7 of the contract).

A gap is read with a minute on both sides. The read is good when every call of the recorder that we hold as complete,
with its start in that window and its end well before the read, is among its rows. Where there is no such witness, the
window is widened until it holds one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from etl.calls.history import SKEW, widened
from etl.calls.intervals import Spans, union
from etl.config import Settings
from etl.errors import HistoryError, HistoryUnreadable, WrongZone
from etl.jobs.history import Claim, Intake, OnWritten, Reading, Source, ending, writing
from etl.jobs.progress import OnProgress, Progress, unwatched
from etl.model import Interval
from etl.store import backfill, history_reads
from etl.store.database import Connection
from etl.store.history_reads import OpenGap, Read, Unresolved

AROUND = 2 * SKEW
"""A call is searched for so far around the moment at which it began as far as we know."""
FAILED = 3
"""After so many windows in a row that cannot be read the rest is left for another run."""
_MOMENT = timedelta(microseconds=1)
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class GapReport:
    """What came of a gap. `window` is what is read for it. `after`: its state when the run had ended, None where it
    was not read; `told` why it is still open. `recovered`: calls in it that only the history knows."""

    id: int
    recorder: str
    start: datetime
    end: datetime | None
    reason: str
    window: Interval
    after: str | None = None
    witnesses: int = 0
    recovered: int = 0
    told: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What a run did. `searched`: calls that were searched for; `found`: those of them that are resolved now.

    `missing` counts what is left and not accepted: open gaps and calls. `failure`: why a history did not give all;
    `reached`: all was tried nevertheless.
    """

    gaps: tuple[GapReport, ...] = ()
    searched: int = 0
    found: int = 0
    missing: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    failure: str | None = None
    reached: bool = True


@dataclass(frozen=True, slots=True)
class Todo:
    """What is to be read: these gaps, and around these calls."""

    gaps: Sequence[OpenGap] = ()
    calls: Sequence[Unresolved] = ()

    def __bool__(self) -> bool:
        return bool(self.gaps or self.calls)


def everything(connection: Connection, now: datetime) -> Todo:
    """Every open gap, and every call that only the history may still have."""
    return Todo(history_reads.open_gaps(connection), history_reads.unresolved(connection, now))


class GapBackfill:
    """Reads one source after the other, until every gap is filled or there is no other source. For one run."""

    def __init__(
        self,
        settings: Settings,
        connect: Callable[[], Connection],
        sources: Sequence[Source],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_progress: OnProgress = unwatched,
        on_written: OnWritten = lambda _: None,
    ) -> None:
        self._settings = settings
        self._connect = connect
        self._sources = sources
        self._now = now
        self._on_progress = on_progress
        self._on_written = on_written
        self._reads: dict[int, Read] = {}
        self._windows: dict[int, Interval] = {}
        self._failure: str | None = None
        self._reached = True

    def preview(self, todo: Todo) -> Report:
        """What `run` would read from the first source; reads nothing."""
        with self._connect() as connection:
            reading = self._reading(connection, self._sources[0], Intake(connection, None, ""))
            claims = [_claim(reading, gap) for gap in _begun(todo.gaps, reading.read_at)]
        missing = len(todo.gaps) + sum(call.overdue for call in todo.calls)
        return Report(tuple(_report(claim.gap, claim.window) for claim in claims), len(todo.calls), missing=missing)

    def run(self, todo: Todo, trigger: backfill.Trigger = "command") -> Report:
        """Read, store what is shown, and derive which gaps that fills. A history out of reach is told in the report.

        Raises DatabaseError.
        """
        with self._connect() as connection, writing(self._connect, self._settings, dry_run=False) as writer:
            intake = Intake(connection, writer, "", self._on_written)
            run = backfill.begin(connection, "gaps", {}, trigger)
            try:
                left = todo
                for source in self._sources:
                    self._read(connection, run.id, source, intake, left)
                    left = self._left(connection, left)
            except BaseException as error:
                backfill.finish(connection, run.id, how := ending(error), intake.counts, str(error) or how)
                raise
            history_reads.recount_gaps(connection, self._windows)
            backfill.finish(connection, run.id, "failed" if self._failure else "done", intake.counts, self._failure)
            return self._report(connection, todo, intake.counts)

    def _read(self, connection: Connection, run: UUID, source: Source, intake: Intake, todo: Todo) -> None:
        """Read one source for what no other has shown yet."""
        intake.zone_key = source.zone_key
        reading = self._reading(connection, source, intake)
        claims = sorted((_claim(reading, gap) for gap in _begun(todo.gaps, reading.read_at)), key=_window_end)
        self._windows |= {claim.gap.id: claim.window for claim in claims}
        around = [widened(Interval(call.near, call.near + _MOMENT), AROUND) for call in todo.calls]
        spans = union((claim.window for claim in claims), around)
        try:
            self._passes(run, reading, spans, claims)
        except HistoryError as error:
            self._failure, self._reached = str(error), False

    def _passes(self, run: UUID, reading: Reading, spans: Spans, claims: list[Claim]) -> None:
        """Each pass judges the gaps whose windows it ends: what was read stays read, whatever comes later."""
        total, done, left, failed = _hours(spans), 0.0, claims, 0
        for part in reading.source.passes(spans):
            self._on_progress(Progress(done, total, "hours", reading.intake.counts, "records"))
            asked = [claim for claim in left if _overlap(claim.window, part)]
            failed = 0 if self._pass(reading, part, asked) else failed + 1
            ready = [claim for claim in left if claim.window.end <= part[-1].end]
            left = left[len(ready) :]
            if failed == FAILED:
                self._reached = False
                ready += [claim for claim in left if claim.shown.failure]
            self._judge(run, reading, ready)
            if failed == FAILED:
                return
            done += _hours(part)
        self._on_progress(Progress(done, total, "hours", reading.intake.counts, "records"))

    def _pass(self, reading: Reading, part: Spans, claims: Sequence[Claim]) -> bool:
        """Whether a pass could be read. Where only its time is to blame the claims note it, and others are read."""
        try:
            reading.read(part, claims)
        except (HistoryUnreadable, WrongZone) as error:
            self._failure = self._failure or str(error)
            for claim in claims:
                claim.shown.failure = str(error)
            return False
        return True

    def _judge(self, run: UUID, reading: Reading, claims: Iterable[Claim]) -> None:
        reads = {claim.gap.id: reading.judged(claim) for claim in claims}
        history_reads.note_reads(reading.connection, run, list(reads.values()))
        backfill.progress(reading.connection, run, reading.intake.counts)
        self._reads |= reads

    def _reading(self, connection: Connection, source: Source, intake: Intake) -> Reading:
        return Reading(connection, source, intake, self._now(), self._settings)

    def _left(self, connection: Connection, todo: Todo) -> Todo:
        """What another source may still have. A gap that is read too early by one is so by all."""
        settled = {gap for gap, read in self._reads.items() if read.verdict.good or read.verdict.early}
        gaps = [gap for gap in todo.gaps if gap.id not in settled]
        still = {call.call_id for call in history_reads.unresolved(connection, self._now())}
        return Todo(gaps, [call for call in todo.calls if call.call_id in still])

    def _report(self, connection: Connection, todo: Todo, counts: Mapping[str, int]) -> Report:
        now = self._now()
        left = history_reads.unresolved(connection, now)
        still = {call.call_id for call in left}
        standing = history_reads.standing(connection, [gap.id for gap in todo.gaps])
        gaps = []
        for gap in todo.gaps:
            window, read, stands = self._windows.get(gap.id), self._reads.get(gap.id), standing.get(gap.id)
            if window is not None:
                gaps.append(_report(gap, window, read, stands))
        return Report(
            gaps=tuple(gaps),
            searched=len(todo.calls),
            found=sum(call.call_id not in still for call in todo.calls),
            missing=len(history_reads.open_gaps(connection)) + sum(call.overdue for call in left),
            counts=dict(counts),
            failure=self._failure,
            reached=self._reached,
        )


def _begun(gaps: Iterable[OpenGap], now: datetime) -> list[OpenGap]:
    return [gap for gap in gaps if gap.start < now]


def _claim(reading: Reading, gap: OpenGap) -> Claim:
    """A gap that lasts is read up to now."""
    part = Interval(gap.start, gap.end or reading.read_at)
    window = widened(part)
    if not history_reads.has_witness(reading.connection, gap.recorder, window, reading.held):
        nearest = history_reads.nearest_witness(reading.connection, gap.recorder, window, reading.held)
        if nearest is not None:
            window = Interval(min(window.start, nearest), max(window.end, nearest + _MOMENT))
    return Claim(gap, part, window)


def _report(
    gap: OpenGap, window: Interval, read: Read | None = None, stands: history_reads.Standing | None = None
) -> GapReport:
    known = GapReport(gap.id, gap.recorder, gap.start, gap.end, gap.reason, window)
    if read is None:
        return known
    return replace(
        known,
        after=stands.state if stands else "covered",
        witnesses=read.verdict.witnesses,
        recovered=stands.recovered if stands else 0,
        told=read.verdict.told or None,
    )


def _overlap(window: Interval, spans: Spans) -> bool:
    return any(window.start < span.end and span.start < window.end for span in spans)


def _window_end(claim: Claim) -> datetime:
    return claim.window.end


def _hours(spans: Spans) -> float:
    return sum((span.end - span.start) / _HOUR for span in spans)
