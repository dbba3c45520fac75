"""Connecting, with and without TLS: what a user is told when it does not work."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from support.recorders import Peer, Puppet, puppet, recorder, soon, until

from etl.errors import RecorderUnavailable, UsageError
from etl.protocol.framing import Framer
from etl.recorder.link import NEARLY_NOTHING, Link

Served = Callable[..., AbstractAsyncContextManager[Puppet]]
HELLO = b"<VerbaApi><Hello/></VerbaApi>"


@pytest.fixture
def served(keys: Path) -> Served:
    """A recorder that speaks TLS; `demand`: it asks for a client certificate."""

    @asynccontextmanager
    async def serve(*, demand: bool = False) -> AsyncIterator[Puppet]:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(keys / "authority.pem"))
        context.load_cert_chain(keys / "server.pem", keys / "server.key")
        context.verify_mode = ssl.CERT_REQUIRED if demand else ssl.CERT_NONE
        async with puppet(context) as server:
            yield server

    return serve


async def connected(port: int, **options: Any) -> Link:
    return await soon(Link.open(recorder(port, **options), Framer(1_000_000)))


async def said(link: Link) -> bytes:
    data = await soon(link.receive())
    link.close()
    return data


async def test_a_trusted_recorder_is_talked_to_over_tls(served: Served, keys: Path) -> None:
    async with served() as server:
        link = await connected(server.port, tls={"ca": keys / "authority.pem"})
        (await server.peer()).send(HELLO)
        assert await said(link) == HELLO


async def test_a_client_certificate_is_shown_where_it_is_asked_for(served: Served, keys: Path) -> None:
    tls = {"ca": keys / "authority.pem", "certificate": keys / "client.pem", "key": keys / "client.key"}
    async with served(demand=True) as server:
        link = await connected(server.port, tls=tls)
        (await server.peer()).send(HELLO)
        assert await said(link) == HELLO


async def test_an_untrusted_certificate_is_told_with_the_setting_that_trusts_it(served: Served, keys: Path) -> None:
    async with served() as server:
        with pytest.raises(RecorderUnavailable, match=r"is not trusted .*; set tls\.ca to the authority"):
            await connected(server.port, tls={"ca": keys / "stranger.pem"})


async def test_a_certificate_for_another_name_says_so(served: Served, keys: Path) -> None:
    async with served() as server:
        with pytest.raises(RecorderUnavailable, match=r"is for another name .*localhost.*; set host to the name in it"):
            await connected(server.port, host="localhost", tls={"ca": keys / "authority.pem"})


async def test_a_missing_client_certificate_is_asked_for_by_name(keys: Path) -> None:
    """A server that says why it refuses us; one that just closes is told by the session."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(keys / "authority.pem"))
    context.load_cert_chain(keys / "server.pem", keys / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    with socket.create_server(("127.0.0.1", 0)) as listening:
        refusing = asyncio.to_thread(_refuse, listening, context)
        opening = connected(listening.getsockname()[1], tls={"ca": keys / "authority.pem"})
        link, _ = await asyncio.gather(opening, refusing)
        with pytest.raises(RecorderUnavailable, match=r"does it ask for a client certificate \(tls\.certificate"):
            await said(link)


def _refuse(listening: socket.socket, context: ssl.SSLContext) -> None:
    accepted, _ = listening.accept()
    with contextlib.suppress(ssl.SSLError):
        context.wrap_socket(accepted, server_side=True)


async def test_tls_to_a_port_that_answers_plainly_says_that_it_does_not_speak_tls() -> None:
    async with puppet() as server:
        opening = asyncio.create_task(connected(server.port, tls={}))
        (await server.peer()).send(HELLO)
        with pytest.raises(RecorderUnavailable, match="it does not speak TLS on this port; remove tls"):
            await opening


async def test_tls_to_a_port_that_waits_for_a_plain_request_hints_at_it() -> None:
    async with puppet() as server:
        with pytest.raises(RecorderUnavailable, match=r"within 0\.1 s; does it speak TLS on this port\?"):
            await connected(server.port, tls={}, connect_timeout="100ms")


async def test_a_plain_connection_to_a_tls_port_is_closed_before_anything_is_said(served: Served) -> None:
    async with served() as server:
        link = await connected(server.port)
        link.send(b'<VerbaApi><Request type="SubscribeOnCallEvent" id="1"/></VerbaApi>')
        with contextlib.suppress(RecorderUnavailable):  # torn down, or closed after a TLS alert
            while data := await soon(link.receive()):
                assert not data.startswith(b"<")
        link.close()


async def test_a_closed_port_is_told_with_where_and_what_to_check() -> None:
    async with puppet() as server:
        port = server.port
    with pytest.raises(RecorderUnavailable) as told:
        await connected(port)
    assert str(told.value) == (
        f"recorder ny-1: cannot connect to 127.0.0.1:{port}: "
        "connection refused; is the recorder's API enabled and the port right?"
    )


async def test_a_host_that_cannot_be_resolved_says_so() -> None:
    with pytest.raises(RecorderUnavailable, match="its host name cannot be resolved"):
        await connected(1, host="no-such-recorder.invalid")


async def test_a_tls_file_that_does_not_fit_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    for path in (broken, tmp_path / "missing.pem"):
        with pytest.raises(UsageError) as told:
            await connected(1, tls={"ca": path})
        assert 'recorder["ny-1"].tls' in str(told.value)
        assert str(path) in str(told.value)


async def test_a_dead_peer_is_found() -> None:
    """TCP keep-alive is on: where the recorder announces none of its own, it finds a dead machine."""
    async with puppet() as server:
        link = await connected(server.port)
        sock: socket.socket = link._writer.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        peer: Peer = await server.peer()
        link.close()
        await peer.closed()


async def test_what_waits_unread_is_known() -> None:
    """Little may wait, for nobody is held back by it; a connection that is gone can hold anything."""
    async with puppet() as server:
        link = await connected(server.port)
        peer: Peer = await server.peer()
        await until(lambda: link.caught_up)
        await peer.flood(HELLO, 20_000 // len(HELLO))
        await soon(link.receive())
        assert not link.caught_up, "as much was read as is read at a time"
        for _ in range(3):
            await soon(link.receive())
        await until(lambda: link.caught_up)
        flood = asyncio.create_task(peer.flood(HELLO * 100, 10_000))
        for _ in range(100):
            await asyncio.sleep(0)
            await soon(link.receive())
        assert not link.caught_up, "the sender is held back"
        flood.cancel()
        link.close()
        await asyncio.sleep(0)
        assert not link.caught_up


async def test_much_in_the_kernel_is_behind_also_when_the_last_piece_was_short() -> None:
    async with puppet() as server:
        link = await connected(server.port)
        peer: Peer = await server.peer()
        peer.send(HELLO)
        await soon(link.receive())
        link._writer.transport.pause_reading()  # type: ignore[attr-defined]
        peer.send(b" " * NEARLY_NOTHING)
        await until(lambda: not link.caught_up)
        link._writer.transport.resume_reading()  # type: ignore[attr-defined]
        await until(lambda: link.caught_up)
        link.close()
