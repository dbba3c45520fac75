"""XML that attacks its reader, on every way into the archive: a recorder's stream, metadata files, the HTTP history.

It is refused and kept, or stored as it is written; in bounded time and memory; no file is read for it, and nobody is
connected to; what comes before and after it on the same connection is stored.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cli.conftest import Cdr
from lxml import etree
from support.attacks import HARMLESS, OTHER_ENCODINGS, REFUSED, Attack, Stage
from support.history import Reply, Site, serving, settings
from support.hostile import Listener, cpu_seconds, hostile, peak_memory
from support.postgres import Server, connection, fresh_database
from support.recorders import started

from etl.errors import CdrError
from etl.history.http import HistoryClient
from etl.model import Interval, Record
from etl.protocol.dialect import Dialect
from etl.protocol.records import read_call
from etl.store import quarantine

pytestmark = pytest.mark.slow

CANARY = "canary-3141592653"
"""Stands in a file that nobody must read."""
MEMORY = 600_000_000
CPU = 60.0
PATIENCE = 120.0
NOON = datetime(2024, 6, 3, 12, 0, tzinfo=UTC)


@dataclass
class Outcome:
    """What is left of the attacks: the calls that are archived, and what lies in quarantine, by attack."""

    calls: dict[str, str]
    quarantined: dict[str, bytes]
    came: int
    memory: int = 0
    cpu: float = 0.0
    sessions: int = 1
    code: int = 0
    log: str = ""

    def hold(self, name: str) -> bytes:
        """What is kept of an attack: nobody may have made anything of it."""
        assert f"attack-{name}" not in self.calls
        return self.quarantined[name]


def looked(url: str, names: list[str]) -> Outcome:
    """The archive as it is."""
    with connection(url) as opened:
        calls = {row[0]: str(row[1]) for row in opened.execute("SELECT call_id, c::text FROM cdr.call c")}
        opened.commit()
        bodies = [quarantine.show(opened, each.id) for each in quarantine.items(opened, limit=10_000)]
        sessions = opened.execute("SELECT count(*) FROM cdr.session").fetchone()
    kept = {name: body for name in names for item, body in bodies if _is_of(name, item.origin, body)}
    return Outcome(calls, kept, 0, sessions=sessions[0] if sessions else 0)


def _is_of(name: str, origin: str, body: bytes) -> bool:
    return f'attack-{name}"'.encode() in body or Path(origin).stem == name


def test_an_element_with_many_attributes_once_took_minutes() -> None:
    """lxml searches for the value of each attribute among all of them. Of this one the quick way takes 0.2 s."""
    names = [f"a{number}" for number in range(100_000)]
    element = etree.fromstring(f"<Call id='1' {' '.join(f'{name}={name!r}' for name in names)}/>")
    began = time.process_time()
    read = read_call(element, Dialect())
    assert time.process_time() - began < 10
    assert isinstance(read, Record)
    assert read.extras == {name: name for name in names}


# A recorder's stream --------------------------------------------------------------------------------------------

STREAM: dict[str, Attack] = REFUSED | HARMLESS


@pytest.fixture(scope="module")
def streamed(embedded_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """All attacks by one session of one worker, a harmless call behind each."""
    home = tmp_path_factory.mktemp("stream")
    command = Cdr(home)
    try:
        with fresh_database(embedded_server) as url:
            yield asyncio.run(_stream(command, home, url))
    finally:
        command.kill()


async def _stream(command: Cdr, home: Path, url: str) -> Outcome:
    (home / "secret").write_text(CANARY)
    async with hostile() as recorder, Listener() as stranger:
        stage = Stage(
            "VerbaApi",
            '<Notification type="CallStart"><Call id="attack-NAME">',
            "</Call></Notification>",
            home / "secret",
            stranger.port,
        )
        (home / "cdr.toml").write_text(
            f'database.url = "{url}"\nhttp.listen = ""\n[[recorder]]\nname = "ny-1"\nhost = "127.0.0.1"\n'
            f"port = {recorder.port}\n"
        )
        worker = command.start("worker", "--verbose", "--config", str(home / "cdr.toml"))
        await recorder.subscribed()
        for name, attack in STREAM.items():
            await recorder.say(attack(stage.named(name)), started(f"after-{name}"))
        deadline = time.monotonic() + PATIENCE
        while (found := looked(url, list(STREAM))) and len(_settled(found)) < 2 * len(STREAM):
            assert time.monotonic() < deadline, {*_expected()} - _settled(found)
            assert worker.process.poll() is None, worker.err
            await asyncio.sleep(0.2)
        found.memory, found.cpu = peak_memory(worker.process.pid), cpu_seconds(worker.process.pid)
        found.came = stranger.came
        done = await asyncio.to_thread(worker.end, signal.SIGTERM)
        found.code, found.log = done.code, done.err
    return found


def _expected() -> Iterator[str]:
    for name in STREAM:
        yield from (f"attack-{name}", f"after-{name}")


def _settled(found: Outcome) -> set[str]:
    return {*_expected()} & {*found.calls, *(f"attack-{name}" for name in found.quarantined)}


@pytest.mark.parametrize("name", REFUSED)
def test_a_recorders_attack_is_kept_and_not_obeyed(streamed: Outcome, name: str) -> None:
    assert streamed.hold(name)


@pytest.mark.parametrize("name", HARMLESS)
def test_a_recorders_strange_document_is_stored_as_it_is_written_or_kept(streamed: Outcome, name: str) -> None:
    assert CANARY not in streamed.calls.get(f"attack-{name}", "")
    assert (f"attack-{name}" in streamed.calls) or streamed.quarantined[name]


@pytest.mark.parametrize("name", STREAM)
def test_the_call_behind_an_attack_is_archived(streamed: Outcome, name: str) -> None:
    assert f"after-{name}" in streamed.calls


def test_attacks_of_a_recorder_break_no_connection_and_cost_little(streamed: Outcome) -> None:
    """The session lives through all of them; neither memory nor time runs away."""
    assert streamed.sessions == 1
    assert streamed.memory < MEMORY
    assert streamed.cpu < CPU
    assert streamed.code == 0


def test_attacks_of_a_recorder_read_no_file_and_connect_to_nobody(streamed: Outcome) -> None:
    assert streamed.came == 0
    assert CANARY not in str(streamed.calls) + str(streamed.quarantined) + streamed.log


# Metadata files -------------------------------------------------------------------------------------------------

FILES: dict[str, Attack] = REFUSED | HARMLESS | OTHER_ENCODINGS


@pytest.fixture(scope="module")
def imported(embedded_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """All attacks in one folder, a harmless file beside each."""
    home = tmp_path_factory.mktemp("files")
    command = Cdr(home)
    with fresh_database(embedded_server) as url:
        yield asyncio.run(_import(command, home, url))


async def _import(command: Cdr, home: Path, url: str) -> Outcome:
    (home / "secret").write_text(CANARY)
    media = home / "media"
    media.mkdir()
    async with Listener() as stranger:
        stage = Stage("verbacdr", "<ccdr_id>attack-NAME</ccdr_id>", "", home / "secret", stranger.port)
        for name, attack in FILES.items():
            (media / f"{name}.xml").write_bytes(attack(stage.named(name)))
            (media / f"after {name}.xml").write_text(f"<verbacdr><ccdr_id>after-{name}</ccdr_id></verbacdr>")
        (home / "cdr.toml").write_text(f'database.url = "{url}"\n')
        words = ("backfill", "files", str(media), "--processes", "1", "--config", str(home / "cdr.toml"))
        running = command.start(*words)
        cost = (0, 0.0)
        while running.process.poll() is None:
            cost = _cost(running.process.pid) or cost
            await asyncio.sleep(0.02)
        done = running.end()
    found = looked(url, list(FILES))
    found.came, found.code, found.log = stranger.came, done.code, done.said
    found.memory, found.cpu = cost
    return found


def _cost(pid: int) -> tuple[int, float] | None:
    try:
        return peak_memory(pid), cpu_seconds(pid)
    except (OSError, StopIteration):  # it has just ended
        return None


@pytest.mark.parametrize("name", REFUSED)
def test_a_files_attack_is_kept_and_not_obeyed(imported: Outcome, name: str) -> None:
    assert imported.hold(name)


@pytest.mark.parametrize("name", HARMLESS | OTHER_ENCODINGS)
def test_a_strange_file_is_stored_as_it_is_written_or_kept(imported: Outcome, name: str) -> None:
    assert len(imported.calls.get(f"attack-{name}", "")) < 10_000_000
    assert (f"attack-{name}" in imported.calls) or imported.quarantined[name]


@pytest.mark.parametrize("name", [name for name in OTHER_ENCODINGS if name != "utf16"])
def test_a_declaration_that_bytes_do_not_show_is_refused(imported: Outcome, name: str) -> None:
    assert imported.hold(name)


@pytest.mark.parametrize("name", FILES)
def test_the_file_beside_an_attack_is_archived(imported: Outcome, name: str) -> None:
    assert f"after-{name}" in imported.calls


def test_attacks_in_files_cost_little_read_no_other_and_connect_to_nobody(imported: Outcome) -> None:
    assert imported.code == 5
    assert imported.came == 0
    assert CANARY not in str(imported.calls) + str(imported.quarantined) + imported.log
    assert 0 < imported.memory < MEMORY
    assert imported.cpu < CPU


# The HTTP history -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REFUSED | OTHER_ENCODINGS)
async def test_an_answer_that_attacks_is_refused_quickly(name: str, tmp_path: Path) -> None:
    """As a page of rows; nothing is read and nobody connected to, and no row comes of it."""
    (tmp_path / "secret").write_text(CANARY)
    async with Listener() as stranger:
        before = '<Response code="0"><verbacdr state="1"><ccdr_id>attack-NAME</ccdr_id>'
        stage = Stage("VerbaApi", before, "</verbacdr></Response>", tmp_path / "secret", stranger.port)
        body = (REFUSED | OTHER_ENCODINGS)[name](stage.named(name))
        began = time.process_time()
        told = await asyncio.to_thread(_asked, body)
        assert time.process_time() - began < CPU
        assert stranger.came == 0
    assert CANARY not in told
    assert name == "utf16" or "not XML" in told


def _asked(body: bytes) -> str:
    site = Site()
    site.before = lambda form: Reply(body)
    with serving(site) as url, HistoryClient(settings(url), 64_000_000, sleep=lambda _: None) as client:
        try:
            return repr(list(client.search(Interval(NOON, NOON + timedelta(hours=1)))))
        except CdrError as error:
            return str(error)
