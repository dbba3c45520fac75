"""Reading the history into the archive: what the backfills over HTTP and for gaps share."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol, TypeAlias

from etl.calls.gaps import suffices
from etl.calls.history import Evidence, judge, widened, windows
from etl.calls.intervals import FOREVER, Spans, intersect, union
from etl.calls.retention import expired_before
from etl.config import Settings
from etl.errors import HistoryUnreadable
from etl.history.files import Problem, Trouble, scan
from etl.history.http import HistoryClient, NotUnderstood
from etl.history.paging import Page
from etl.ingest.history import HistoryReader, Told
from etl.jobs.zone_guard import ZoneGuard, withhold
from etl.model import Fact, Interval, Kind, Quarantined
from etl.store import gate, history_reads, quarantine
from etl.store.backfill import Result
from etl.store.database import Connection
from etl.store.expected import Expected
from etl.store.history_reads import Held, OpenGap, Read
from etl.store.write import Batch, Writer, Written

BATCH = 2_000
"""Records that are merged in one transaction, at least."""
OLDEST = timedelta(days=1)
"""A metadata file is written when its call has ended: one modified so long before a span holds no call of it."""
NOT_STORED = "The last of them were not stored; what was stored before, 'cdr rebuild' mends in the right zone."
"""What becomes of rows in a wrong zone."""

OnWritten: TypeAlias = Callable[[Written], None]


class Stopped(Exception):
    """Whoever runs a job has no more time for it. Raised by what the job is given: a pause, or a look at progress."""


def ending(error: BaseException) -> Result:
    """How a run ends that this ended."""
    return "interrupted" if isinstance(error, KeyboardInterrupt | Stopped) else "failed"


def delay_of(settings: Settings) -> timedelta:
    """How late the history that is asked first may show a call."""
    first = settings.history.http or settings.history.files
    return first.delay if first is not None else timedelta(0)


class Searches(Protocol):
    """The history over HTTP: see `etl.history.http.HistoryClient`."""

    def search(self, window: Interval) -> Iterator[Page]: ...


class Source(Protocol):
    """A history, and how it is read. `delay`: rows may appear this late. `zone_key`: where its zone is configured."""

    @property
    def name(self) -> history_reads.Source: ...

    @property
    def delay(self) -> timedelta: ...

    @property
    def zone_key(self) -> str: ...

    def passes(self, spans: Spans) -> Iterator[Spans]:
        """What is read at once, in order of time."""
        ...

    def read(self, spans: Spans, *, whole: bool = False) -> Iterator[Told]:
        """All that it has of these spans, and perhaps more. `whole`: nothing is left out because its file is too old.

        Raises HistoryError where it does not give all.
        """
        ...

    def concerns(self, found: Quarantined, window: Interval) -> bool:
        """Whether what could not be understood may hold a call of this window, given that both were read at once."""
        ...


class HttpSource:
    """The HTTP API: one window after the other."""

    name: history_reads.Source = "http"
    zone_key = "history.http.timezone"

    def __init__(self, client: Searches, settings: Settings) -> None:
        assert settings.history.http is not None
        self.delay = settings.history.http.delay
        self._client = client
        self._reader = HistoryReader(settings)

    def passes(self, spans: Spans) -> Iterator[Spans]:
        yield from ((window,) for span in spans for window in windows(span))

    def read(self, spans: Spans, *, whole: bool = False) -> Iterator[Told]:
        try:
            for span in spans:
                for page in self._client.search(span):
                    yield self._reader.rows(page.found, page.observed_at)
        except NotUnderstood as error:
            yield Told(quarantined=[error.quarantined])
            raise

    def concerns(self, found: Quarantined, window: Interval) -> bool:
        return True  # it came when the window was asked for


class FileSource:
    """Metadata files: whatever is asked, all folders are gone through once."""

    name: history_reads.Source = "file"
    zone_key = "history.files.timezone"

    def __init__(self, roots: Sequence[Path], settings: Settings) -> None:
        assert settings.history.files is not None
        self.delay = settings.history.files.delay
        self._roots = roots
        self._limit = settings.worker.document_limit
        self._reader = HistoryReader(settings)

    def passes(self, spans: Spans) -> Iterator[Spans]:
        if spans:
            yield spans

    def read(self, spans: Spans, *, whole: bool = False) -> Iterator[Told]:
        unread = _Unread()
        since = None if whole else spans[0].start - OLDEST
        for file in scan(self._roots, since, self._limit, unread.tell):
            yield self._reader.file(file.path, file.observed_at, file.body)
        if unread.first is not None:
            raise HistoryUnreadable(
                f"{unread.count} metadata files or folders cannot be read, the first is {unread.first.path!a}"
                f" ({unread.first.told}): mend that, or take it out of history.files.roots"
            )

    def concerns(self, found: Quarantined, window: Interval) -> bool:
        """A file is written when its call ends, and appears within the delay."""
        return window.start <= found.observed_at < window.end + self.delay


@dataclass(slots=True)
class _Unread:
    """How many files could not be read, and the first of them: there may be millions."""

    count: int = 0
    first: Problem | None = None

    def tell(self, problem: Problem) -> None:
        if problem.trouble is Trouble.UNREADABLE:
            self.count += 1
            self.first = self.first or problem


@dataclass(slots=True)
class Intake:
    """Where all goes that a source says: behind the guard into the writer, or, without one, only into the counts.

    `counts` go on from run to run: `records` read, of which `outside` lay elsewhere and were left, and `expired` were
    of calls as old as those that were deleted by age; calls `completed`, `strangers` that a recorder's filter leaves
    out, rows that could not be read and were `quarantined`, and rows
    `withheld` because their times are doubtful and the calls better known; without a writer how many calls are `new`,
    `known`, and known but without a record yet (`open`). What is shown leaves `unseen`, ids that somebody waits for.
    """

    connection: Connection
    writer: Writer | None
    zone_key: str
    on_written: OnWritten = lambda _: None
    counts: Counter[str] = field(default_factory=Counter)
    unseen: set[str] = field(default_factory=set)
    run_guard: ZoneGuard | None = None  # for all that a run reads; each other is for what is read at once
    _spans: Spans = ()
    _starts: list[datetime] = field(default_factory=list)
    _waiting: Told = field(default_factory=Told)
    _guard: ZoneGuard = field(default_factory=lambda: ZoneGuard(""))

    def begin(self, spans: Spans) -> None:
        """What comes now is wanted where it overlaps these spans."""
        self._spans = union(widened(span) for span in spans)
        self._starts = [span.start for span in self._spans]
        self._waiting = Told()
        self._guard = ZoneGuard(self.zone_key, NOT_STORED)

    def take(self, told: Told) -> set[str]:
        """Returns the ids of the wanted calls. Raises WrongZone, DatabaseError."""
        for guard in self._guards:
            guard.see(told.read)
        facts, strangers = ([fact for fact in each if self._wanted(fact)] for each in (told.facts, told.strangers))
        self.counts["records"] += len(told.read)
        self.counts["outside"] += len(told.read) - len(facts) - len(strangers)
        self.counts["strangers"] += len(strangers)
        self._waiting.facts += facts
        self._waiting.strangers += strangers
        self._waiting.quarantined += told.quarantined
        if len(self._waiting.facts) + len(self._waiting.strangers) + len(self._waiting.quarantined) >= BATCH:
            self.flush()
        shown = {fact.call_id for fact in (*facts, *strangers)}
        self.unseen -= shown
        return shown

    def flush(self) -> None:
        """Store what waits."""
        waiting, self._waiting = self._waiting, Told()
        for guard in self._guards:
            guard.check()
        if any(guard.doubtful for guard in self._guards):
            self.counts["withheld"] += withhold(self.connection, waiting)
        if not (waiting.read or waiting.quarantined):
            return
        if self.writer is None:
            self._count(waiting)
            return
        batch = Batch(facts=waiting.facts, strangers=waiting.strangers, quarantined=waiting.quarantined)
        written = self.writer.write(batch)
        self.counts["completed"] += len(written.completed)
        self.counts["expired"] += written.expired
        self.counts["quarantined"] += sum(written.quarantined.values())
        self.on_written(written)

    @property
    def _guards(self) -> tuple[ZoneGuard, ...]:
        """A zone can be wrong for half of the year, and at a quiet site only many windows together tell."""
        return (self._guard,) if self.run_guard is None else (self._guard, self.run_guard)

    def _count(self, told: Told) -> None:
        facts = gate.unexpired(self.connection, told.facts)
        states = history_reads.states(self.connection, {(fact.call_id, fact.id_time) for fact in facts})
        self.counts["expired"] += len(told.facts) - len(facts)
        self.counts["new"] += states.get(None, 0)
        self.counts["known"] += sum(count for state, count in states.items() if state is not None)
        self.counts["open"] += sum(count for state, count in states.items() if state not in (None, "complete"))
        self.counts["quarantined"] += len(told.quarantined)

    def _wanted(self, fact: Fact) -> bool:
        """Whether a call overlaps what is read: a server may select by overlap, or ignore what it was asked."""
        start, end = fact.values.get("start_time"), fact.values.get("end_time")
        first = start if isinstance(start, datetime) else end
        if not isinstance(first, datetime):
            return True  # nobody can tell
        last = end if isinstance(end, datetime) else FOREVER if fact.kind is Kind.UNFINISHED else first
        place = bisect_right(self._starts, last)
        return place > 0 and first < self._spans[place - 1].end


@dataclass(slots=True)
class Claim:
    """What a gap asks of a read: `part` is the time it is about, `window` what must be read to judge it."""

    gap: OpenGap
    part: Interval
    window: Interval
    shown: Evidence = field(default_factory=Evidence)


@dataclass(slots=True)
class Reading:
    """A source while it is read. `read_at` is when that began."""

    connection: Connection
    source: Source
    intake: Intake
    read_at: datetime
    settings: Settings
    _kept_from: datetime | None = field(init=False)

    def __post_init__(self) -> None:
        configured = expired_before(self.settings.retention.keep, self.read_at)
        self._kept_from = gate.kept_from(self.connection, configured)

    @property
    def settled(self) -> datetime:
        """Up to here the source shows everything: no row can be late any more."""
        return self.read_at - self.source.delay

    @property
    def held(self) -> Held:
        """The calls that it has to show."""
        return Held(self.source.name, self.settled, self.read_at, self._kept_from)

    def read(self, spans: Spans, claims: Iterable[Claim]) -> None:
        """Read these spans, store what they show, and note in the claims which witnesses were among the rows."""
        expected, claims = Expected(self.connection), list(claims)
        for number, claim in enumerate(claims):
            for window in intersect((claim.window,), spans):
                claim.shown.witnesses += expected.add(number, claim.gap.recorder, window, self.held)
        self.intake.begin(spans)
        try:
            for told in self.source.read(spans):
                expected.shown(self.intake.take(told))
                unread = self._unread(told.quarantined)
                for claim in claims:
                    claim.shown.unread |= {key for key, each in unread if self.source.concerns(each, claim.window)}
        finally:
            self.intake.flush()
        for number, hidden in expected.left().items():
            claims[number].shown.hidden += hidden

    def judged(self, claim: Claim) -> Read:
        """What it proves for a claim whose whole window was read."""
        claim.shown.narrowed = not suffices(self._filter(claim.gap.recorder), claim.gap.extensions)
        verdict = judge(claim.shown, claim.gap.end, self.read_at, self.source.delay)
        return Read(claim.gap.recorder, claim.part, self.read_at, self.source.name, verdict)

    def _unread(self, found: Iterable[Quarantined]) -> list[tuple[bytes, Quarantined]]:
        """What of it nobody has looked at and discarded."""
        kept = (each for each in found if not quarantine.discarded(self.connection, [each]))
        return [(quarantine.digest(each), each) for each in kept]

    def _filter(self, recorder: str) -> frozenset[str]:
        """What keeps strangers out today. A recorder that is not configured any more has none."""
        return frozenset(
            each for found in self.settings.recorder if found.name == recorder for each in found.extensions
        )


@contextmanager
def sources(settings: Settings, sleep: Callable[[float], None] = time.sleep) -> Iterator[list[Source]]:
    """The configured histories, in the order in which they are asked: HTTP, then files."""
    http, files = settings.history.http, settings.history.files
    found: list[Source] = []
    with ExitStack() as stack:
        if http is not None:
            client = stack.enter_context(HistoryClient(http, settings.worker.document_limit, sleep=sleep))
            found.append(HttpSource(client, settings))
        if files is not None:
            found.append(FileSource(files.roots, settings))
        yield found


@contextmanager
def writing(connect: Callable[[], Connection], settings: Settings, *, dry_run: bool) -> Iterator[Writer | None]:
    """A writer over a connection of its own; None for a dry run."""
    if dry_run:
        yield None
        return
    with connect() as connection:
        yield Writer(connection, margin=settings.worker.margin)
