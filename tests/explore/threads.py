"""Threads, events and conditions in virtual time, in the places where the product uses those of the machine.

A thread is a greenlet on the loop of its process: it runs until it waits, and then everything else goes on. So the
loader, the adopter and the journal's writer run as they are written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import RLock
from types import SimpleNamespace, TracebackType
from typing import Any
from unittest.mock import patch

from explore.world import Process, World

_world: list[World] = []


def world() -> World:
    """The world that runs."""
    return _world[-1]


def here() -> Process:
    """The process whose turn it is."""
    process = world().current
    assert process is not None
    return process


class Event:
    """`threading.Event`."""

    def __init__(self) -> None:
        self._set = False
        self._waiters: list[Callable[[], None]] = []

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        for wake in list(self._waiters):
            wake()

    def clear(self) -> None:
        self._set = False

    def wait(self, timeout: float | None = None) -> bool:
        if not self._set:
            here().park(timeout, self._waiters)
        return self._set


class Condition:
    """`threading.Condition`; its lock is never contended, since nobody is interrupted between two waits."""

    def __init__(self, lock: Any = None) -> None:
        self._lock = lock or RLock()
        self._waiters: list[Callable[[], None]] = []

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        process = here()
        until = None if timeout is None else process.world.now + timeout
        while not (holds := predicate()):
            if until is not None and process.world.now >= until:
                break
            process.park(None if until is None else until - process.world.now, self._waiters)
        return holds

    def notify(self, n: int = 1) -> None:
        for wake in self._waiters[:n]:
            wake()

    def notify_all(self) -> None:
        self.notify(len(self._waiters))


class Thread:
    """`threading.Thread`."""

    def __init__(
        self,
        target: Callable[..., None],
        name: str = "",
        args: Sequence[Any] = (),
        daemon: bool = True,
    ) -> None:
        self._target: Callable[[], None] = lambda: target(*args)
        self._begun = False
        self._over = Event()

    def start(self) -> None:
        self._begun = True
        here().begin(self._run)

    def _run(self) -> None:
        try:
            self._target()
        finally:
            self._over.set()

    def is_alive(self) -> bool:
        return self._begun and not self._over.is_set()

    def join(self, timeout: float | None = None) -> None:
        self._over.wait(timeout)


def monotonic() -> float:
    return world().now


def sleep(seconds: float) -> None:
    here().park(seconds)


THREADING = SimpleNamespace(Event=Event, Thread=Thread, Condition=Condition, RLock=RLock)
TIME = SimpleNamespace(monotonic=monotonic, sleep=sleep)

SEAMS: dict[str, object] = {
    "etl.worker.worker.threading": THREADING,
    "etl.worker.worker.time": TIME,
    "etl.worker.adoption.threading": THREADING,
    "etl.ingest.loader.threading": THREADING,
    "etl.store.connections.threading": THREADING,
    "etl.ingest.loader.time": TIME,
    "etl.journal.writer.Condition": Condition,
    "etl.journal.writer.Thread": Thread,
    "etl.journal.writer.monotonic": monotonic,
    "etl.worker.recorder_task.uuid4": lambda: world().uuid4(),
    "etl.jobs.reconcile.uuid4": lambda: world().uuid4(),
    "etl.journal.journal.uuid4": lambda: world().uuid4(),
}
"""What of the machine the product sees in another form; of the product itself nothing is replaced here."""

PACE: dict[str, object] = {
    "etl.recorder.session.LOOK_EVERY": 0.5,
    "etl.ingest.sink.PATIENCE": 0.04,
    "etl.worker.worker.LOOK_EVERY": 1.0,
    "etl.ingest.loader.POLL": 2.0,
}
"""Looks that only cost time here: nothing that happens depends on how often they are made, within the margin."""


@contextmanager
def inside(running: World) -> Iterator[None]:
    """Whatever waits, or asks for the time, does so in this world."""
    _world.append(running)
    try:
        yield
    finally:
        _world.pop()


@contextmanager
def seams(places: dict[str, object]) -> Iterator[None]:
    """Put these objects into their places in the product's modules."""
    patches: list[Any] = [patch(name, new) for name, new in places.items()]
    for each in patches:
        each.start()
    try:
        yield
    finally:
        for each in patches:
            each.stop()
