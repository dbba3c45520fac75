"""Virtual time: one thread, one heap of events, and operating system processes that are event loops.

Nothing sleeps and nothing runs at the same time as anything else, so a seed decides everything. Each process has an
asyncio loop of its own, whose clock is the world's: a killed process is a loop that is never run again, a stopped one
is not run for a while. What the product does in threads runs on that loop as well, see `explore.threads`.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, TypeVar
from uuid import UUID

import greenlet

START = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
"""What every clock shows when the world begins."""
INFINITY = float("inf")
INSTANT = 2e-6
"""Seconds that a turn of an event loop takes: no two things happen at the very same moment."""

T = TypeVar("T")


class Killed(BaseException):
    """Thrown into what a killed process was doing."""


class Loop(asyncio.BaseEventLoop):
    """The standard event loop without sockets: its clock is the world's, and its connections are the world's."""

    _ready: Any
    _scheduled: Any

    def __init__(self, process: Process) -> None:
        super().__init__()
        self._process = process
        self._clock_resolution = 1e-9
        self.set_exception_handler(self._failed)

    def time(self) -> float:
        return self._process.world.now

    def _write_to_self(self) -> None: ...

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not self._process.dead:
            self._process.world.complain(f"{self._process.name}: {context.get('message')} {context.get('exception')!r}")

    def next_at(self) -> float:
        """When there is something to do; `INFINITY` while only others can bring something."""
        if self._ready:
            return self._process.world.now
        scheduled = self._scheduled
        while scheduled and scheduled[0]._cancelled:
            heapq.heappop(scheduled)._scheduled = False
        return float(scheduled[0]._when) if scheduled else INFINITY

    def turn(self) -> None:
        """What the standard loop does in one turn, without a look at a selector: half the time of a world is this."""
        ready, scheduled, now = self._ready, self._scheduled, self._process.world.now
        while scheduled and scheduled[0]._when <= now:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            ready.append(handle)
        asyncio._set_running_loop(self)
        try:
            for _ in range(len(ready)):
                handle = ready.popleft()
                if not handle._cancelled:
                    handle._run()
        finally:
            asyncio._set_running_loop(None)

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """In a thread of the virtual kind, which may wait, and takes a moment."""
        future: asyncio.Future[T] = self.create_future()
        if self._process.dead:
            future.cancel()
            return future

        def work() -> None:
            try:
                self._process.park(self._process.world.dice.expovariate(1 / 0.002))
                result = func(*args)
            except Exception as error:  # noqa: BLE001 - whoever awaits it is told
                if not future.done():
                    future.set_exception(error)
            else:
                if not future.done():
                    future.set_result(result)

        self._process.begin(work)
        return future

    async def create_connection(  # type: ignore[override]
        self, factory: Callable[[], asyncio.Protocol], host: Any = None, port: Any = None, **_: Any
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        protocol = factory()
        transport = await self._process.world.dial(self._process, int(port), protocol)
        return transport, protocol


@dataclass
class Step:
    """A clock of a host that was set at world time `at`, from `before` to `after`."""

    at: float
    before: datetime
    after: datetime


@dataclass(eq=False)
class Host:
    """A machine: a clock that can be set, and a folder for journals."""

    name: str
    root: Path
    offset: float = 0.0
    steps: list[Step] = field(default_factory=list)

    def wall(self, at: float) -> datetime:
        """What its clock shows now, `at` being the world's time."""
        return START + timedelta(seconds=at + self.offset)

    def shown(self, at: float) -> datetime:
        """What its clock showed at a time of the world, now or in the past."""
        later = sum((step.after - step.before for step in self.steps if step.at > at), timedelta())
        return self.wall(at) - later


