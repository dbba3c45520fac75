"""What was received is never lost, whatever hits worker, database, journal and disk."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from campaign.evidence import Blow

from etl.config import load
from etl.ingest.interpret import Interpreter
from etl.journal import adopt
from etl.model import Kind, What

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]

House = Any
Stream = Callable[[float], None]


def received(house: House) -> set[tuple[str, Kind]]:
    """What the dead workers' journals hold: committed, and so received."""
    interpreter = Interpreter(load(house.worker.config))
    found = set()
    for journal in adopt(house.journals).journals:
        with journal:
            for entry in journal.read(0, 1_000_000, 1 << 40):
                if entry.draft.what is What.DOCUMENT:
                    found |= {(fact.call_id, fact.kind) for fact in interpreter.interpret(entry.draft).facts}
    return found


def archived(house: House) -> set[tuple[str, Kind]]:
    return {(call, kind) for call, kinds in house.archive().facts.items() for kind in kinds}


async def test_nothing_received_is_lost_by_kill_9_while_the_database_is_away(house: House, stream: Stream) -> None:
    """The worker starts without a database: it subscribes, journals and asks for details. It is killed at random
    moments, time and again; then the database comes, and everything arrives."""
    dice = random.Random(4)
    house.server.crash()
    stream(30)
    known: set[tuple[str, Kind]] = set()
    for _ in range(4):
        await house.start()
        await house.rest(dice.uniform(0.5, 1.2))
        since = house.kill()
        before, known = known, received(house)
        assert before < known
        house.out(Blow.KILL, since)
    assert {kind for _, kind in known} >= {Kind.START, Kind.END, Kind.DETAIL}
    house.server.restart()
    await house.start()
    stream(0)
    await house.until(lambda: known <= archived(house), "all that was journaled arrives")
    await house.until(lambda: house.owed() == 0, "all details are done")
    await house.rest(3)
    await house.stop()
    assert await house.breaches() == []
    assert set(house.reasons()) == {"crash", "stop"}


async def test_crashes_of_the_database_while_it_is_loaded_cost_neither_a_call_nor_a_gap(
    house: House, stream: Stream
) -> None:
    dice = random.Random(5)
    stream(30)
    await house.start()
    for _ in range(4):
        await house.rest(dice.uniform(0.3, 1.0))
        house.server.crash()
        await house.rest(dice.uniform(0.1, 1.0))
        house.server.restart()
    stream(0)
    ended = {call for call, event in house.truth.reached() if event == "end"}
    await house.until(lambda: house.complete() == len(ended), "all calls are complete")
    await house.rest(3)
    await house.stop()
    assert await house.breaches() == []
    assert house.reasons() == ["stop"]


async def test_a_damaged_journal_is_set_aside_loudly_and_the_work_goes_on(house: House, stream: Stream) -> None:
    await house.start()
    stream(30)
    await house.until(lambda: bool(house.archive().calls), "calls arrive")
    house.server.crash()
    await house.rest(1.5)
    since = house.kill()
    for path in house.journals.glob("*/*.sqlite*"):
        damage(path)
    house.server.restart()
    await house.start()
    house.out(Blow.DAMAGE, since)
    await house.until(lambda: any(house.journals.glob("*.damaged-1")), "the journal is set aside")
    already = house.complete()
    await house.until(lambda: house.complete() > already, "calls arrive again")
    stream(0)
    await house.rest(4)
    await house.stop()
    assert "damaged" in house.log()
    assert house.reasons() == ["journal", "stop"]
    assert not any("no gap" in line or "not archived" in line for line in await house.breaches())


async def test_a_worker_whose_own_journal_breaks_ends_with_1_and_the_next_start_recovers_by_itself(
    house: House, stream: Stream
) -> None:
    """Nothing that was received is lost, though the database was away: the next one loads all that can be read."""
    await house.start()
    house.server.crash()
    stream(30)
    await house.rest(1.5)
    with closing(sqlite3.connect(max(house.journals.glob("*/*.sqlite")))) as other:
        other.execute("CREATE TRIGGER no_more BEFORE INSERT ON entry BEGIN SELECT RAISE(ABORT, 'no more'); END")
    since = datetime.now(UTC)
    await house.until(lambda: not house.worker.running, "the worker ends")
    assert house.worker.process.returncode == 1
    assert "start the worker again" in house.log()
    known = received(house)
    assert {kind for _, kind in known} >= {Kind.START, Kind.END, Kind.DETAIL}
    house.server.restart()
    await house.start()
    house.out(Blow.KILL, since)
    stream(0)
    await house.until(lambda: known <= archived(house), "all that was journaled arrives")
    await house.until(lambda: house.owed() == 0, "all details are done")
    await house.rest(3)
    await house.stop()
    assert await house.breaches() == []
    assert house.reasons() == ["crash", "stop"]


