"""The worker fills gaps by itself, once they are due, and lets nothing stop it but a stop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.gaps import House, at, row
from support.postgres import connection
from support.recorders import until

from etl.config import Settings
from etl.errors import HistoryUnreadable
from etl.jobs.history import Source
from etl.simulator.config import HttpConfig, SimulatorConfig
from etl.simulator.simulator import Simulator
from etl.store import history_reads
from etl.store.database import Connection
from etl.worker import gap_filler as module
from etl.worker.gap_filler import GapFiller
from etl.worker.worker import Worker

pytestmark = pytest.mark.slow


@pytest.fixture
def house(embedded_database: str, tmp_path: Path) -> House:
    house = House(embedded_database, tmp_path)
    before, after = row(9.5, 0.2), row(20.5, 0.2)
    house.sessions((0, 10), (20, None))
    house.heard(before, after)
    house.fake.rows += [before, after]
    return house


def filler(house: House, **options: Any) -> GapFiller:
    @contextmanager
    def sources(_: Settings, sleep: Callable[[float], None]) -> Iterator[list[Source]]:
        yield house.sources()

    return GapFiller(house.settings, options.pop("connect", house.connect), house.clock, lambda _: None, sources)


def test_a_gap_is_read_when_it_closes_and_once_more_when_no_row_can_be_late(house: House) -> None:
    early, late = row(2), row(12, appears=at(30))
    house.heard(early)
    house.fake.rows += [early, late]
    filling = filler(house)
    house.clock.moment = at(20.1)
    for minute, reads, state in [(20.1, 1, "open"), (25, 1, "open"), (35, 2, "filled"), (99, 2, "filled")]:
        house.clock.moment = at(minute)
        assert filling.look()
        assert len(house.fake.asked) == reads
        assert house.gaps()[0][3] == state


def test_a_gap_that_stays_open_is_read_again_each_hour(house: House) -> None:
    house.fake.rows.clear()
    filling = filler(house)
    for minute, reads in [(60, 1), (119, 1), (120, 2), (121, 2)]:
        house.clock.moment = at(minute)
        filling.look()
        assert len(house.fake.asked) == reads
    assert house.ask("SELECT count(*) FROM cdr.history_read") == [(1,)]


def test_a_history_out_of_reach_is_asked_again_at_the_next_look(house: House) -> None:
    filling = filler(house)
    house.fake.fails = True
    assert not filling.look()
    house.fake.fails = False
    assert filling.look()
    assert house.gaps()[0][3] == "filled"


def test_one_worker_at_a_time_reads(house: House) -> None:
    with house.connect() as other:
        assert history_reads.try_lock(other)
        assert filler(house).look()
        assert not house.fake.asked
    assert filler(house).look()
    assert house.fake.asked


def test_a_stop_ends_a_read_under_way(house: House) -> None:
    filling = filler(house)
    house.fake.searching = lambda _: filling._stopped.set()
    filling.start()
    filling._thread.join(10)
    assert not filling._thread.is_alive()


def test_the_database_may_come_late(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSES", (0.01,))
    monkeypatch.setattr(module, "LOOK_EVERY", 0.01)
    tries, filled = iter(range(100)), threading.Event()

    def connect() -> Connection:
        return connection("postgresql://nobody@127.0.0.1:1/nowhere" if next(tries) < 3 else house.url)

    filling = filler(house, connect=connect)
    filling.start()
    try:
        for _ in range(500):
            if house.gaps()[0][3] == "filled" or filled.wait(0.02):
                break
        assert house.gaps()[0][3] == "filled"
    finally:
        filling.stop()


async def test_a_worker_recovers_the_calls_of_an_outage(embedded_database: str, tmp_path: Path) -> None:
    """From end to end: a simulated recorder with its history over HTTP, a real worker, a real database."""
    config = SimulatorConfig("ny-1", rate=0, provisional=0, detail_delay=0, keepalive=1, http=HttpConfig(delay=0.1))
    async with Simulator(config) as simulator:
        history = {"http": {"url": f"http://127.0.0.1:{simulator.http_port}/verba/api", "delay": "0.5s"}}
        recorder = {"name": "ny-1", "host": "127.0.0.1", "port": simulator.port}
        given = {"recorder": [recorder], "http": {"listen": ""}, "worker": {"data_dir": tmp_path}, "history": history}
        worker = Worker(Settings.model_validate(given), lambda: connection(embedded_database))

        def rows(query: str) -> list[Any]:
            with connection(embedded_database) as opened:
                return opened.execute(query.encode()).fetchall()

        running = asyncio.create_task(worker.run())
        await until(lambda: worker.recorders[0].subscribed)
        witness = simulator.begin_call()
        simulator.end_call(witness)
        await until(lambda: rows("SELECT state FROM cdr.call") == [("complete",)])
        simulator.refuse()
        simulator.drop()
        await until(lambda: not worker.recorders[0].subscribed)
        unseen = simulator.begin_call()
        simulator.end_call(unseen)
        await simulator.accept()
        await until(
            lambda: rows("SELECT state, calls_recovered FROM cdr.gap WHERE reason <> 'stop'") == [("filled", 1)]
        )
        assert rows(f"SELECT state, source FROM cdr.call WHERE call_id = '{unseen.call_id}'") == [("complete", "http")]
        worker.stop()
        await running


def test_a_window_that_cannot_be_read_is_not_asked_for_again_at_once(house: House) -> None:
    """Nor are calls that were searched for in it."""
    house.begun(row(-30))

    def unreadable(_: int) -> None:
        raise HistoryUnreadable("broken")

    house.fake.searching = unreadable
    filling = filler(house)
    for minute, searches in [(60, 2), (61, 2), (119, 2), (120, 4)]:
        house.clock.moment = at(minute)
        assert filling.look()
        assert len(house.fake.asked) == searches
