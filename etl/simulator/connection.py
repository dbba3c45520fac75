"""One client's connection: requests in, documents out, and an honest account of what was handed over."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import sys
import termios
from collections import deque
from dataclasses import dataclass
from random import Random
from typing import Protocol

from etl.simulator.requests import LIMIT, BadRequest, Request, RequestReader
from etl.simulator.truth import Event

_TLS_SLACK = 64 * 1024
"""Bytes that the TLS layer may hold where nobody can see them."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What a document tells a subscriber."""

    call_id: str
    event: Event


@dataclass(frozen=True, slots=True)
class Sending:
    """How a connection sends: in pieces of at most `pieces` bytes, or after `delay` seconds; 0: at once."""

    pieces: int = 0
    delay: float = 0.0


class Owner(Protocol):
    """Whom a connection reports to."""

    def opened(self, connection: Connection) -> None:
        """The connection is there."""

    def asked(self, connection: Connection, request: Request | BadRequest) -> None:
        """A request has come."""

    def delivered(self, connection: Connection, notice: Notice) -> None:
        """All bytes of a notification were handed to the kernel."""

    def withdrawn(self, connection: Connection, notice: Notice) -> None:
        """A notification that was delivered may not have reached the peer."""

    def closed(self, connection: Connection, reason: str) -> None:
        """Nothing more is sent or read; told once."""

    def gone(self, connection: Connection) -> None:
        """The last bytes of a closed connection have left, or are lost."""


class Connection(asyncio.Protocol):
    """One TCP connection of a client.

    `extensions` is None until it has subscribed; an empty set stands for all calls. A muted connection sends
    nothing more: what is meant for it is lost.
    """

    def __init__(self, owner: Owner, number: int, sending: Sending, rng: Random, send_limit: int) -> None:
        """`number` names it in the truth."""
        self.number = number
        self.extensions: frozenset[str] | None = None
        self.muted = False
        self.ended = False
        self._owner = owner
        self._sending = sending
        self._rng = rng
        self._send_limit = send_limit
        self._reader = RequestReader()
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket
        self._secure = False
        self._out = bytearray()
        self._flushing = False
        self._before_next = b""
        self._queued = 0
        self._written = 0
        self._pending: deque[tuple[int, Notice]] = deque()
        self._handed: deque[tuple[int, Notice]] = deque()

    # what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Sends without delay, and wants to know when everything is with the kernel."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        # kept: a TLS transport forgets it before it reports the end
        self._socket = transport.get_extra_info("socket")
        self._secure = transport.get_extra_info("ssl_object") is not None
        transport.set_write_buffer_limits(high=0)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._owner.opened(self)

    def data_received(self, data: bytes) -> None:
        """Reads requests."""
        for request in self._reader.feed(data):
            self._owner.asked(self, request)
        if self._reader.waiting > LIMIT:
            self.reset("request too long")

    def eof_received(self) -> None:
        """The peer has closed: so do we."""
        self._finish("peer", orderly=False)

    def connection_lost(self, error: Exception | None) -> None:
        """The last word: nothing more is handed over."""
        self._settle()
        if error is not None:
            self._withdraw()
        self._finish("lost" if error else "peer", orderly=True)
        self._owner.gone(self)

    def resume_writing(self) -> None:
        """Everything is with the kernel."""
        self._settle()

    # what the simulator calls

    def matches(self, parties: tuple[str, str]) -> bool:
        """Whether its subscription wants a call between these two."""
        if self.extensions is None or self.ended:
            return False
        return not self.extensions or not self.extensions.isdisjoint(parties)

    def put_before_next(self, data: bytes) -> None:
        """Sends `data` right before the next document."""
        self._before_next += data

    def send(self, data: bytes, notice: Notice | None = None) -> None:
        """Sends a document, in its own manner; `notice` says what it tells."""
        if self.ended or self.muted or self._transport is None:
            return
        data, self._before_next = self._before_next + data, b""
        self._queued += len(data)
        if notice is not None:
            self._pending.append((self._queued, notice))
        self._out += data
        self._begin_flush()
        self._settle()
        if self._queued - self._written + self._unsent() > self._send_limit:
            self.reset("reads too slowly")

    def close(self, reason: str) -> None:
        """Closes in order (FIN): what was sent before still arrives."""
        if self.ended or self._transport is None:
            return
        if not self.muted:
            self._write(len(self._out))
        self._settle()
        self._finish(reason, orderly=True)
        self._transport.close()

    def reset(self, reason: str) -> None:
        """Tears the connection down (RST): what is under way is lost."""
        if self.ended or self._transport is None:
            return
        self._settle()
        self._finish(reason, orderly=False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def abort(self) -> None:
        """Lets go of a connection that was closed but cannot get rid of its last bytes."""
        if self._transport is not None:
            self._transport.abort()

    # how bytes leave

    def _begin_flush(self) -> None:
        if not self._sending.pieces and not self._sending.delay:
            self._write(len(self._out))
        elif not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_later(self._sending.delay, self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self.ended or self.muted:
            return
        pieces = self._sending.pieces
        self._write(self._rng.randint(1, pieces) if pieces else len(self._out))
        self._settle()
        if self._out:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _write(self, size: int) -> None:
        assert self._transport is not None
        piece = bytes(self._out[:size])
        del self._out[:size]
        self._written += len(piece)
        self._transport.write(piece)

    # the account

    def _settle(self) -> None:
        handed = self._written - self._unsent()
        while self._pending and self._pending[0][0] <= handed:
            item = self._pending.popleft()
            self._handed.append(item)
            self._owner.delivered(self, item[1])
        if not self._unacknowledged():
            self._handed.clear()

    def _unsent(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport else 0

    def _finish(self, reason: str, *, orderly: bool) -> None:
        if self.ended:
            return
        self.ended = True
        if not orderly:
            self._withdraw()
        self._owner.closed(self, reason)

    def _withdraw(self) -> None:
        unacknowledged = self._unacknowledged()
        if not unacknowledged:
            return
        sure = self._written - self._unsent() - unacknowledged
        for end, notice in self._handed:
            if end > sure:
                self._owner.withdrawn(self, notice)
        self._handed.clear()

    def _unacknowledged(self) -> int:
        """Bytes that the kernel holds because the peer's has not acknowledged them."""
        if sys.platform != "linux":
            return 0
        number = self._socket.fileno()
        if number < 0:  # TLS: closed before we were told; nothing can be vouched for
            return self._written
        answer = fcntl.ioctl(number, termios.TIOCOUTQ, bytes(4))
        size: int = struct.unpack("i", answer)[0]
        return size + _TLS_SLACK if size and self._secure else size
