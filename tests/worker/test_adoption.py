"""What dead processes left behind: their journals on this disk, their sessions in the database."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from support.postgres import connection
from support.recorders import CALL, NOON, StillClock, detail, ended, keepalive, listed, started, subscribed

from etl.calls import coverage
from etl.calls.coverage import SessionState
from etl.config import Settings
from etl.errors import DatabaseUnavailable
from etl.ingest import loader as loader_module
from etl.ingest.interpret import Interpreter
from etl.ingest.loader import Loaded
from etl.journal import Journal, Limits
from etl.model import Draft, Json, What
from etl.store.database import Connection
from etl.store.pending import Owed
from etl.store.sessions import hold_owner_lock
from etl.store.write import Batch, Writer
from etl.worker import adoption as module
from etl.worker.adoption import GRACE, Adopter

MARGIN = timedelta(seconds=1)
SETTINGS = Settings.model_validate({"recorder": [{"name": "ny-1", "host": "recorder.example", "port": 1}]})


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY", 0.02)
    monkeypatch.setattr(loader_module, "PAUSES", (0.01,))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "journal"


class Orphanage:
    """An adopter, and what it told."""

    def __init__(self, root: Path, connect: Callable[[], Connection], minutes: float) -> None:
        self.clock = StillClock(NOON + timedelta(minutes=minutes))
        self.loaded: list[Loaded] = []
        self.owed: list[Owed] = []
        self.adopted = 0
        self.own = uuid4()
        self.adopter = Adopter(
            root,
            connect,
            Interpreter(SETTINGS),
            self.clock,
            own=self.own,
            recorders=["ny-1"],
            margin=MARGIN,
            owed_for=timedelta(minutes=10),
            on_loaded=self.loaded.append,
            on_owed=self.owed.extend,
            on_adopted=self._adopted,
        )

    def _adopted(self) -> None:
        self.adopted += 1


Adopt = Callable[..., Orphanage]


@pytest.fixture
def adopt(root: Path, embedded_url: str, empty_embedded_conn: Connection) -> Iterator[Adopt]:
    """Starts an adopter."""
    running: list[Orphanage] = []

    def start(connect: Callable[[], Connection] = lambda: connection(embedded_url), minutes: float = 5) -> Orphanage:
        running.append(Orphanage(root, connect, minutes))
        running[-1].adopter.start()
        return running[-1]

    yield start
    for each in running:
        each.adopter.stop()


@pytest.fixture
def leave(root: Path) -> Callable[..., UUID]:
    """What a process leaves behind that was killed in the middle of a session; its journal's id."""

    def write(*bodies: bytes, booted_at: datetime | None = None) -> UUID:
        journal = Journal.create(root)
        session = uuid4()
        note: dict[str, Json] = {"channel": "query", "asked": "list", "requested_at": _at(3).isoformat()}
        booted: dict[str, Json] = {"boot": "a boot", "now": _at(1).isoformat()}
        booted |= {"booted_at": booted_at.isoformat()} if booted_at else {}
        told: list[tuple[What, bytes, dict[str, Json]]] = [
            (What.OPENED, b"", {"worker": str(journal.id), "extensions": [], **booted}),
            (What.DOCUMENT, subscribed("1"), {"asked": "subscribe"}),
            (What.DOCUMENT, listed("1"), note),
            *((What.DOCUMENT, body, {}) for body in bodies),
        ]
        for number, (what, body, note) in enumerate(told, 1):
            journal.append(Draft(_at(number), "ny-1", session, what, body, note))
        journal.close()
        return journal.id

    return write


def _at(second: float) -> datetime:
    return NOON + timedelta(seconds=second)


def rows(conn: Connection, query: str) -> list[Any]:
    with conn.transaction():
        return conn.execute(query.encode()).fetchall()


def wait_for(holds: Callable[[], bool]) -> None:
    for _ in range(1_000):
        if holds():
            return
        threading.Event().wait(0.01)
    raise AssertionError("did not happen in 10 s")


