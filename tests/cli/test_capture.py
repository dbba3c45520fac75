"""`cdr capture`: the bytes as they came, a line for each message, and nothing else anywhere."""

from __future__ import annotations

import asyncio
import json
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.recorders import CALL, Puppet, keepalive, notification, puppet, soon, started, subscribed, until

from etl.config import Settings
from etl.errors import CdrError, RecorderUnavailable, UsageError
from etl.ingest.interpret import Interpreter
from etl.jobs import capture as capture_module
from etl.jobs.capture import Captured, capture, lines_of
from etl.protocol.framing import Framer
from etl.recorder.clock import SystemClock

Cdr = Callable[..., Any]
LIMIT = 1_000_000


def capturing(
    server: Puppet, out: Path, stop: asyncio.Event | None = None, **options: object
) -> asyncio.Task[Captured]:
    known = {"name": "ny-1", "host": "127.0.0.1", "port": server.port, "request_timeout": "5s", **options}
    settings = Settings.model_validate({"recorder": [known]})
    return asyncio.create_task(
        capture(
            settings.recorder[0],
            Interpreter(settings),
            out,
            SystemClock(),
            limit=LIMIT,
            stop=stop or asyncio.Event(),
            confirmed=lambda: None,
        )
    )


def told(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines_of(out).read_text(encoding="utf-8").splitlines()]


async def test_the_bytes_are_those_that_came_whatever_they_are(tmp_path: Path) -> None:
    """So they can be a scenario's stream: the framing finds in them what it found in the connection."""
    out, stop = tmp_path / "s.xml", asyncio.Event()
    pieces = [
        subscribed("1"),
        b"\xff garbage \0 ",
        started(),
        b" \n",
        notification("Strange", CALL),
        keepalive(),
        b"<VerbaApi><No",
    ]
    async with puppet() as server:
        running = capturing(server, out, stop)
        peer = await server.peer()
        assert (await peer.request()).type == "SubscribeOnCallEvent"
        for piece in pieces:
            peer.send(piece)
        await until(lambda: out.exists() and out.read_bytes() == b"".join(pieces))
        stop.set()
        captured = await soon(running)
        await peer.closed()
    assert (captured.bytes, captured.documents, captured.rejected) == (len(b"".join(pieces)), 4, 2)
    assert captured.ended == ""
    framer = Framer(LIMIT)
    items = [*framer.receive(out.read_bytes()), *framer.finish("cut_off")]
    assert [line["bytes"] for line in told(out)] == [len(item.raw) for item in items]


async def test_each_line_says_how_it_was_understood(tmp_path: Path) -> None:
    out = tmp_path / "s.xml"
    async with puppet() as server:
        running = capturing(server, out)
        peer = await server.peer()
        await peer.request()
        peer.send(subscribed("1"), b"oops", started(), notification("Strange", CALL))
        await until(lambda: lines_of(out).exists() and len(told(out)) == 4)
        peer.close()
        captured = await soon(running)
    confirmed, garbage, start, strange = told(out)
    assert (confirmed["asked"], confirmed["messages"]) == ("subscribe", ["response"])
    assert (garbage["what"], garbage["reason"]) == ("rejected", "garbage")
    assert [(each["call_id"], each["kind"], each["source_caller_id"]) for each in start["facts"]] == [
        (CALL, "start", "1000")
    ]
    assert strange["quarantined"] == ["unknown_notification"]
    assert "closed the connection" in captured.ended


async def test_a_recorder_that_falls_silent_ends_it_with_the_reason(tmp_path: Path) -> None:
    async with puppet() as server:
        running = capturing(server, tmp_path / "s.xml")
        peer = await server.peer()
        await peer.request()
        peer.send(subscribed("1", keepalive=0.1))
        assert "no keep-alive" in (await soon(running)).ended


async def test_a_recorder_without_keep_alives_is_asked_for_life(tmp_path: Path) -> None:
    async with puppet() as server:
        stop = asyncio.Event()
        running = capturing(server, tmp_path / "s.xml", stop, probe_every="100ms")
        peer = await server.peer()
        await peer.request()
        peer.send(subscribed("1", keepalive=None))
        assert (await soon(peer.request())).type == "GetCallList"
        stop.set()
        assert (await soon(running)).ended == ""


@pytest.mark.parametrize("name", ["s.xml", "s.xml.jsonl"])
async def test_nothing_is_overwritten_and_nothing_left_behind(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"mine")
    async with puppet() as server:
        with pytest.raises(UsageError, match="exists"):
            await capturing(server, tmp_path / "s.xml")
        assert not server.accepted
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {name: b"mine"}


async def test_without_a_connection_no_file_stays(tmp_path: Path) -> None:
    async with puppet() as server:
        pass
    with pytest.raises(RecorderUnavailable):
        await capturing(server, tmp_path / "s.xml")
    assert list(tmp_path.iterdir()) == []


async def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/full takes no byte: here in place of the new file."""
    monkeypatch.setattr(capture_module, "_new", lambda path: Path("/dev/full").open("wb", buffering=0))  # noqa: SIM115
    async with puppet() as server:
        running = capturing(server, tmp_path / "s.xml")
        peer = await server.peer()
        await peer.request()
        peer.send(subscribed("1"))
        with pytest.raises(CdrError, match="No space left"):
            await soon(running)


@pytest.mark.slow
def test_the_command_captures_until_it_is_stopped(cdr: Cdr, configure: Cdr, simulated: Cdr, tmp_path: Path) -> None:
    """With no database in reach, for it needs none; and no journal is made."""
    configure("postgresql://cdr@127.0.0.1:1/cdr", **{"ny-1": simulated(rate="20").port})
    running = cdr.start("capture", "--recorder", "ny-1", "--out", "s.xml", "--json")  # type: ignore[attr-defined]
    running.until("subscribed to ny-1")
    done = running.end(signal.SIGINT)
    assert done.code == 0, done.said
    assert done.json["bytes"] == (tmp_path / "s.xml").stat().st_size > 0
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("s.xml", "s.xml.jsonl")} == {0o600}
    assert not (tmp_path / "var").exists()
    again = cdr("capture", "--recorder", "ny-1", "--out", "s.xml", "--for", "100ms")
    assert (again.code, "exists" in again.err) == (2, True)
    timed = cdr("capture", "--recorder", "ny-1", "--out", "t.xml", "--for", "100ms")
    assert (timed.code, "documents" in timed.err) == (0, True), timed.said


def test_a_recorder_that_is_not_configured_is_named(here: Cdr, configure: Cdr) -> None:
    configure("postgresql://h/x", **{"ny-1": 1})
    done = here("capture", "--recorder", "ny-2", "--out", "s.xml")
    assert (done.code, "configured: ny-1" in done.err) == (2, True)
