"""The whole worker in this process: simulated recorders, a real journal, a real database."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest
from support.postgres import connection
from support.recorders import until

from etl.config import Settings
from etl.errors import DatabaseUnavailable, JournalDamaged
from etl.ingest import loader as loader_module
from etl.ingest.outstanding import outstanding
from etl.simulator.config import SimulatorConfig
from etl.simulator.simulator import Simulator
from etl.store.database import Connection
from etl.store.pending import Owed
from etl.worker import adoption
from etl.worker import worker as module
from etl.worker.worker import Ended, Worker

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY", 0.02)
    monkeypatch.setattr(loader_module, "PAUSES", (0.02,))


class Gate:
    """The way to the database, which can be shut."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.open = True

    def __call__(self) -> Connection:
        if not self.open:
            raise DatabaseUnavailable("the database is out of reach")
        return connection(self._url)


@pytest.fixture
def gate(embedded_url: str, empty_embedded_conn: Connection) -> Gate:
    return Gate(embedded_url)


@pytest.fixture
async def recorders() -> AsyncIterator[list[Simulator]]:
    made = [Simulator(SimulatorConfig(name=f"ny-{n}", rate=0, provisional=0, detail_delay=0)) for n in (1, 2)]
    for each in made:
        await each.start()
    yield made
    for each in made:
        await each.stop()


Run = Callable[..., Awaitable[tuple[Worker, "asyncio.Task[Ended]"]]]


@pytest.fixture
async def run(recorders: list[Simulator], gate: Gate, tmp_path: Path) -> AsyncIterator[Run]:
    """Starts a worker for all recorders."""
    started: list[tuple[Worker, asyncio.Task[Ended]]] = []

    async def start(**options: Any) -> tuple[Worker, asyncio.Task[Ended]]:
        known = [{"name": each.config.name, "host": "127.0.0.1", "port": each.port} for each in recorders]
        settings = {"recorder": known, "http": {"listen": ""}, "worker": {"data_dir": tmp_path, **options}}
        worker = Worker(Settings.model_validate(settings), gate)
        started.append((worker, asyncio.create_task(worker.run())))
        return started[-1]

    yield start
    for worker, running in started:
        worker.stop()
        await asyncio.wait([running])


async def subscribed(worker: Worker) -> None:
    await until(lambda: all(task.subscribed for task in worker.recorders))


def rows(conn: Connection, query: str) -> list[Any]:
    with conn.transaction():
        return conn.execute(query.encode()).fetchall()


