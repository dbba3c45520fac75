"""The loader against real PostgreSQL: batches, a database that goes and comes back, and rivals."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from support.postgres import Server, connection
from support.recorders import CALL, NOON, detail, ended, keepalive, listed, started, subscribed

from etl.config import Settings
from etl.errors import DatabaseUnavailable
from etl.ingest import loader as module
from etl.ingest.interpret import Interpreter
from etl.ingest.loader import Loaded, Loader
from etl.model import Draft, Entry, Json, What
from etl.store import sessions
from etl.store.database import Connection
from etl.store.errors import CheckpointMoved
from etl.store.write import Batch, Writer, Written

MARGIN = timedelta(seconds=1)
SETTINGS = Settings.model_validate({"recorder": [{"name": "ny-1", "host": "recorder.example", "port": 1}]})


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSES", (0.01, 0.05))
    monkeypatch.setattr(module, "GATHER", 0.0)
    monkeypatch.setattr(module, "POLL", 0.02)


@dataclass
class Lines:
    """A journal in memory: one line per second."""

    id: UUID = field(default_factory=uuid4)
    entries: list[Entry] = field(default_factory=list)
    reads: list[tuple[int, int]] = field(default_factory=list)
    discarded: int = 0
    session: UUID = field(default_factory=uuid4)
    _news: threading.Condition = field(default_factory=threading.Condition)

    def add(self, what: What, body: bytes = b"", session: UUID | None = None, **note: Json) -> None:
        number = len(self.entries) + 1
        at = NOON + timedelta(seconds=number)
        with self._news:
            self.entries.append(Entry(number, Draft(at, "ny-1", session or self.session, what, body, note)))
            self._news.notify_all()

    def say(self, *bodies: bytes, session: UUID | None = None) -> None:
        for body in bodies:
            self.add(What.DOCUMENT, body, session)

    def begin(self, session: UUID | None = None, **clocks: Json) -> None:
        """A session that is subscribed and has its list."""
        self.add(What.OPENED, b"", session, worker=str(self.id), extensions=[], **clocks)
        self.add(What.DOCUMENT, subscribed("1"), session, asked="subscribe")
        at = (NOON + timedelta(seconds=len(self.entries))).isoformat()
        self.add(What.DOCUMENT, listed("1"), session, channel="query", asked="list", requested_at=at)

    def read(self, after: int, max_rows: int, max_bytes: int) -> list[Entry]:
        found: list[Entry] = []
        for entry in self.entries[after : after + max_rows]:
            found.append(entry)
            if sum(len(each.draft.body) for each in found) >= max_bytes:
                break
        self.reads.append((after, len(found)))
        return found

    def wait(self, after: int, timeout: float) -> bool:
        with self._news:
            return self._news.wait_for(lambda: len(self.entries) > after, timeout)

    def discard(self, upto: int) -> None:
        self.discarded = upto


@pytest.fixture
def lines() -> Lines:
    return Lines()


Make = Callable[..., Loader]


@pytest.fixture
def make(empty_embedded_conn: Connection, embedded_url: str) -> Make:
    """A loader into an empty database; `connect` replaces how it gets there."""

    def build(source: Lines, connect: Callable[[], Connection] | None = None, **options: Any) -> Loader:
        now: Callable[[], datetime] = lambda: NOON + timedelta(hours=1)  # noqa: E731
        way = connect or (lambda: connection(embedded_url))
        return Loader(source, way, Interpreter(SETTINGS), MARGIN, now, **options)

    return build


@contextmanager
def running(loader: Loader, source: Lines) -> Iterator[None]:
    """Loads in a thread until the block has ended and everything is loaded."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            loader.run()
        except BaseException as error:  # noqa: BLE001 - shown below
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
        wait_for(lambda: loader.sequence == len(source.entries) or bool(failures))
    finally:
        loader.stop()
        thread.join(10)
    assert failures == []


def wait_for(holds: Callable[[], bool]) -> None:
    for _ in range(2_000):
        if holds():
            return
        threading.Event().wait(0.01)
    raise AssertionError("did not happen in 20 s")


def rows(conn: Connection, query: str) -> list[Any]:
    with conn.transaction():
        return conn.execute(query.encode()).fetchall()


def coverage_of(conn: Connection) -> list[Any]:
    return rows(conn, "SELECT id, coverage, closed_at, reason FROM cdr.session ORDER BY id")


def gaps(conn: Connection) -> list[Any]:
    return rows(conn, "SELECT from_time, to_time, reason FROM cdr.gap ORDER BY 1")


def test_all_lines_reach_the_database_and_are_given_back_to_the_journal(
    make: Make, lines: Lines, empty_embedded_conn: Connection
) -> None:
    lines.begin()
    lines.say(started(), ended())
    lines.add(What.REJECTED, b"???", reason="garbage")
    loaded: list[Loaded] = []
    make(lines, on_loaded=loaded.append).run(until=6)
    assert rows(empty_embedded_conn, "SELECT call_id, state FROM cdr.call") == [(CALL, "ended")]
    assert rows(empty_embedded_conn, "SELECT reason, body FROM cdr.quarantine") == [("garbage", b"???")]
    assert rows(empty_embedded_conn, "SELECT journal, sequence FROM cdr.checkpoint") == [(lines.id, 6)]
    assert lines.discarded == 6
    assert [each.written.states for each in loaded] == [{("ny-1", "ended"): 1}]