def test_a_dead_owners_journal_is_loaded_its_session_closed_and_the_journal_gone(
    adopt: Adopt, leave: Callable[..., UUID], root: Path, empty_embedded_conn: Connection
) -> None:
    journal = leave(started(), keepalive(), ended())
    adopt()
    wait_for(lambda: not (root / str(journal)).exists())
    assert rows(empty_embedded_conn, "SELECT call_id, state FROM cdr.call") == [(CALL, "ended")]
    [(reason, covered)] = rows(empty_embedded_conn, "SELECT reason, coverage FROM cdr.session")
    assert reason == "crash"
    assert covered[0].upper == _at(5)
    assert rows(empty_embedded_conn, "SELECT from_time, to_time, reason FROM cdr.gap") == [(_at(5), None, "crash")]
    wait_for(lambda: not any(root.iterdir()))  # it is renamed first, and then deleted


def test_a_journal_whose_owner_lives_is_left_alone(
    adopt: Adopt, leave: Callable[..., UUID], root: Path, empty_embedded_conn: Connection
) -> None:
    with Journal.create(root) as living:
        dead = leave(started())
        adopt()
        wait_for(lambda: not (root / str(dead)).exists())
        assert living.path.exists()
        assert rows(empty_embedded_conn, "SELECT journal FROM cdr.checkpoint") == [(dead,)]


def test_what_the_dead_process_owed_is_told_at_once_also_with_the_database_away(
    adopt: Adopt, leave: Callable[..., UUID], root: Path
) -> None:
    journal = leave(ended("a"), ended("b"))

    def away() -> Connection:
        raise DatabaseUnavailable("away")

    orphanage = adopt(away)
    wait_for(lambda: len(orphanage.owed) == 2)
    assert [(each.recorder, each.call_id, each.at, each.refetch) for each in orphanage.owed] == [
        ("ny-1", "a", _at(4), False),
        ("ny-1", "b", _at(5), False),
    ]
    assert (root / str(journal)).exists()


def test_a_record_that_came_once_is_owed_once_more(adopt: Adopt, root: Path) -> None:
    journal = Journal.create(root)
    note: dict[str, Json] = {"channel": "query", "asked": "detail", "call_id": CALL, "purpose": "end"}
    journal.append(Draft(_at(1), "ny-1", uuid4(), What.DOCUMENT, ended(), {}))
    journal.append(Draft(_at(2), "ny-1", uuid4(), What.DOCUMENT, detail("1"), note))
    journal.close()
    orphanage = adopt()
    wait_for(lambda: bool(orphanage.owed))
    assert orphanage.owed == [Owed("ny-1", CALL, _at(2), refetch=True)]


def test_what_a_dead_process_owed_is_read_from_the_segments_that_are_left(adopt: Adopt, root: Path) -> None:
    """The first ones are archived and gone: for damage that was taken, and nothing was owed by the rest."""
    journal = Journal.create(root, Limits(segment_bytes=1))
    for number, call in enumerate("abc", 1):
        journal.append(Draft(_at(number), "ny-1", uuid4(), What.DOCUMENT, ended(call), {})).result(10)
    journal.discard(2)
    journal.close()

    def away() -> Connection:
        raise DatabaseUnavailable("away")

    orphanage = adopt(away)
    wait_for(lambda: bool(orphanage.owed))
    assert orphanage.owed == [Owed("ny-1", "c", _at(3), refetch=False)]


def test_it_is_told_when_a_journal_was_adopted(
    adopt: Adopt, leave: Callable[..., UUID], root: Path, empty_embedded_conn: Connection
) -> None:
    journal = leave(started())
    orphanage = adopt()
    wait_for(lambda: orphanage.adopted == 1)
    assert not (root / str(journal)).exists()
    assert rows(empty_embedded_conn, "SELECT state FROM cdr.call") == [("ongoing",)]


