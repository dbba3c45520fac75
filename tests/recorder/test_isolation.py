"""One recorder that misbehaves, beside one that does not: the second never waits for the first."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from support.recorders import Peer, Puppet, document, keepalive, puppet, started, subscribed, until

from etl.model import What
from etl.recorder.clock import SystemClock

Connect = Callable[..., Awaitable[Any]]
Misbehaviour = Callable[[Peer], Awaitable[None]]

SOON = 0.5
"""Seconds within which a notification of the good recorder is journaled, whatever the other one does. Far more
than it takes, far less than a stop."""
GIGABYTE = 1_000_000_000


@pytest.fixture
async def bad_server() -> AsyncIterator[Puppet]:
    async with puppet() as opened:
        yield opened


async def endless_garbage(peer: Peer) -> None:
    await peer.flood(b"no document at all > & ]]> \x00\xff " * 2_000, 1_000_000)


async def endless_document(peer: Peer) -> None:
    peer.send(b'<VerbaApi><Notification type="CallStart"><Call id="x"><n>')
    await peer.flood(b"y" * 65_536, 1_000_000)


async def endless_starts(peer: Peer) -> None:
    await peer.flood(b"<VerbaApi>" * 6_000, 1_000_000)


async def drop_by_drop(peer: Peer) -> None:
    for byte in started() * 1_000:
        peer.send(bytes([byte]))
        await asyncio.sleep(0.001)


async def flood_of_documents(peer: Peer) -> None:
    await peer.flood(started() * 500, 1_000_000)


async def deaf(peer: Peer) -> None:
    """It never reads, and its own keep-alives go on."""
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    while True:
        peer.send(keepalive())
        await asyncio.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    "misbehave", [endless_garbage, endless_document, endless_starts, drop_by_drop, flood_of_documents, deaf]
)
async def test_a_recorder_that_misbehaves_slows_no_other(
    connect: Connect, subscribe: Connect, bad_server: Puppet, misbehave: Misbehaviour
) -> None:
    good = await subscribe(SystemClock(), margin=1)
    bad = await connect(SystemClock(), margin=1, to=bad_server)
    request = await bad.peer.request()
    bad.peer.send(subscribed(request.id))
    await until(lambda: bool(bad.ear.confirmations))
    misbehaving = asyncio.ensure_future(misbehave(bad.peer))
    took = []
    for number in range(30):
        begun = time.monotonic()
        good.peer.send(started(f"call-{number}"))
        await until(good.tape.count(What.DOCUMENT, number + 2))
        took.append(time.monotonic() - begun)
        await asyncio.sleep(0.01)
        bad.tape.drafts.clear()  # the journal took it
    misbehaving.cancel()
    with contextlib.suppress(asyncio.CancelledError, ConnectionError):
        await misbehaving
    assert sorted(took)[-2] < SOON  # one of them may have met a hiccup of the machine
    assert good.tape.of(What.PAUSED) == []
    assert not good.task.done()


@pytest.mark.slow
async def test_a_document_of_a_gigabyte_takes_no_more_memory_than_the_limit(subscribe: Connect) -> None:
    line = await subscribe(keepalive=3600)
    piece = b"y" * 262_144
    line.peer.send(b'<VerbaApi><Notification type="CallStart"><Call id="x"><n>')
    await line.peer.flood(piece, 20)
    before, peak = _resident(), 0
    for _ in range(GIGABYTE // len(piece) // 100):
        await line.peer.flood(piece, 100)
        peak = max(peak, _resident())
    line.peer.send(b"</n></Call></Notification></VerbaApi>", started())
    await until(line.tape.count(What.DOCUMENT, 2))
    [excerpt] = line.tape.of(What.REJECTED)
    assert len(excerpt.body) == 2 * 65_536
    assert peak - before < 16_000_000


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_a_large_answer_does_not_keep_small_ones_from_being_read(subscribe: Connect) -> None:
    """Between the reads of a large document the other sessions get their turn."""
    large, small = await subscribe(), await subscribe()
    large.peer.send(
        document(f'<Notification type="CallStart"><Call id="x"><n>{"y" * 900_000}</n></Call></Notification>')
    )
    small.peer.send(started())
    await until(small.tape.count(What.DOCUMENT, 2))
    await until(large.tape.count(What.DOCUMENT, 2))
