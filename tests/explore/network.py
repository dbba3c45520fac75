"""Connections in memory: bytes in order, after a while, in pieces; and what can go wrong with a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from explore.world import Process, World

SLOWEST = 0.25
"""Seconds that bytes are under way at the most: well within the margin, as on a good network."""


class Line(asyncio.Transport):
    """One connection: our end is an asyncio transport, the recorder's end `heard`, `gone` and the methods below.

    `dead`: nothing gets through any more in either direction, and nobody is told. `arrived`: what came to our end, and
    when; `subscribed_at`: when we asked for a subscription on it.
    """

    def __init__(self, world: World, process: Process, protocol: asyncio.BaseProtocol, number: int) -> None:
        super().__init__()
        self._world = world
        self.process = process
        self._protocol: Any = protocol
        self.number = number
        self.dead = False
        self.open = True
        self.heard: Callable[[bytes], None] = lambda data: None
        self.gone: Callable[[], None] = lambda: None
        self.subscribed_at = -1.0
        self.arrived: list[tuple[float, bytes]] = []
        self._there = 0.0
        self._back = 0.0
        self._ours_closed = False
        process.closers.append(self._vanish)

    # Our end

    def write(self, data: Any) -> None:
        if self._ours_closed or self.process.dead:
            return
        if b"SubscribeOnCallEvent" in data:
            self.subscribed_at = self._world.now
        self._there = max(self._there, self._world.now + self._while())
        self._at(self._there, lambda: self.heard(bytes(data)) if self.open and not self.dead else None)

    def abort(self) -> None:
        self._hang_up(None)

    def close(self) -> None:
        self._hang_up(None)

    def is_closing(self) -> bool:
        return self._ours_closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def can_write_eof(self) -> bool:
        return False

    def _hang_up(self, error: Exception | None) -> None:
        if self._ours_closed:
            return
        self._ours_closed = True
        if not self.process.dead:
            self.process.loop.call_soon(self._protocol.connection_lost, error)
        self._leave()

    def _leave(self) -> None:
        self._there = max(self._there, self._world.now + self._while())
        self._at(self._there, self._left)

    def _left(self) -> None:
        if self.open and not self.dead:
            self.open = False
            self.gone()

    def _vanish(self) -> None:
        """The process died: the kernel closes its connections."""
        self._ours_closed = True
        self._leave()

    # The recorder's end

    def send(self, data: bytes) -> None:
        """What is sent arrives in order, in pieces of any size."""
        dice = self._world.dice
        while data:
            cut = len(data) if dice.random() < 0.8 else dice.randint(1, len(data))
            piece, data = data[:cut], data[cut:]
            self._deliver(partial(self._arrive, piece))

    def _arrive(self, piece: bytes) -> None:
        self.arrived.append((self._world.now, piece))
        self._protocol.data_received(piece)

    def finish(self) -> None:
        """Close in an orderly way."""
        self._end(None)

    def reset(self) -> None:
        """Tear it down."""
        self._end(ConnectionResetError(104, "Connection reset by peer"))

    def _end(self, error: Exception | None) -> None:
        def end() -> None:
            if error is None:
                self._protocol.eof_received()
            self._hang_up(error)

        if self.open:
            self._deliver(end)
            self.open = False

    def _deliver(self, work: Callable[[], None]) -> None:
        self._back = max(self._back, self._world.now + self._while())

        def arrive() -> None:
            if not self.dead and not self._ours_closed and not self.process.dead:
                self.process.loop.call_soon(lambda: None if self._ours_closed else work())

        self._at(self._back, arrive)

    def _at(self, moment: float, work: Callable[[], None]) -> None:
        self._world.later(max(moment - self._world.now, 0.0), work)

    def _while(self) -> float:
        return min(self._world.dice.expovariate(1 / 0.01) + 0.0005, SLOWEST)