def damage(path: Path) -> None:
    """Every page but the first is overwritten."""
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xa5" * (len(content) - 4096) if len(content) > 4096 else content)


async def test_a_deleted_data_dir_opens_a_gap_within_20_seconds_of_the_next_start(house: House, stream: Stream) -> None:
    stream(20)
    await house.start()
    await house.until(lambda: house.complete() > 3, "calls arrive")
    since = house.kill()
    shutil.rmtree(house.data_dir)
    await house.start()
    house.out(Blow.WIPE, since)
    await house.until(lambda: "journal" in house.reasons(), "the gap opens", 23)
    stream(0)
    await house.until(lambda: house.owed() == 0, "all details are done")
    await house.rest(3)
    await house.stop()
    assert await house.breaches() == []
    assert house.reasons() == ["journal", "stop"]


def state_of(house: House, call_id: str) -> str | None:
    row = house.archive().calls.get(call_id)
    return row["state"] if row else None


BIG = b"<VerbaApi><Strange>" + b"x" * 200_000 + b"</Strange></VerbaApi>"


async def test_at_its_limit_the_journal_takes_no_more_until_it_is_loaded(house: House) -> None:
    """With the database away: a session is closed, not a document dropped; a gap `backlog`; then on it goes."""
    house.configure('journal_limit = "3MB"')
    await house.start()
    house.server.crash()
    sent = 0
    while house.recorder.subscribers:
        house.recorder.malformed(BIG)
        sent += 1
        await house.rest(0.05)
        assert sent < 400, "the limit is not minded"
    await house.rest(1)
    assert not house.recorder.subscribers
    house.server.restart()
    await house.until(lambda: bool(house.recorder.subscribers), "it listens again")
    await house.until(lambda: "backlog" in house.reasons(), "the gap is listed")
    await house.rest(2)
    await house.stop()
    assert house.reasons() == ["backlog", "stop"]
    kept = sum(row.body == BIG for row in house.archive().quarantine)
    # Nearly all that fits: SQLite's own pages and its log count towards the limit too.
    assert kept >= 2_000_000 // len(BIG)
    assert kept >= sent - 12, "only what was still unread when the session was closed is missing"


@pytest.fixture
def small_disk(house: House) -> Iterator[Path]:
    """data_dir on a file system of 8 MB."""
    house.data_dir.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(house.data_dir)]
    made = subprocess.run(words, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"a small file system can only be mounted as root here: {made.stderr.strip()}")
    yield house.data_dir
    subprocess.run(["umount", "--lazy", str(house.data_dir)], check=True)


async def test_with_a_full_disk_it_stops_listening_says_so_and_goes_on_when_there_is_room(
    house: House, small_disk: Path
) -> None:
    await house.start()
    call = house.recorder.begin_call()
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 6_000_000)
    house.server.crash()
    sent = 0
    while house.recorder.subscribers:
        house.recorder.malformed(BIG)
        sent += 1
        await house.rest(0.05)
        assert sent < 400, "a full disk goes unnoticed"
    house.recorder.end_call(call)
    assert "not listening until there is room again" in house.log()
    ballast.unlink()
    house.server.restart()
    await house.until(lambda: bool(house.recorder.subscribers), "it listens again")
    after = house.recorder.begin_call()
    house.recorder.end_call(after)
    await house.until(lambda: state_of(house, after.call_id) == "complete", "calls arrive again")
    await house.until(lambda: "backlog" in house.reasons(), "the gap is listed")
    await house.rest(2)
    await house.stop()
    assert house.reasons() == ["backlog", "stop"]
    rows = house.archive()
    assert Kind.END not in rows.facts[call.call_id], "nobody was listening"
    assert sum(row.body == BIG for row in rows.quarantine) >= 5
