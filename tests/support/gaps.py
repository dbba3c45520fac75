"""An archive with gaps, and a history that says what a test lets it say: no sockets, no waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid1
from zoneinfo import ZoneInfo

from support.postgres import connection

from etl.calls import coverage
from etl.calls.coverage import SessionState
from etl.calls.facts import read_fact
from etl.calls.history import SKEW, widened
from etl.config import Settings
from etl.errors import HistoryUnavailable
from etl.history.paging import Page
from etl.ingest.interpret import Interpreter
from etl.jobs.backfill_gaps import GapBackfill, Report, Todo, everything
from etl.jobs.history import HttpSource, Source
from etl.model import Interval, Kind
from etl.protocol.dialect import Dialect
from etl.protocol.documents import parse
from etl.protocol.history import find_records
from etl.store.database import Connection
from etl.store.write import Batch, Writer

NOON = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
MARGIN = timedelta(seconds=1)
DELAY = timedelta(minutes=15)
TABLES = (
    "call", "fact", "session", "gap", "quarantine", "backfill_run", "history_read", "gap_acceptance",
    "call_acceptance", "erased_call", "reconcile_run",
)  # fmt: skip
UTC_ZONE = ZoneInfo("UTC")
_TICKS_EPOCH = datetime(1582, 10, 15, tzinfo=UTC)


def at(minute: float) -> datetime:
    """So many minutes after noon."""
    return NOON + timedelta(minutes=minute)


def id_at(moment: datetime, number: int) -> str:
    """The version 1 UUID of a call that begins then."""
    ticks = (moment - _TICKS_EPOCH) // timedelta(microseconds=1) * 10 + number % 10
    fields = (ticks & 0xFFFFFFFF, ticks >> 32 & 0xFFFF, ticks >> 48 & 0x0FFF, 0x80, number % 256, 0x010203040506)
    return str(UUID(fields=fields, version=1))


@dataclass(frozen=True)
class Row:
    """A call as the history has it. `appears`: from when on it shows it."""

    call_id: str
    start: datetime
    end: datetime | None
    location: str = "ny-1"
    appears: datetime = NOON - timedelta(days=999)
    extra: str = ""

    def element(self, zone: ZoneInfo) -> str:
        start, end = (
            f"{each.astimezone(zone):%Y-%m-%d %H:%M:%S.%f}"[:-3] if each else "" for each in (self.start, self.end)
        )
        return (
            f'<verbacdr state="1"><ccdr_id>{self.call_id}</ccdr_id><location>{self.location}</location>'
            f"<start_time>{start}</start_time><end_time>{end}</end_time>{self.extra}</verbacdr>"
        )


_numbers = iter(range(10**9))


def row(minute: float, length: float = 1, location: str = "ny-1", **options: Any) -> Row:
    """A call that begins so many minutes after noon, and lasts so many."""
    return Row(id_at(at(minute), next(_numbers)), at(minute), at(minute + length), location, **options)


@dataclass
class Clock:
    """The time of day, which only the test moves on."""

    moment: datetime = field(default_factory=lambda: at(60))

    def __call__(self) -> datetime:
        return self.moment


@dataclass
class Fake:
    """A history over HTTP. `zone` is that of its own times, `asked` the windows that it was asked for.

    `fails_at`: the search of that number fails, the first being 0. `searching` is called before each.
    """

    now: Clock
    rows: list[Row] = field(default_factory=list)
    zone: ZoneInfo = UTC_ZONE
    believed: ZoneInfo = UTC_ZONE
    asked: list[Interval] = field(default_factory=list)
    fails: bool = False
    ignores_range: bool = False
    searching: Callable[[int], None] = lambda _: None

    def search(self, window: Interval) -> Iterator[Page]:
        self.asked.append(window)
        self.searching(len(self.asked))
        if self.fails:
            raise HistoryUnavailable("the history is out of reach")
        wide = widened(window, SKEW)
        shift = wide.start.astimezone(self.believed).replace(tzinfo=self.zone) - wide.start
        found = [each for each in self.rows if self.ignores_range or wide.start <= each.start - shift < wide.end]
        shown = "".join(each.element(self.zone) for each in found if each.appears <= self.now())
        yield Page(self.now(), find_records(parse(f"<Rows>{shown}</Rows>".encode()), Dialect()))


@dataclass
class House:
    """An archive, its configuration, and the fake history behind it."""

    url: str
    data_dir: Path
    clock: Clock = field(default_factory=Clock)
    options: dict[str, Any] = field(default_factory=dict)
    history: dict[str, Any] = field(default_factory=lambda: {"http": {"url": "http://history.example", "delay": "15m"}})

    def __post_init__(self) -> None:
        self.fake = Fake(self.clock)
        self._sessions = iter(range(1, 10**6))

    @property
    def settings(self) -> Settings:
        recorders = [{"name": name, "host": "127.0.0.1", "port": 1} for name in ("ny-1", "ny-2")]
        given = {"database": {"url": self.url}, "worker": {"data_dir": self.data_dir}, "recorder": recorders}
        return Settings.model_validate({**given, "history": self.history, **self.options})

    def connect(self) -> Connection:
        return connection(self.url)

    def empty(self) -> None:
        """Forget everything, the history too."""
        with self.connect() as opened, opened.transaction():
            for table in TABLES:
                opened.execute(f"DELETE FROM cdr.{table}".encode())
        self.fake.rows.clear()

    # What was heard

    def heard(self, *rows: Row, recorder: str = "ny-1") -> None:
        """The recorder's stream has shown these calls with their records."""
        self._store(rows, Kind.DETAIL, recorder)

    def begun(self, *rows: Row, recorder: str = "ny-1") -> None:
        """The recorder's stream has shown that these calls ended, but never a record."""
        self._store(rows, Kind.END, recorder)

    def ongoing(self, *rows: Row, recorder: str = "ny-1") -> None:
        """The recorder's list has shown these calls."""
        self._store([replace(each, end=None) for each in rows], Kind.LIST, recorder)

    def _store(self, rows: Iterable[Row], kind: Kind, recorder: str) -> None:
        source = Interpreter(self.settings).source(recorder)
        found = [(each, find_records(parse(each.element(UTC_ZONE).encode()), source.dialect)) for each in rows]
        facts = [read_fact(read.records[0], kind, each.end or each.start, source.reading) for each, read in found]
        with self.connect() as opened:
            Writer(opened).write(Batch(facts=facts))

    def sessions(self, *spans: tuple[float, float | None], recorder: str = "ny-1") -> None:
        """Sessions covered these minutes; with None as its end the last one lives."""
        states = [self._session(recorder, start, end) for start, end in spans]
        with self.connect() as opened:
            Writer(opened).write(Batch(sessions=states))

    def _session(self, recorder: str, start: float, end: float | None) -> SessionState:
        state = SessionState(
            UUID(int=hash(recorder) % 2**64 * 10**6 + next(self._sessions)), recorder, str(uuid1()), (), at(start)
        )
        state = coverage.listed(coverage.subscribed(state, at(start)), at(start), at(start))
        state = coverage.read(state, at(end if end is not None else start + 1) + MARGIN)
        return state if end is None else coverage.closed(state, at(end) + MARGIN, "drop", MARGIN)

    # What is done

    def sources(self) -> list[Source]:
        return [HttpSource(self.fake, self.settings)]

    def fill(self, **options: Any) -> Report:
        job = GapBackfill(self.settings, self.connect, self.sources(), now=self.clock, **options)
        return job.run(self.todo())

    def todo(self) -> Todo:
        with self.connect() as opened:
            return everything(opened, self.clock())

    # What is there

    def ask(self, query: str) -> list[Any]:
        with connection(self.url) as opened:
            return opened.execute(query.encode()).fetchall()

    def gaps(self) -> list[tuple[str, float, float | None, str, int]]:
        """Recorder, first and last minute, state, and calls recovered of every gap."""
        found = self.ask("SELECT recorder, from_time, to_time, state, calls_recovered FROM cdr.gap ORDER BY 1, 2")
        return [(name, _minute(start), _minute(end) if end else None, state, n) for name, start, end, state, n in found]

    def states(self) -> dict[str, str]:
        return dict(self.ask("SELECT call_id, state FROM cdr.call"))

    def calls(self) -> list[Any]:
        """The rows of all calls, with the transaction that wrote them last."""
        return self.ask("SELECT xmin, * FROM cdr.call ORDER BY call_id")


def _minute(moment: datetime) -> float:
    return (moment - NOON) / timedelta(minutes=1)