class Process:
    """One process of the operating system: it can be killed, or stand still."""

    def __init__(self, world: World, name: str, host: Host) -> None:
        self.world = world
        self.name = name
        self.host = host
        self.dead = False
        self.began_at = world.now
        self.stopped_at = INFINITY
        self.ended_at = INFINITY
        self.thawed_at = 0.0
        self.frozen = False
        self.loop = Loop(self)
        self.closers: list[Callable[[], None]] = []
        self.stop: Callable[[], None] | None = None
        self.worker: Any = None
        self._threads: set[greenlet.greenlet] = set()
        world.processes.append(self)

    # The Clock that the product's edges read

    def now(self) -> datetime:
        return self.host.wall(self.world.now)

    def elapsed(self) -> float:
        return 1000.0 + self.world.now

    @property
    def boot(self) -> str:
        return self.host.name

    # Threads

    def begin(self, work: Callable[[], None]) -> greenlet.greenlet:
        """Run `work` as a thread: from the next turn of the loop on, until it waits."""

        def body() -> None:
            try:
                work()
            except Killed:
                pass
            finally:
                self._threads.discard(thread)

        thread = greenlet.greenlet(body, parent=self.world.main)
        self._threads.add(thread)
        self.loop.call_soon(thread.switch)
        return thread

    def park(self, seconds: float | None, waiters: list[Callable[[], None]] | None = None) -> None:
        """Let everything else run for that long, or until one of the `waiters` is called."""
        thread = greenlet.getcurrent()
        if self.dead:
            raise Killed
        assert thread is not self.world.main, "only a thread may wait"
        awake = False

        def wake() -> None:
            nonlocal awake
            if not awake:
                awake = True
                self.loop.call_soon(thread.switch)

        def over() -> None:
            nonlocal awake
            if not awake:
                awake = True
                thread.switch()

        timer = None if seconds is None else self.loop.call_later(max(seconds, 0.0), over)
        if waiters is not None:
            waiters.append(wake)
        self.world.main.switch()
        if timer is not None:
            timer.cancel()
        if waiters is not None and wake in waiters:
            waiters.remove(wake)
        if self.dead:
            raise Killed

    # Its end

    def kill(self) -> None:
        """End it at once. What it had not handed over to disk, network or database never happened."""
        if self.dead:
            return
        self.dead = True
        self.ended_at = self.world.now
        self.frozen = False
        for close in self.closers:
            close()
        for thread in list(self._threads):
            thread.throw(Killed())
        asyncio._set_running_loop(self.loop)
        tasks = asyncio.all_tasks(self.loop)
        asyncio._set_running_loop(None)
        for task in sorted(tasks, key=lambda each: each.get_name()):
            task.cancel()
        for _ in range(200):  # only to let the coroutines end: nothing of it has any effect
            if all(task.done() for task in tasks):
                break
            self.loop.turn()
        self.loop.close()


class World:
    """Time, chance, and all that exists."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.now = 0.0
        self.seed = seed
        self.dice = Random(seed)
        self.folder = folder
        self.main = greenlet.getcurrent()
        self.processes: list[Process] = []
        self.complaints: list[str] = []
        self.current: Process | None = None
        self.trace: list[str] = []
        self.places: dict[int, Callable[[Process, asyncio.Protocol], Awaitable[asyncio.Transport]]] = {}
        self.documents: dict[bytes, tuple[Any, ...]] = {}
        self._parts: dict[type, object] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count(1)
        self._uuids = Random(seed ^ 0x5EED)

    def put(self, part: object) -> None:
        """Something that exists once in this world, to be found by `part`."""
        self._parts[type(part)] = part

    def part(self, kind: type[T]) -> T:
        found = self._parts[kind]
        assert isinstance(found, kind)
        return found

    def uuid4(self) -> UUID:
        return UUID(int=self._uuids.getrandbits(128), version=4)

    def say(self, text: str) -> None:
        """A line of the trace."""
        self.trace.append(f"{self.now:10.4f}  {text}")

    def complain(self, text: str) -> None:
        """Something that must not happen whatever the schedule: it breaks a law."""
        self.say(f"BROKEN: {text}")
        self.complaints.append(text)

    def later(self, seconds: float, work: Callable[[], None]) -> None:
        """Do something then; in order where it is the same moment."""
        heapq.heappush(self._events, (self.now + seconds, next(self._numbers), work))

    async def dial(self, process: Process, port: int, protocol: asyncio.Protocol) -> asyncio.Transport:
        place = self.places.get(port)
        if place is None:
            raise ConnectionRefusedError(111, "Connection refused")
        return await place(process, protocol)

    def run(self, until: float) -> None:
        """Let time go on until then."""
        while True:
            turn = self._next()
            if turn is None or turn[0] > until:
                self.now = max(self.now, until)
                return
            at, process = turn
            self.now = max(self.now, at)
            if process is None:
                heapq.heappop(self._events)[2]()
            else:
                self._turn(process)

    def _turn(self, process: Process) -> None:
        """Its turn, and the next ones, as long as it is surely the only one that has anything to do now."""
        self.current, loop, events = process, process.loop, self._events
        alone = all(each.dead or each is process for each in self.processes)
        while True:
            self.now += INSTANT
            loop.turn()
            if not (alone and loop._ready and (not events or events[0][0] > self.now)):
                break
        self.current = None

    def _next(self) -> tuple[float, Process | None] | None:
        """What comes next, and when: None for an event of the world."""
        now, first, who = self.now, self._events[0][0] if self._events else INFINITY, None
        ready: list[Process] = []
        for process in self.processes:
            if process.dead or process.frozen:
                continue
            at = process.loop.next_at()
            if at <= now:
                ready.append(process)
            elif at < first:
                first, who = at, process
        if ready and first > now:
            return now, ready[0] if len(ready) == 1 else self.dice.choice(ready)
        return None if first == INFINITY else (first, who)