def test_a_damaged_journal_is_loaded_up_to_the_damage_and_set_aside_with_a_gap(
    adopt: Adopt,
    leave: Callable[..., UUID],
    root: Path,
    empty_embedded_conn: Connection,
    capsys: pytest.CaptureFixture[str],
) -> None:
    journal = leave(started(), *(keepalive(number + 1) for number in range(2_000)))
    [segment] = [path for path in (root / str(journal)).iterdir() if path.stat().st_size > 50_000]
    raw = bytearray(segment.read_bytes())
    raw[len(raw) // 2 :] = bytes(len(raw) - len(raw) // 2)
    segment.write_bytes(bytes(raw))
    adopt(minutes=60)
    wait_for(lambda: (root / f"{journal}.damaged-1").exists())
    wait_for(lambda: not (root / str(journal)).exists())
    [(reason,)] = rows(empty_embedded_conn, "SELECT reason FROM cdr.session")
    assert reason == "journal"
    [(to_time, gap_reason)] = rows(empty_embedded_conn, "SELECT to_time, reason FROM cdr.gap")
    assert (to_time, gap_reason) == (None, "journal")
    assert rows(empty_embedded_conn, "SELECT call_id FROM cdr.call") == [(CALL,)]
    assert "a journal is damaged" in capsys.readouterr().out


def test_the_gap_of_a_crash_that_another_session_has_ended_already_is_counted(
    adopt: Adopt, leave: Callable[..., UUID], root: Path, empty_embedded_conn: Connection, embedded_url: str
) -> None:
    living = uuid4()
    with connection(embedded_url) as owner:
        assert hold_owner_lock(owner, living)
        _store_session(empty_embedded_conn, living, since=60)
        crashed = leave(keepalive())
        orphanage = adopt()
        wait_for(lambda: not (root / str(crashed)).exists())
    assert rows(empty_embedded_conn, "SELECT from_time, to_time FROM cdr.gap") == [(_at(3), _at(62))]
    counted = [dict(each.written.gap_seconds) for each in orphanage.loaded if each.written.gap_seconds]
    assert counted == [{("ny-1", "crash"): 59.0}]


def test_a_clock_set_back_between_two_workers_takes_back_what_the_dead_one_covered_of_what_came_again(
    adopt: Adopt, root: Path, leave: Callable[..., UUID], empty_embedded_conn: Connection
) -> None:
    """Set back by 2 s some time after its last message, second 9; when its journal is adopted, the clock has long
    caught up."""
    journal = leave(*[keepalive()] * 6, booted_at=_at(300 - 1000 + 2))
    adopt()
    wait_for(lambda: not (root / str(journal)).exists())
    wait_for(lambda: rows(empty_embedded_conn, "SELECT upper(coverage) FROM cdr.session") == [(_at(7),)])
    assert rows(empty_embedded_conn, "SELECT from_time, to_time, reason FROM cdr.gap") == [(_at(7), None, "clock")]


def test_a_clock_set_back_while_we_run_takes_back_what_others_had_covered_before(
    adopt: Adopt, root: Path, leave: Callable[..., UUID], empty_embedded_conn: Connection
) -> None:
    """Right after a start: no session of ours has lived yet that could tell of it."""
    journal = leave(*[keepalive()] * 6, booted_at=_at(300 - 1000))
    orphanage = adopt()
    wait_for(lambda: not (root / str(journal)).exists())
    assert rows(empty_embedded_conn, "SELECT upper(coverage) FROM cdr.session") == [(_at(8),)]
    orphanage.clock.set_by(-3)
    wait_for(lambda: rows(empty_embedded_conn, "SELECT upper(coverage) FROM cdr.session") == [(_at(6),)])


def test_a_clock_set_back_and_right_again_takes_back_what_a_session_covered_that_was_not_closed_yet(
    adopt: Adopt, empty_embedded_conn: Connection
) -> None:
    """Found by a campaign: the data folder was deleted, and in the 15 s until its session was taken for ownerless the
    clock was wrong for less than a look of the adopter. Only a living session has seen it."""
    _store_session(empty_embedded_conn, uuid4(), messages=6)
    orphanage = adopt()
    wait_for(lambda: bool(orphanage.adopter._free_since))
    living = _clocks_told((What.OPENED, 60, -700), (What.STEPPED, 7, -753), (What.STEPPED, 62, -700))
    Writer(empty_embedded_conn, margin=MARGIN).write(Batch(sessions=[living]))
    orphanage.clock.advance(GRACE.total_seconds())
    closed = "SELECT max(upper(coverage)) FROM cdr.session WHERE reason = 'journal'"
    wait_for(lambda: rows(empty_embedded_conn, closed) == [(_at(7),)])


def test_told_that_the_clock_was_set_it_looks_at_what_the_sessions_tell(
    adopt: Adopt, root: Path, leave: Callable[..., UUID], empty_embedded_conn: Connection
) -> None:
    """By then it has been set right again."""
    journal = leave(*[keepalive()] * 6, booted_at=_at(300 - 1000))
    orphanage = adopt()
    wait_for(lambda: not (root / str(journal)).exists())
    living = _clocks_told((What.OPENED, 60, -700), (What.STEPPED, 6, -754), (What.STEPPED, 62, -700))
    Writer(empty_embedded_conn, margin=MARGIN).write(Batch(sessions=[living]))
    orphanage.adopter.clock_was_set()
    wait_for(lambda: rows(empty_embedded_conn, "SELECT max(upper(coverage)) FROM cdr.session") == [(_at(6),)])


def _clocks_told(*told: tuple[What, float, float]) -> SessionState:
    """A living session's word on its machine's clock: what it showed, and when the machine was started by it."""
    state, session, seen = None, uuid4(), 60.0
    for what, now, booted in told:
        note: dict[str, Json] = {"boot": "a boot", "booted_at": _at(booted).isoformat(), "now": _at(now).isoformat()}
        note |= {"from": _at(60).isoformat(), "to": _at(now).isoformat(), "seen": _at(seen).isoformat()}
        note["worker"] = str(uuid4())
        seen = now
        state = coverage.fold(state, Draft(_at(60), "ny-1", session, what, b"", note), None, MARGIN)
    assert state is not None
    return state


def test_a_session_without_owner_and_journal_is_closed_after_a_grace_and_not_before(
    adopt: Adopt, leave: Callable[..., UUID], root: Path, empty_embedded_conn: Connection, embedded_url: str
) -> None:
    """Its data folder was deleted: the time since its last stored message is a gap."""
    worker = uuid4()
    _store_session(empty_embedded_conn, worker)
    with connection(embedded_url) as owner:
        assert hold_owner_lock(owner, worker)
        orphanage = adopt()
        orphanage.clock.advance(60)
        threading.Event().wait(0.1)
        orphanage.clock.advance(60)
        assert rows(empty_embedded_conn, "SELECT closed_at FROM cdr.session") == [(None,)]
    wait_for(lambda: bool(orphanage.adopter._free_since))
    assert rows(empty_embedded_conn, "SELECT closed_at FROM cdr.session") == [(None,)]
    orphanage.clock.advance(GRACE.total_seconds())
    wait_for(lambda: rows(empty_embedded_conn, "SELECT reason FROM cdr.session") == [("journal",)])
    assert rows(empty_embedded_conn, "SELECT from_time, to_time, reason FROM cdr.gap") == [(_at(3), None, "journal")]


def _store_session(conn: Connection, worker: UUID, since: float = 0, messages: int = 1) -> None:
    """By a clock that was not set since: the adopter's."""
    session, state = uuid4(), None
    clocks: dict[str, Json] = {
        "boot": "a boot",
        "booted_at": _at(-700).isoformat(),
        "now": _at(since + 1).isoformat(),
    }
    told: list[tuple[What, dict[str, Json], coverage.Heard | None]] = [
        (What.OPENED, {"worker": str(worker), "extensions": [], **clocks}, None),
        (What.DOCUMENT, {}, coverage.Subscribed()),
        (What.DOCUMENT, {}, coverage.Listed(_at(since + 2))),
        *[(What.DOCUMENT, {}, coverage.Message())] * messages,
    ]
    for number, (what, note, heard) in enumerate(told, 1):
        state = coverage.fold(state, Draft(_at(since + number), "ny-1", session, what, b"", note), heard, MARGIN)
    assert state is not None
    Writer(conn, margin=MARGIN).write(Batch(sessions=[state]))


def test_one_journal_that_nobody_can_open_keeps_nobody_from_the_others(
    adopt: Adopt, leave: Callable[..., UUID], root: Path
) -> None:
    root.mkdir(parents=True)
    (root / str(uuid4())).mkdir()
    (root / "notes.txt").write_text("not ours")
    journal = leave(started())
    adopt()
    wait_for(lambda: not (root / str(journal)).exists())
    assert (root / "notes.txt").exists()
