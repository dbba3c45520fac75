"""`cdr verify`: the history, read afresh, against the archive, call by call; and the archive against its own evidence.

Two questions, asked together. Does the archive say what the history says? Does each row follow from the facts that
are kept of it? The second needs no history and finds what somebody changed by hand, whichever column it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from etl.config import Settings
from etl.errors import CdrError, DatabaseError
from etl.ingest.history import Told
from etl.ingest.interpret import Interpreter
from etl.jobs.history import Source
from etl.jobs.progress import OnProgress, Progress, unwatched
from etl.jobs.verify_judge import Judge, Shown, Verdict
from etl.jobs.zone_guard import ZoneGuard
from etl.model import FINISHED, Fact, Interval, Kind
from etl.store import verify as store
from etl.store.audit import Author
from etl.store.database import Connection
from etl.store.rebuild import rebuild_these
from etl.store.staging import Key
from etl.store.write import Batch, Writer

PAGE = 1_000
"""Calls that are compared at a time."""
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Report:
    """How a run ended.

    `counts`: findings by kind, and calls by the part they play (docs/history.md explains them). `left`: findings that
    are not mended. `unproven`: documents and records of the history that could not be understood.
    """

    run: UUID
    source: Kind
    span: Interval
    counts: Mapping[str, int]
    left: int
    unproven: int

    @property
    def agrees(self) -> bool:
        """Whether nothing is amiss any more."""
        return not self.left and not self.unproven


class Repair:
    """Puts right what can be: the history's records go the way of any others, and rows follow from facts again."""

    def __init__(self, connection: Connection, interpreter: Interpreter, author: Author) -> None:
        """`connection` is for the repair alone; `author` is who asked for it."""
        self.author = author
        self._connection = connection
        self._reread = interpreter.reread
        self._writer = Writer(connection)

    def mend(self, history: Sequence[Shown], keys: Sequence[Key]) -> None:
        """Store these records, and derive these calls again from all their facts. Raises DatabaseError."""
        wanted, strange = ([each.fact for each in history if each.wanted is which] for which in (True, False))
        if history:
            self._writer.write(Batch(facts=wanted, strangers=strange))
        rebuild_these(self._connection, self._reread, keys)


