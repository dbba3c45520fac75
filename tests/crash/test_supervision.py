"""A failure that nobody foresaw, a bug of ours, is loud, and keeps nothing else from its work."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from support.postgres import connection

from etl import config
from etl.config import Settings
from etl.errors import CdrError
from etl.ingest.interpret import Interpreter
from etl.ingest.loader import Loader
from etl.journal import Journal
from etl.model import Draft, What
from etl.protocol.dialect import Dialect
from etl.recorder.clock import SystemClock
from etl.recorder.queries import Queries
from etl.recorder.sink import Scribe
from etl.simulator.config import SimulatorConfig
from etl.simulator.simulator import Simulator
from etl.simulator.truth import ConnectionLine
from etl.store.database import Connection
from etl.worker import adoption
from etl.worker.adoption import Adopter
from etl.worker.worker import Worker


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    file = tmp_path / "cdr.toml"
    recorder = '[[recorder]]\nname = "ny-1"\nhost = "127.0.0.1"\nport = 1\n'
    file.write_text(f'[worker]\ndata_dir = "data"\n[http]\nlisten = ""\n{recorder}')
    return config.load(file)


def leave_a_journal(root: Path) -> Path:
    """What a killed process leaves behind."""
    with Journal.create(root) as journal:
        journal.append(Draft(datetime.now(UTC), "ny-1", uuid4(), What.OPENED, note={"worker": str(journal.id)}))
    return journal.path


def failing_once(url: str) -> Callable[[], Connection]:
    """Connects, but for the first time, which fails in a way that nobody foresaw."""
    tries = 0

    def connect() -> Connection:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise ZeroDivisionError
        return connection(url)

    return connect


@pytest.mark.slow
def test_orphaned_journals_are_adopted_though_one_of_them_fails_at_first(
    settings: Settings, tmp_path: Path, embedded_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them were locked when the first one failed; none may stay so."""
    root = tmp_path / "data" / "journal"
    left = [leave_a_journal(root) for _ in range(3)]
    monkeypatch.setattr(adoption, "LOOK_EVERY", 0.05)
    adopter = Adopter(
        root, failing_once(embedded_database), Interpreter(settings), SystemClock(), own=uuid4(), recorders=[],
        margin=timedelta(seconds=1), owed_for=timedelta(seconds=1),
        on_loaded=lambda loaded: None, on_owed=lambda owed: None,
    )  # fmt: skip
    adopter.start()
    try:
        deadline = time.monotonic() + 20
        while any(path.exists() for path in left) and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        adopter.stop()
    assert [path.exists() for path in left] == [False] * 3


async def test_a_worker_whose_loader_fails_in_an_unforeseen_way_ends_with_an_error(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not go on listening as if all were well; its journal stays for the next one to adopt."""

    def fail(self: Loader, *, until: int | None = None) -> None:
        raise ZeroDivisionError

    def refuse() -> Connection:
        raise CdrError("no database here")

    monkeypatch.setattr(Loader, "run", fail)
    worker = Worker(settings, refuse)
    with pytest.raises(CdrError, match="loading failed unexpectedly"):
        await worker.run()


async def test_a_question_that_nobody_waits_for_any_more_fails_without_a_word(settings: Settings) -> None:
    """A worker that stops cancels its requests; what then becomes of them is no news for the log."""
    said: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: said.append(context))
    async with Simulator(SimulatorConfig(rate=0)) as simulator:
        recorder = settings.recorder[0].model_copy(update={"port": simulator.port})
        queries = Queries(recorder, Dialect(), Scribe("ny-1", Nowhere()), SystemClock(), 1_000_000)
        simulator.silence(True)
        asking = asyncio.create_task(queries.call_detail(uuid4(), "call", "end"))
        await simulator.seen(lambda line: isinstance(line, ConnectionLine) and line.phase == "opened")
        await asyncio.sleep(0.05)  # the request is under way, and is never answered
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await queries.close()
    del asking  # and with it the question
    gc.collect()
    assert said == []


class Nowhere:
    """A sink that keeps nothing."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def append(self, draft: Draft) -> None:
        raise AssertionError("nothing was answered")

    async def room(self) -> None:
        return None
