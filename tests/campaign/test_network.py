"""The network of a campaign passes on, holds back in one direction, comes late, and is cut."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from campaign import stage
from campaign.proxy import Network

pytestmark = [pytest.mark.slow]


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends everything back, one connection after the other."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _ = server.accept()
                    with client, suppress(OSError):
                        while data := client.recv(100):
                            client.sendall(data)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


@pytest.fixture
def network(tmp_path: Path, echo: int) -> Iterator[Network]:
    made = Network(tmp_path, {"a": echo}, os.environ | {"PYTHONPATH": str(stage.TESTS)})
    try:
        stage.wait_for(lambda: made.ready, 20, "the network")
        yield made
    finally:
        made.end()


@pytest.fixture
def client(network: Network) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", network.ports["a"]), 20) as made:
        made.sendall(b"hello")
        assert made.recv(100) == b"hello"
        yield made


@pytest.mark.parametrize("way", ["there", "back"])
def test_what_is_held_back_comes_in_order_when_all_flows_again(
    network: Network, client: socket.socket, way: str
) -> None:
    network.stall("a", "there" if way == "there" else "back")
    client.sendall(b"one")
    client.sendall(b"two")
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.recv(100)
    network.flow("a")
    client.settimeout(20)
    held = b""
    while len(held) < 6:
        held += client.recv(100)
    assert held == b"onetwo"


def test_what_is_held_back_is_lost_when_it_is_cut(network: Network, client: socket.socket) -> None:
    network.stall("a", "back")
    client.sendall(b"lost")
    network.cut("a")
    with suppress(ConnectionResetError):
        assert client.recv(100) == b""
    network.flow("a")
    with socket.create_connection(("127.0.0.1", network.ports["a"]), 20) as another:
        another.sendall(b"again")
        assert another.recv(100) == b"again"


def test_a_slow_network_is_late_both_ways(network: Network, client: socket.socket) -> None:
    network.delay("a", 0.1)
    began = time.monotonic()
    client.sendall(b"late")
    assert client.recv(100) == b"late"
    assert time.monotonic() - began >= 0.2


def test_a_connection_that_ends_ends_on_the_other_side(network: Network, client: socket.socket) -> None:
    client.shutdown(socket.SHUT_WR)
    assert client.recv(100) == b""