def verify(
    connection: Connection,
    settings: Settings,
    source: Source,
    span: Interval,
    *,
    repair: Repair | None = None,
    on_progress: OnProgress = unwatched,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Report:
    """Compare the calls that started in `span`. What is found stays with the connection (`store.verify.findings`).

    Raises HistoryError where the history cannot be read whole, DatabaseError; the run is then noted as failed.
    """
    run = store.begin(connection, span, Kind(source.name), repair.author if repair else None)
    judge = Judge(connection, settings, span, now())
    work = _Verification(connection, judge, source, span, run, repair, on_progress)
    try:
        work.read_history()
        work.check_rows()
        work.find_extra()
        report = work.report()
    except KeyboardInterrupt:
        with suppress(DatabaseError):
            store.finish(connection, run, "interrupted", work.counts)
        raise
    except CdrError as error:
        with suppress(DatabaseError):
            store.finish(connection, run, "failed", work.counts, str(error))
        raise
    store.finish(connection, run, "done", report.counts)
    return report


@dataclass(slots=True)
class _Verification:
    """One run. `counts` is what it has seen so far."""

    connection: Connection
    judge: Judge
    source: Source
    span: Interval
    run: UUID
    repair: Repair | None
    on_progress: OnProgress
    pieces: int = 0
    hours: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)

    def read_history(self) -> None:
        """Hold every record of the history against the archive. Raises HistoryError where it is not all there."""
        waiting: dict[Key, Shown] = {}
        guard = ZoneGuard(self.source.zone_key, "The comparison ends here.")
        for spans in self.source.passes((self.span,)):
            for told in self.source.read(spans, whole=True):
                guard.see(told.read)
                self._count(told)
                _take(waiting, told)
                if len(waiting) >= PAGE:
                    self._judge_page(waiting, guard)
            self.hours += sum((each.end - each.start) / _HOUR for each in spans)
            self._tell()
        self._judge_page(waiting, guard)

    def _count(self, told: Told) -> None:
        self.pieces += 1
        self.counts["unreadable"] += len(told.quarantined)
        self.counts["skipped"] += told.skipped

    def _judge_page(self, waiting: dict[Key, Shown], guard: ZoneGuard) -> None:
        """Judge what waits, unless its times are in another zone; then nothing waits any more."""
        guard.check()
        self._judge(waiting)
        self._tell()
        waiting.clear()

    def check_rows(self) -> None:
        """Hold the rows that the history did not show against their own facts."""
        for keys in store.scope(self.connection, self.span, PAGE):
            verdicts = self.judge.of_rows(keys)
            amiss = [key for key, verdict in verdicts.items() if verdict.findings]
            if self.repair and amiss:
                self.repair.mend((), amiss)
                again = self.judge.of_rows(amiss)
                verdicts |= {key: verdicts[key].after(again[key]) for key in amiss}
            self._keep({}, verdicts)
            self.counts["rows"] += len(keys)
            self._tell()

    def find_extra(self) -> None:
        """Find what the history did not show, now that it was read whole and rows are where they belong."""
        settled = self.judge.now - self.source.delay
        self.counts += Counter(store.find_extra(self.connection, self.run, self.span, settled, self.judge.kept_from))

    def report(self) -> Report:
        """What came of it."""
        kinds, left = store.found(self.connection)
        parts = Counter(store.shown(self.connection))
        seen = Counter({name: self.counts[name] for name in ("late", "erased", "expired", "skipped", "unreadable")})
        mended = Counter({"mended": sum(kinds.values()) - left})
        counts = dict(parts + seen + mended + Counter(kinds))
        return Report(self.run, Kind(self.source.name), self.span, counts, left, self.counts["unreadable"])

    def _judge(self, shown: Mapping[Key, Shown]) -> None:
        """Judge some calls that the history shows, mend them where that is asked for, and keep what was found."""
        shown = self._news(shown)
        if not shown:
            return
        verdicts = self.judge.of_history(shown)
        amiss = [key for key, verdict in verdicts.items() if verdict.findings]
        if self.repair and amiss:
            self.repair.mend([shown[key] for key in amiss if verdicts[key].mended_by(shown[key])], amiss)
            again = self.judge.of_history({key: shown[key] for key in amiss})
            verdicts |= {key: verdicts[key].after(again[key]) for key in amiss}
        self._keep({key: (verdict.part, shown[key].fact.observed_at) for key, verdict in verdicts.items()}, verdicts)
        self.counts["compared"] += sum(verdict.part == "compared" for verdict in verdicts.values())

    def _news(self, shown: Mapping[Key, Shown]) -> Mapping[Key, Shown]:
        """Those of which the history has not shown a newer record before: files can be there twice, rows come again."""
        seen = store.seen(self.connection, shown) if shown else {}
        return {key: each for key, each in shown.items() if key not in seen or each.replaces(seen[key])}

    def _keep(self, shown: Mapping[Key, tuple[str, datetime]], verdicts: Mapping[Key, Verdict]) -> None:
        found = [finding for verdict in verdicts.values() for finding in verdict.findings]
        store.keep(self.connection, self.run, shown, found)
        self.counts["findings"] += len(found)

    def _tell(self) -> None:
        counts = {name: self.counts[name] for name in ("compared", "findings", "rows")}
        hours = (self.span.end - self.span.start) / _HOUR
        if self.source.name == "file":
            self.on_progress(Progress(self.pieces, None, "files", counts))
        else:
            self.on_progress(Progress(self.hours, hours, "hours", counts, rate_of="compared"))


def _take(waiting: dict[Key, Shown], told: Told) -> None:
    """Wait for what was read; of several records of one call for the one that speaks first in the merge."""
    for facts, wanted in ((told.facts, True), (told.strangers, False)):
        for fact in facts:
            key = (fact.call_id, fact.id_time)
            if key not in waiting or _speaks_before(fact, waiting[key].fact):
                waiting[key] = Shown(fact, wanted)


def _speaks_before(one: Fact, other: Fact) -> bool:
    return _order(one) > _order(other)


def _order(fact: Fact) -> tuple[bool, datetime, bytes]:
    return fact.kind in FINISHED, fact.observed_at, fact.digest