def test_batches_end_at_their_rows_and_at_their_bytes(
    make: Make, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROWS", 4)
    monkeypatch.setattr(module, "BYTES", 1_000)
    for number in range(4):
        lines.say(keepalive(number + 1))
    lines.say(b"x" * 600, b"x" * 600, b"x" * 5_000, b"x" * 5_000)
    make(lines).run(until=8)
    assert lines.reads == [(0, 4), (4, 2), (6, 1), (7, 1)]


def test_the_time_from_an_end_to_its_committed_record_is_told(make: Make, lines: Lines) -> None:
    lines.begin()
    lines.say(ended())
    lines.add(What.DOCUMENT, detail("9"), channel="query", asked="detail", requested_at=NOON.isoformat(), call_id=CALL)
    loaded: list[Loaded] = []
    make(lines, on_loaded=loaded.append).run(until=5)
    [seconds] = [wait for each in loaded for wait in each.end_to_commit]
    assert seconds == 3600 - 4


def test_a_database_out_of_reach_at_the_start_is_waited_for_and_told_once(
    make: Make, lines: Lines, embedded_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines.say(started())
    tries = iter([DatabaseUnavailable("database x is out of reach")] * 3)

    def connect() -> Connection:
        for error in tries:
            raise error
        return connection(embedded_url)

    loader = make(lines, connect)
    loader.run(until=1)
    assert loader.sequence == 1
    assert loader.database_error == ""
    assert capsys.readouterr().out.count("out of reach") == 1


@pytest.mark.slow
def test_a_database_that_crashes_and_comes_back_loses_and_doubles_nothing(
    make: Make, lines: Lines, embedded_server: Server, embedded_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROWS", 20)
    lines.begin()
    loader = make(lines)
    with running(loader, lines):
        for number in range(300):
            lines.say(started(f"call-{number}"), ended(f"call-{number}"))
            if number == 150:
                wait_for(lambda: loader.sequence > 50)
                embedded_server.crash()
                wait_for(lambda: loader.database_error != "")
                embedded_server.restart()
    with connection(embedded_url) as conn:
        assert rows(conn, "SELECT count(*), count(DISTINCT call_id) FROM cdr.call WHERE state = 'ended'") == [
            (300, 300)
        ]
        assert rows(conn, "SELECT sequence FROM cdr.checkpoint") == [(603,)]
        [(_, covered, closed_at, _)] = coverage_of(conn)
        assert closed_at is None
        assert len(covered) == 1


@pytest.mark.parametrize("happened", [True, False])
def test_a_commit_whose_answer_is_lost_may_have_happened_or_not(
    make: Make,
    lines: Lines,
    empty_embedded_conn: Connection,
    monkeypatch: pytest.MonkeyPatch,
    happened: bool,
) -> None:
    monkeypatch.setattr(module, "ROWS", 2)
    write = Writer.write
    lost: list[Batch] = []

    def write_and_lose(self: Writer, batch: Batch) -> Written:
        if batch.checkpoint == 4 and not lost:
            lost.append(batch)
            if happened:
                write(self, batch)
            raise DatabaseUnavailable("the answer is lost")
        return write(self, batch)

    monkeypatch.setattr(Writer, "write", write_and_lose)
    lines.begin()
    lines.say(started(), keepalive(), ended(), keepalive(), keepalive())
    make(lines).run(until=8)
    assert lost
    assert rows(empty_embedded_conn, "SELECT call_id, state FROM cdr.call") == [(CALL, "ended")]
    [(_, covered, closed_at, _)] = coverage_of(empty_embedded_conn)
    assert closed_at is None
    assert (covered[0].lower, covered[0].upper) == (NOON + timedelta(seconds=2), NOON + timedelta(seconds=7))


def test_a_session_that_another_worker_took_for_gone_lives_on(
    make: Make, lines: Lines, empty_embedded_conn: Connection, embedded_url: str
) -> None:
    """It lost only its connection; with the next message the truth is stored again, and the gap is none."""
    lines.begin()
    lines.say(keepalive(), keepalive())
    opened: list[Connection] = []

    def connect() -> Connection:
        opened.append(connection(embedded_url))
        return opened[-1]

    loader = make(lines, connect)
    with running(loader, lines):
        wait_for(lambda: loader.sequence == 5)
        closed = sessions.close_session(
            empty_embedded_conn, lines.session, NOON + timedelta(seconds=30), "gone", MARGIN
        )
        assert closed is not None
        assert [(start, reason) for start, _, reason in gaps(empty_embedded_conn)] == [
            (NOON + timedelta(seconds=4), "gone")
        ]
        with psycopg.connect(embedded_url, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s)", [opened[0].info.backend_pid])
        lines.say(keepalive(), keepalive())
    [(_, covered, closed_at, reason)] = coverage_of(empty_embedded_conn)
    assert (closed_at, reason) == (None, None)
    assert covered[0].upper == NOON + timedelta(seconds=6)
    assert gaps(empty_embedded_conn) == []


def test_it_stops_when_another_process_writes_from_the_same_journal(
    make: Make, lines: Lines, empty_embedded_conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROWS", 1)
    lines.say(started("a"), started("b"))

    def rival(loaded: Loaded) -> None:
        with empty_embedded_conn.transaction():
            empty_embedded_conn.execute("UPDATE cdr.checkpoint SET sequence = 2")

    with pytest.raises(CheckpointMoved, match="another process writes from the same journal"):
        make(lines, on_loaded=rival).run(until=2)
    assert rows(empty_embedded_conn, "SELECT call_id FROM cdr.call") == [("a",)]


def test_a_clock_that_is_set_back_withdraws_what_other_sessions_covered_after_it(
    make: Make, lines: Lines, empty_embedded_conn: Connection
) -> None:
    ended_one, living = UUID(int=1), UUID(int=2)
    lines.begin(ended_one)
    for _ in range(5):
        lines.say(keepalive(), session=ended_one)
    lines.add(What.CLOSED, b"", ended_one, reason="drop")
    lines.begin(living)
    lines.say(keepalive(), session=living)
    # At 12:00:14 the clock is set to 12:00:05, in the middle of what the first session covered.
    back = NOON + timedelta(seconds=5)
    note: dict[str, Json] = {"from": (NOON + timedelta(seconds=14)).isoformat(), "to": back.isoformat()}
    lines.add(What.STEPPED, b"", living, **note)
    make(lines).run(until=14)
    found = {row[0]: row[1] for row in coverage_of(empty_embedded_conn)}
    assert [span.upper for span in found[ended_one]] == [back]
    assert list(found[living]) == []
    assert [(start, reason) for start, _, reason in gaps(empty_embedded_conn)] == [(back, "clock")]


def test_a_session_that_looked_late_at_the_clock_took_back_what_the_others_had_covered_since(
    make: Make, lines: Lines, empty_embedded_conn: Connection
) -> None:
    """The other one had told of the same step, and has a new list; the late one only knows that it was set back at some
    time since its last look."""
    living, late = UUID(int=2), UUID(int=3)
    lines.begin(late, **_clocks(1, -100))
    lines.begin(living, **_clocks(4, -100))
    lines.say(*[keepalive()] * 5, session=living)
    lines.add(What.STEPPED, b"", living, **_step(12, 10), **_clocks(10, -102))
    asked = (NOON + timedelta(seconds=12)).isoformat()
    lines.add(What.DOCUMENT, listed("1"), living, channel="query", asked="list", requested_at=asked)
    lines.say(*[keepalive()] * 5, session=living)
    lines.add(What.STEPPED, b"", late, **_step(19, 1), **_clocks(17, -102))
    make(lines).run(until=len(lines.entries))
    found = {row[0]: row[1] for row in coverage_of(empty_embedded_conn)}
    assert [(span.lower, span.upper) for span in found[living]] == [
        (NOON + timedelta(seconds=5), NOON + timedelta(seconds=10)),
        (NOON + timedelta(seconds=13), NOON + timedelta(seconds=17)),
    ]


def _clocks(now: float, booted: float) -> dict[str, Json]:
    return {
        "boot": "b",
        "booted_at": (NOON + timedelta(seconds=booted)).isoformat(),
        "now": (NOON + timedelta(seconds=now)).isoformat(),
    }


def _step(before: float, after: float) -> dict[str, Json]:
    return {
        "from": (NOON + timedelta(seconds=before)).isoformat(),
        "to": (NOON + timedelta(seconds=after)).isoformat(),
    }


def test_loading_a_whole_journal_again_changes_nothing(
    make: Make, lines: Lines, empty_embedded_conn: Connection
) -> None:
    lines.begin()
    lines.say(started(), ended(), b"<odd/>")
    lines.add(What.DOCUMENT, detail("9"), channel="query", asked="detail", requested_at=NOON.isoformat(), call_id=CALL)
    lines.add(What.CLOSED, b"", reason="stop")
    make(lines).run(until=8)

    def versions() -> list[Any]:
        return [
            rows(empty_embedded_conn, f"SELECT xmin, t.* FROM cdr.{table} t ORDER BY 2, 3")
            for table in ("call", "fact", "quarantine", "gap")
        ]

    before, covered = versions(), coverage_of(empty_embedded_conn)
    with empty_embedded_conn.transaction():
        empty_embedded_conn.execute("DELETE FROM cdr.checkpoint")
    make(lines).run(until=8)
    assert versions() == before
    assert coverage_of(empty_embedded_conn) == covered
