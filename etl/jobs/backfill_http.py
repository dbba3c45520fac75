"""A span of time is imported from the history over HTTP, window by window; a run that was stopped goes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from etl.calls.history import SKEW
from etl.calls.intervals import intersect, span
from etl.config import Settings
from etl.errors import HistoryError, WrongZone
from etl.jobs.history import NOT_STORED, Claim, Intake, OnWritten, Reading, Source, ending, writing
from etl.jobs.progress import OnProgress, Progress, unwatched
from etl.jobs.zone_guard import ZoneGuard
from etl.model import Interval
from etl.store import backfill, history_reads
from etl.store.backfill import Run
from etl.store.database import Connection
from etl.store.history_reads import OpenGap
from etl.store.write import Writer


@dataclass(frozen=True, slots=True)
class Report:
    """What a run did. `since`: it went on from there, None if it began anew. `counts` include what it did before;
    `hidden` are calls that we hold as complete, and not from this history alone, and that it did not show.

    `filled`: gaps of the span that are no longer open. `open_gaps` and `unresolved` are what is missing in the span
    and not accepted. `failure`: why the history did not give all. `late_until`: until when rows of the span may still
    appear or calls begin, None if all was settled when it was read.
    """

    since: datetime | None
    counts: Mapping[str, int] = field(default_factory=dict)
    filled: int = 0
    open_gaps: int = 0
    unresolved: int = 0
    failure: str | None = None
    late_until: datetime | None = None


class HttpBackfill:
    """Reads a span of time. `on_resumed` is told from where a run that was stopped goes on. For one run."""

    def __init__(
        self,
        settings: Settings,
        connect: Callable[[], Connection],
        source: Source,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_progress: OnProgress = unwatched,
        on_resumed: Callable[[datetime], None] = lambda _: None,
        on_written: OnWritten = lambda _: None,
    ) -> None:
        self._settings = settings
        self._connect = connect
        self._source = source
        self._now = now
        self._on_progress = on_progress
        self._on_resumed = on_resumed
        self._on_written = on_written
        self._late = False

    def preview(self, wanted: Interval) -> Report:
        """Read everything and store nothing: the counts say what is new."""
        with self._connect() as connection:
            intake = self._intake(connection, None, Counter())
            failure = self._failure_of(lambda: self._windows(connection, None, intake, wanted, wanted.start))
            return self._report(connection, wanted, None, intake.counts, set(), failure)

    def run(self, wanted: Interval) -> Report:
        """Read and store. A history that does not answer, or is read in a wrong zone, is told in the report.

        Raises DatabaseError.
        """
        with self._connect() as connection, writing(self._connect, self._settings, dry_run=False) as writer:
            run, since = self._begin(connection, wanted)
            intake = self._intake(connection, writer, Counter(run.counts if since else {}))
            before = {gap.id for gap in history_reads.open_gaps(connection, wanted)}
            start = since or wanted.start
            try:
                failure = self._failure_of(lambda: self._windows(connection, run, intake, wanted, start))
            except BaseException as error:
                backfill.finish(connection, run.id, how := ending(error), intake.counts, str(error) or how)
                raise
            history_reads.recount(connection, wanted)  # first: nobody takes up a run that has finished
            backfill.finish(connection, run.id, "failed" if failure else "done", intake.counts, failure)
            return self._report(connection, wanted, since, intake.counts, before, failure)

    def _intake(self, connection: Connection, writer: Writer | None, counts: Counter[str]) -> Intake:
        key = self._source.zone_key
        return Intake(connection, writer, key, self._on_written, counts, run_guard=ZoneGuard(key, NOT_STORED))

    def _begin(self, connection: Connection, wanted: Interval) -> tuple[Run, datetime | None]:
        scope = {"from": wanted.start.astimezone(UTC).isoformat(), "to": wanted.end.astimezone(UTC).isoformat()}
        run = backfill.resume(connection, "http", scope)
        if run is None:
            return backfill.begin(connection, "http", scope), None
        if run.position is None:
            return run, None
        since = max(run.position, wanted.start)
        self._on_resumed(since)
        return run, since

    def _failure_of(self, work: Callable[[], None]) -> str | None:
        try:
            work()
        except HistoryError as error:
            return str(error)
        return None

    def _windows(
        self, connection: Connection, run: Run | None, intake: Intake, wanted: Interval, start: datetime
    ) -> None:
        """One window after the other; each is stored whole before the next is begun. There is no future to read.

        The position stays where rows may still be late: a run that goes on reads that time again.
        """
        end = min(wanted.end, self._now() + SKEW)
        self._late = end < wanted.end
        left = span(start, end)
        for number, part in enumerate(self._source.passes(left)):
            reading = Reading(connection, self._source, intake, self._now(), self._settings)
            if not number:
                self._tell(wanted, part[0].start, end, intake)
            self._window(connection, run, reading, part[0])
            self._tell(wanted, part[0].end, end, intake)

    def _window(self, connection: Connection, run: Run | None, reading: Reading, window: Interval) -> None:
        claims = list(_claims(history_reads.open_gaps(connection, window), window, reading.read_at))
        reading.intake.unseen = history_reads.all_witnesses(connection, window, reading.held)
        try:
            reading.read((window,), claims)
        except WrongZone:
            if run is not None:
                backfill.progress(connection, run.id, reading.intake.counts)  # from the start: other times were read
            raise
        self._late = self._late or window.end > reading.settled
        reading.intake.counts["hidden"] += len(reading.intake.unseen)
        if run is not None:
            reads = [reading.judged(claim) for claim in claims]
            history_reads.note_reads(connection, run.id, reads)
            backfill.progress(connection, run.id, reading.intake.counts, min(window.end, reading.settled))

    def _tell(self, wanted: Interval, position: datetime, end: datetime, intake: Intake) -> None:
        hours = [(each - wanted.start).total_seconds() / 3600 for each in (position, end)]
        self._on_progress(Progress(hours[0], hours[1], "hours", intake.counts, "records"))

    def _report(
        self,
        connection: Connection,
        wanted: Interval,
        since: datetime | None,
        counts: Mapping[str, int],
        before: set[int],
        failure: str | None,
    ) -> Report:
        gaps = {gap.id for gap in history_reads.open_gaps(connection, wanted)}
        calls = history_reads.unresolved(connection, self._now())
        missing = sum(call.overdue and wanted.start <= call.near < wanted.end for call in calls)
        late_until = wanted.end + self._source.delay if self._late else None
        return Report(since, dict(counts), len(before - gaps), len(gaps), missing, failure, late_until)


def _claims(gaps: list[OpenGap], window: Interval, read_at: datetime) -> Iterator[Claim]:
    """What this window can prove of the gaps in it; of one that lasts up to now."""
    for gap in gaps:
        for part in intersect((window,), span(gap.start, gap.end or read_at)):
            yield Claim(gap, part, window)