async def test_two_recorders_are_archived_and_a_stop_drains_the_journal(
    run: Run, recorders: list[Simulator], empty_embedded_conn: Connection, tmp_path: Path
) -> None:
    worker, running = await run()
    await subscribed(worker)
    calls = [simulator.begin_call() for simulator in recorders for _ in range(20)]
    for number, call in enumerate(calls):
        recorders[number // 20].end_call(call)
    await until(lambda: rows(empty_embedded_conn, "SELECT count(*) FROM cdr.call WHERE state = 'complete'") == [(40,)])
    recorders[0].begin_call()
    await until(lambda: worker.journal.waiting == 0)
    worker.stop()
    assert await running == Ended(0, "")
    assert rows(empty_embedded_conn, "SELECT recorder, count(*) FROM cdr.call GROUP BY 1 ORDER BY 1") == [
        ("ny-1", 21),
        ("ny-2", 20),
    ]
    assert rows(empty_embedded_conn, "SELECT DISTINCT reason FROM cdr.session") == [("stop",)]
    assert rows(empty_embedded_conn, "SELECT recorder, reason FROM cdr.gap WHERE to_time IS NULL ORDER BY 1") == [
        ("ny-1", "stop"),
        ("ny-2", "stop"),
    ]
    assert list((tmp_path / "journal").iterdir()) == []


async def test_a_worker_could_not_stop_while_another_process_stood_still_with_a_lock_that_it_waited_for(
    run: Run,
    recorders: list[Simulator],
    embedded_url: str,
    empty_embedded_conn: Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it could not write stays in its journal, for the next one."""
    monkeypatch.setattr(module, "DRAIN", 0.3)
    worker, running = await run()
    await subscribed(worker)
    await until(lambda: rows(empty_embedded_conn, "SELECT count(*) FROM cdr.session") == [(2,)])
    with connection(embedded_url) as frozen, frozen.transaction():
        frozen.execute("LOCK TABLE cdr.session IN ACCESS EXCLUSIVE MODE")
        recorders[0].begin_call()
        await until(lambda: worker.loader.sequence < worker.journal.last_sequence)
        worker.stop()
        ended = await asyncio.wait_for(running, 60)
    assert ended.left > 0
    assert "somebody cut it short" in ended.why


async def test_a_recorder_that_is_down_keeps_nobody_from_the_other(run: Run, recorders: list[Simulator]) -> None:
    recorders[0].refuse()
    worker, _ = await run()
    await until(lambda: worker.recorders[1].subscribed)
    await until(lambda: "connection refused" in worker.recorders[0].standing.last_error)
    assert any("ny-1" in each for each in worker.readiness().obstacles)
    await recorders[0].accept()
    await subscribed(worker)


async def test_a_database_away_at_the_start_keeps_nobody_from_listening_and_asking_for_details(
    run: Run, recorders: list[Simulator], gate: Gate, empty_embedded_conn: Connection
) -> None:
    gate.open = False
    worker, _ = await run()
    await subscribed(worker)
    for simulator in recorders:
        simulator.end_call(simulator.begin_call())
    value = worker.metrics.registry.get_sample_value
    labels = {"recorder": "ny-1", "result": "finished"}
    await until(lambda: value("cdr_detail_requests_total", labels) == 1)
    assert worker.readiness().obstacles == ("database: the database is out of reach",)
    assert value("cdr_database_up") == 0
    gate.open = True
    await until(lambda: rows(empty_embedded_conn, "SELECT DISTINCT state FROM cdr.call") == [("complete",)])
    await until(lambda: worker.readiness().obstacles == ())
    await until(lambda: value("cdr_journal_backlog_messages") == 0)


async def test_a_stop_with_the_database_away_keeps_the_journal_for_the_next_worker(
    run: Run, recorders: list[Simulator], gate: Gate, empty_embedded_conn: Connection
) -> None:
    gate.open = False
    worker, running = await run()
    await subscribed(worker)
    recorders[0].begin_call()
    await until(lambda: worker.journal.last_sequence >= 7)
    worker.stop()
    ended = await running
    assert ended.left > 0
    assert "out of reach" in ended.why
    gate.open = True
    await run()
    await until(lambda: rows(empty_embedded_conn, "SELECT count(*) FROM cdr.call") == [(1,)])
    first = f"SELECT count(*) FROM cdr.session WHERE worker = '{worker.journal.id}' AND reason = 'stop'"
    await until(lambda: rows(empty_embedded_conn, first) == [(2,)])


async def test_what_a_broken_journal_still_holds_is_archived_by_the_next_worker(
    run: Run, recorders: list[Simulator], gate: Gate, empty_embedded_conn: Connection, tmp_path: Path
) -> None:
    """It was set aside at once, with all that had been received while the database was away."""
    gate.open = False
    worker, running = await run()
    await subscribed(worker)
    call = recorders[0].begin_call()
    await until(lambda: worker.journal.last_sequence >= 7)
    with closing(sqlite3.connect(next(worker.journal.path.glob("*.sqlite")))) as other:
        other.execute("CREATE TRIGGER no_more BEFORE INSERT ON entry BEGIN SELECT RAISE(ABORT, 'no more'); END")
    recorders[0].end_call(call)
    with pytest.raises(JournalDamaged, match="no more"):
        await running
    assert worker.journal.path.exists()
    gate.open = True
    await run()
    await until(lambda: rows(empty_embedded_conn, "SELECT call_id FROM cdr.call") == [(call.call_id,)])
    await until(lambda: not worker.journal.path.exists())
    first = f"SELECT DISTINCT reason FROM cdr.session WHERE worker = '{worker.journal.id}'"
    assert rows(empty_embedded_conn, first) == [("crash",)]


async def test_calls_of_a_journal_that_is_adopted_late_are_compared_with_what_the_recorder_tells(
    run: Run,
    recorders: list[Simulator],
    gate: Gate,
    empty_embedded_conn: Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only the first list was compared, before they were known: they went on until the next period."""
    gate.open = False
    first, running = await run()
    await subscribed(first)
    call = recorders[0].begin_call()
    await until(lambda: first.journal.last_sequence >= 7)
    first.stop()
    await running
    recorders[0].end_call(call)
    compared = threading.Event()

    def late(*arguments: Any) -> list[Owed]:
        assert compared.wait(20)
        return outstanding(*arguments)

    monkeypatch.setattr(adoption, "outstanding", late)
    gate.open = True
    await run()
    done = "SELECT count(*) > 0 FROM cdr.reconcile_run WHERE recorder = 'ny-1' AND result = 'done'"
    await until(lambda: rows(empty_embedded_conn, done) == [(True,)])
    assert rows(empty_embedded_conn, "SELECT * FROM cdr.call") == []
    compared.set()
    await until(lambda: rows(empty_embedded_conn, "SELECT state FROM cdr.call") == [("complete",)])


async def test_at_the_journals_limit_it_stops_listening_and_goes_on_when_there_is_room(
    run: Run, recorders: list[Simulator], gate: Gate, empty_embedded_conn: Connection
) -> None:
    gate.open = False
    worker, _ = await run(journal_limit="2MB")
    await subscribed(worker)
    fat = {"source_name": "N" * 20_000}
    while not worker._held:
        for simulator in recorders:
            simulator.begin_call(fat)
        await asyncio.sleep(0.001)
    await until(lambda: not any(task.subscribed for task in worker.recorders))
    assert any("journal: the journal has reached its limit" in each for each in worker.readiness().obstacles)
    received = worker.journal.last_sequence
    gate.open = True
    await subscribed(worker)
    await until(lambda: worker.loader.sequence >= received)
    await until(lambda: ("backlog",) in rows(empty_embedded_conn, "SELECT reason FROM cdr.gap"))


async def test_a_recorder_that_floods_the_journal_is_held_alone(
    run: Run, recorders: list[Simulator], gate: Gate, empty_embedded_conn: Connection
) -> None:
    """Until then it took all others with it."""
    gate.open = False
    worker, _ = await run(journal_limit="4MB")
    await subscribed(worker)
    flooding, calm = worker.recorders
    while not worker._held:
        recorders[0].begin_call({"source_name": "N" * 60_000})
        recorders[1].begin_call()
        await asyncio.sleep(3 * module.LOOK_EVERY)  # it looks at least once between two of them
    await until(lambda: not flooding.subscribed)
    late = recorders[1].begin_call()
    await asyncio.sleep(0.1)
    assert calm.subscribed
    assert any("recorder ny-1 alone fills the journal" in each for each in worker.readiness().obstacles)
    gate.open = True
    await subscribed(worker)
    await until(lambda: rows(empty_embedded_conn, f"SELECT 1 FROM cdr.call WHERE call_id = '{late.call_id}'") == [(1,)])
    gaps = "SELECT recorder, reason FROM cdr.gap"
    await until(lambda: rows(empty_embedded_conn, gaps) == [("ny-1", "backlog")])


async def test_metrics_and_the_status_page_hold_no_personal_data(
    run: Run, recorders: list[Simulator], empty_embedded_conn: Connection
) -> None:
    worker, _ = await run()
    await subscribed(worker)
    who = {"source_caller_id": "5550123", "source_name": "Jane Roe"}
    recorders[0].end_call(recorders[0].begin_call(who))
    await until(lambda: rows(empty_embedded_conn, "SELECT state FROM cdr.call") == [("complete",)])
    shown = generate_latest(worker.metrics.registry).decode() + repr(worker.readiness())
    assert "5550123" not in shown
    assert "Jane" not in shown
    assert 'cdr_calls_total{recorder="ny-1",state="complete"} 1.0' in shown


async def test_the_gap_of_an_outage_is_counted_in_seconds(
    run: Run, recorders: list[Simulator], empty_embedded_conn: Connection
) -> None:
    worker, _ = await run()
    await subscribed(worker)
    await until(
        lambda: (
            rows(empty_embedded_conn, "SELECT count(*) FROM cdr.session WHERE subscribed_at > '-infinity'") == [(2,)]
        )
    )
    recorders[0].drop()
    closed = (
        "SELECT extract(epoch FROM to_time - from_time) FROM cdr.gap WHERE recorder = 'ny-1' AND to_time IS NOT NULL"
    )
    await until(lambda: len(rows(empty_embedded_conn, closed)) == 1)
    [(seconds,)] = rows(empty_embedded_conn, closed)
    value = worker.metrics.registry.get_sample_value
    labels = {"recorder": "ny-1", "reason": "drop"}
    await until(lambda: value("cdr_gap_seconds_total", labels) is not None)
    assert value("cdr_gap_seconds_total", labels) == pytest.approx(float(seconds))


async def test_no_thread_outlives_the_worker(run: Run) -> None:
    worker, running = await run()
    await subscribed(worker)
    worker.stop()
    await running
    assert {"loader", "adoption"}.isdisjoint(thread.name for thread in threading.enumerate())
