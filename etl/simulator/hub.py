"""The simulated recorder's port and all connections to it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from random import Random
from typing import Literal

from etl.simulator.clock import Clock
from etl.simulator.config import SimulatorConfig, TlsFiles
from etl.simulator.connection import Connection, Notice, Sending
from etl.simulator.faults import FaultKind
from etl.simulator.requests import BadRequest, Request
from etl.simulator.truth import ConnectionLine, DeliveryLine, TruthWriter

_SMALL = 200
"""Bytes: the longest piece of a split write."""


class Hub:
    """Listens, keeps the connections, and tells the truth what becomes of them."""

    def __init__(
        self,
        config: SimulatorConfig,
        truth: TruthWriter,
        clock: Clock,
        rng: Random,
        answer: Callable[[Connection, Request | BadRequest], None],
    ) -> None:
        """`answer` is called with every request; `rng` throws the dice of the faults."""
        self.silent = False
        self._config = config
        self._truth = truth
        self._clock = clock
        self._rng = rng
        self._answer = answer
        self._tls = _server_context(config.tls) if config.tls else None
        self._connections: dict[int, Connection] = {}
        self._closing: set[Connection] = set()
        self._count = 0
        self._reservation: socket.socket | None = None
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The bound port; 0 before `start`."""
        return int(self._reservation.getsockname()[1]) if self._reservation else 0

    @property
    def connections(self) -> tuple[Connection, ...]:
        """The connections that live, oldest first."""
        return tuple(self._connections.values())

    @property
    def subscribers(self) -> tuple[Connection, ...]:
        """Those of them that have subscribed and are not muted."""
        return tuple(item for item in self.connections if item.extensions is not None and not item.muted)

    async def start(self) -> None:
        """Reserves the port for good, and listens. Raises `OSError`."""
        family = socket.AF_INET6 if ":" in self._config.host else socket.AF_INET
        self._reservation = socket.socket(family)
        # bound but not listening: while the port is shut, nobody else can get it, and clients are refused
        self._reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._reservation.bind((self._config.host, self._config.port))
        except OSError:
            self._reservation.close()
            raise
        await self.open_port()

    async def open_port(self) -> None:
        """Listens; nothing happens if it does already."""
        if self._server is None:
            self._server = await asyncio.get_running_loop().create_server(
                self._connection, self._config.host, self.port, ssl=self._tls, reuse_address=True, backlog=1024
            )

    def close_port(self) -> None:
        """Stops listening: clients are refused."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def stop(self) -> None:
        """Closes everything and gives the port back."""
        self.close_port()
        self.close_all("stopped")
        for connection in tuple(self._closing):
            connection.abort()
        while self._closing:
            await asyncio.sleep(0)
        if self._reservation is not None:
            self._reservation.close()

    def subscribe(self, connection: Connection, extensions: tuple[str, ...]) -> None:
        """`connection` gets the calls of these numbers from now on; none stands for all."""
        connection.extensions = frozenset(extensions)
        self._tell(connection, "subscribed", extensions)

    def publish(self, data: bytes, notice: Notice, parties: tuple[str, str], times: int = 1) -> None:
        """Sends a notification to every subscriber that wants calls between these two."""
        for connection in self.connections:
            if connection.matches(parties):
                for _ in range(times):
                    connection.send(data, notice)

    def broadcast(self, data: bytes) -> None:
        """Sends `data` to every subscriber."""
        for connection in self.subscribers:
            connection.send(data)

    def mute_all(self) -> None:
        """Nothing more is sent, on connections there are and on those that come."""
        self.silent = True
        for connection in self.connections:
            connection.muted = True

    def close_all(self, reason: str) -> None:
        """Closes all connections in order."""
        for connection in self.connections:
            connection.close(reason)

    # what connections report

    def opened(self, connection: Connection) -> None:
        """A client has connected."""
        connection.muted = self.silent
        self._connections[connection.number] = connection
        self._tell(connection, "opened")

    def asked(self, connection: Connection, request: Request | BadRequest) -> None:
        """A request has come; a silent recorder does not read it."""
        if not connection.muted and not connection.ended:
            self._answer(connection, request)

    def delivered(self, connection: Connection, notice: Notice) -> None:
        """A notification is with the kernel."""
        self._tell_delivery(connection, notice, reached=True)

    def withdrawn(self, connection: Connection, notice: Notice) -> None:
        """A delivery that cannot be vouched for any more."""
        self._tell_delivery(connection, notice, reached=False)

    def closed(self, connection: Connection, reason: str) -> None:
        """A connection is no more."""
        self._connections.pop(connection.number, None)
        self._closing.add(connection)
        self._tell(connection, "closed", reason=reason)

    def gone(self, connection: Connection) -> None:
        """A closed connection has got rid of its last bytes."""
        self._closing.discard(connection)

    def _connection(self) -> Connection:
        self._count += 1
        return Connection(self, self._count, self._sending(), self._rng, self._config.send_limit)

    def _sending(self) -> Sending:
        faults = self._config.faults
        if self._rng.random() < faults.share(FaultKind.SPLIT_WRITES):
            return Sending(pieces=_SMALL)
        if self._rng.random() < faults.share(FaultKind.COALESCE):
            return Sending(delay=faults.length(FaultKind.COALESCE))
        return Sending()

    def _tell(
        self,
        connection: Connection,
        phase: Literal["opened", "subscribed", "closed"],
        extensions: tuple[str, ...] = (),
        reason: str = "",
    ) -> None:
        self._truth.write(ConnectionLine(self._clock.now(), connection.number, phase, extensions, reason))

    def _tell_delivery(self, connection: Connection, notice: Notice, *, reached: bool) -> None:
        self._truth.write(DeliveryLine(self._clock.now(), notice.call_id, notice.event, connection.number, reached))


def _server_context(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)
    if files.client_ca is not None:
        context.load_verify_locations(files.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED if files.client_required else ssl.CERT_OPTIONAL
    return context
