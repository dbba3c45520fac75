"""The connections of a process that has to end in time, whoever holds what they wait for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from weakref import WeakSet

import psycopg

from etl.store.database import Connection

AGAIN = 1.0
"""Seconds until what waits by then is cut short, too."""


class Connections:
    """Opens connections, and can cut short what is waited for over any of them. For any thread."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._open: WeakSet[Connection] = WeakSet()
        self._lock = threading.RLock()

    def open(self) -> Connection:
        """A new connection; raises what connecting raises."""
        connection = self._connect()
        with self._lock:
            self._open.add(connection)
        return connection

    @contextmanager
    def cut_short(self, after: float) -> Iterator[None]:
        """While the block lasts: cancel what still waits after so many seconds, again and again. Another process may
        hold what is waited for, and stand still: a row, or a lock. Whoever waited gets DatabaseUnavailable."""
        over = threading.Event()
        threading.Thread(target=self._cut, args=(over, after), name="cutting short", daemon=True).start()
        try:
            yield
        finally:
            over.set()

    def _cut(self, over: threading.Event, after: float) -> None:
        pause = after
        while not over.wait(pause):
            pause = AGAIN
            with self._lock:
                connections = [each for each in self._open if not each.closed]
            for each in connections:
                with suppress(psycopg.Error):  # of no use to a connection that is lost anyway
                    each.cancel_safe(timeout=AGAIN)
