"""The simulated recorder: start it, talk to it, and tell it what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from random import Random
from types import TracebackType
from typing import Self

from etl.simulator.calls import FieldValue, SimulatedCall
from etl.simulator.clock import Clock, SystemClock
from etl.simulator.config import SimulatorConfig
from etl.simulator.connection import Connection, Notice
from etl.simulator.desk import Desk
from etl.simulator.faults import FaultKind
from etl.simulator.files import MetadataFiles
from etl.simulator.history import History
from etl.simulator.http import HistoryServer
from etl.simulator.hub import Hub
from etl.simulator.requests import BadRequest, Request
from etl.simulator.timeline import Timeline
from etl.simulator.truth import ConnectionLine, FaultLine, Line, RecorderLine, TruthWriter
from etl.simulator.wire import AS_PRINTED_BY_THE_VENDOR, GARBAGE, HALF_A_DOCUMENT, Wire
from etl.simulator.world import World

_HOUSEKEEPING = 1.0
"""Seconds between two looks at what can be forgotten."""


class Simulator:
    """One simulated recorder, with its history, on sockets of this machine.

    The methods of the second half are its strings: a test pulls them to get an exact sequence of events.
    Each takes effect before it returns. Random traffic and faults pull the same strings (`traffic.py`).
    """

    def __init__(self, config: SimulatorConfig, truth: TruthWriter | None = None, clock: Clock | None = None) -> None:
        """Does nothing yet; `truth` is told everything that happens."""
        self.config = config
        self.truth = truth or TruthWriter()
        self.clock = clock or SystemClock()
        self.timeline = Timeline(self.clock)
        self.world = World(config, self.truth, self.clock)
        self.dice = Random(f"{config.seed}/{config.name}/faults")
        self._wires = [Wire(style) for style in config.styles]
        self._hub = Hub(config, self.truth, self.clock, self.dice, self._answer)
        self._desk = Desk(
            config, self.world, self._wire, self.truth, self.clock, self.timeline, self.dice, self._hub.subscribe
        )
        self._files = self._metadata_files() if config.files else None
        self._http = self._history_server() if config.http else None
        self._held_starts: dict[str, SimulatedCall] = {}
        self._duplicates = 0
        self._reorders = 0
        self._task: asyncio.Task[None] | None = None
        self._waiters: list[tuple[Callable[[Line], bool], asyncio.Future[Line]]] = []
        self.truth.listen(self._wake)

    async def start(self) -> None:
        """Opens the ports and lets time run. Raises `OSError` when a port is taken, `ssl.SSLError` for bad keys."""
        await self._hub.start()
        if self._http is not None:
            await self._http.start()
        self.truth.write(self._first_line())
        if self.config.keepalive:
            self.timeline.every(self.config.keepalive, self.send_keepalives)
        self.timeline.every(_HOUSEKEEPING, self.world.purge)
        self._task = asyncio.create_task(self.timeline.run(), name=f"simulator {self.config.name}")

    async def stop(self) -> None:
        """Closes all connections in order, writes the files that are waited for, and stops.

        Raises `OSError`, and what has stopped time before.
        """
        await self._hub.stop()
        if self._http is not None:
            await self._http.stop()
        if self._files is not None:
            self._files.flush()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            if not self._task.cancelled():
                self._task.result()

    async def failed(self) -> None:
        """Never returns while time runs; raises what has stopped it (such as an `OSError` from a full disk)."""
        assert self._task is not None
        await asyncio.shield(self._task)

    async def __aenter__(self) -> Self:
        """Starts."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops."""
        await self.stop()

    @property
    def port(self) -> int:
        """The bound port of the recorder's protocol."""
        return self._hub.port

    @property
    def http_port(self) -> int:
        """The bound port of the history; 0 without one."""
        return self._http.port if self._http is not None else 0

    @property
    def connections(self) -> tuple[Connection, ...]:
        """The connections that live, oldest first."""
        return self._hub.connections

    @property
    def subscribers(self) -> tuple[Connection, ...]:
        """The connections that hear of calls, oldest first."""
        return self._hub.subscribers

    async def seen(self, wanted: Callable[[Line], bool]) -> Line:
        """The next line of truth that is `wanted`: how a test waits without sleeping."""
        future: asyncio.Future[Line] = asyncio.get_running_loop().create_future()
        self._waiters.append((wanted, future))
        return await future

    async def until_subscribed(self, count: int = 1) -> None:
        """Returns when `count` connections hear of calls."""
        while len(self.subscribers) < count:
            await self.seen(lambda line: isinstance(line, ConnectionLine) and line.phase == "subscribed")

    # strings: calls

    def begin_call(self, fields: Mapping[str, FieldValue] | None = None) -> SimulatedCall:
        """A call begins now and its start is told; `fields` replace fields of its record."""
        call = self.world.begin(fields)
        if self._reorders or self._strikes(FaultKind.REORDERING):
            self._reorders = max(0, self._reorders - 1)
            self._moment(FaultKind.REORDERING)
            self._held_starts[call.call_id] = call
        else:
            self._publish_start(call)
        return call

    def end_call(self, call: SimulatedCall) -> bool:
        """`call` ends now and its end is told; False if a restart made the recorder forget it."""
        lost = self._strikes(FaultKind.FORGOTTEN_DETAILS)
        if not self.world.end(call, record_lost=lost):
            return False
        document = self._wire().notification("CallEnd", call.call_id, self.world.end_fields(call))
        self._publish(document, Notice(call.call_id, "end"), call)
        if self._held_starts.pop(call.call_id, None) is not None:
            self._publish_start(call)
        return True

    def forget(self, call: SimulatedCall) -> None:
        """The recorder no longer finds the record of `call`, which has ended; the history does."""
        self.world.lose_record(call)

    # strings: faults

    def send_keepalives(self) -> None:
        """A keep-alive to every subscriber, which announces the next."""
        self._hub.broadcast(self._wire().keepalive(self.config.keepalive))

    def drop(self, connection: Connection | None = None) -> None:
        """Closes one or all connections in order (FIN)."""
        self._moment(FaultKind.DROP, connection)
        for item in self._one_or_all(connection):
            item.close(FaultKind.DROP)

    def reset(self, connection: Connection | None = None) -> None:
        """Tears one or all connections down (RST)."""
        self._moment(FaultKind.RESET, connection)
        for item in self._one_or_all(connection):
            item.reset(FaultKind.RESET)

    def silence(self, on: bool) -> None:
        """Falls silent on all connections, or speaks again and closes those that missed something.

        A client that did not notice could not know what it missed; so the end of a silence ends them.
        """
        if on == self._hub.silent:
            return
        if on:
            self._tell(FaultLine(self.clock.now(), FaultKind.SILENCE, "begin"))
            self._hub.mute_all()
            return
        self._hub.silent = False
        self._hub.close_all(FaultKind.SILENCE)
        self._tell(FaultLine(self.clock.now(), FaultKind.SILENCE, "end"))

    def refuse(self, reason: FaultKind = FaultKind.REFUSE) -> None:
        """Closes all connections and shuts the port until `accept`."""
        self._tell(FaultLine(self.clock.now(), reason, "begin"))
        self._hub.close_port()
        self._hub.close_all(reason)

    async def accept(self, reason: FaultKind = FaultKind.REFUSE) -> None:
        """Opens the port again."""
        await self._hub.open_port()
        self._tell(FaultLine(self.clock.now(), reason, "end"))

    def go_down(self) -> None:
        """The first half of a restart: as `refuse`, and the ongoing calls are forgotten."""
        self.refuse(FaultKind.RESTART)
        self.world.forget_ongoing()
        self._held_starts.clear()

    async def restart(self) -> None:
        """All connections are closed, all ongoing calls forgotten; then it is there again."""
        self.go_down()
        await self.accept(FaultKind.RESTART)

    def stall(self, connection: Connection) -> None:
        """Sends half a document to `connection`, then nothing more until `unstall`."""
        connection.send(HALF_A_DOCUMENT)
        self._tell(FaultLine(self.clock.now(), FaultKind.STALL, "begin", connection.number))
        connection.muted = True

    def unstall(self, connection: Connection) -> None:
        """Closes a stalled connection, if it still lives."""
        connection.close(FaultKind.STALL)
        self._tell(FaultLine(self.clock.now(), FaultKind.STALL, "end", connection.number))

    def garbage(self, data: bytes | None = None) -> None:
        """Sends bytes that are no document to every subscriber."""
        self._moment(FaultKind.GARBAGE)
        self._hub.broadcast(self.dice.choice(GARBAGE) if data is None else data)

    def malformed(self, data: bytes | None = None) -> None:
        """Sends a document that is not well-formed to every subscriber."""
        self._moment(FaultKind.MALFORMED)
        self._hub.broadcast(self.dice.choice(AS_PRINTED_BY_THE_VENDOR) if data is None else data)

    def cut_off(self) -> None:
        """Puts half a document right before the next one of every subscriber."""
        self._moment(FaultKind.CUT_OFF)
        for connection in self.subscribers:
            connection.put_before_next(HALF_A_DOCUMENT)

    def duplicate_next(self, count: int = 1) -> None:
        """The next `count` notifications are sent twice."""
        self._duplicates += count

    def reorder_next(self, count: int = 1) -> None:
        """The starts of the next `count` calls are sent after their ends."""
        self._reorders += count

    def fail_details(self, count: int = 1) -> None:
        """The next `count` detail requests are answered with a database error."""
        self._desk.failing_details += count

    def fail_lists(self, on: bool) -> None:
        """List requests are answered with a database error, or work again."""
        self._desk.list_error = on

    # inside

    def _history_server(self) -> HistoryServer:
        return HistoryServer(self.config, History(self.config.http, self.world, self.clock), self.truth, self.clock)

    def _metadata_files(self) -> MetadataFiles:
        files = MetadataFiles(self.config, self.truth, self.clock, self.timeline)
        self.world.on_ended.append(files.expect)
        return files

    def _answer(self, connection: Connection, request: Request | BadRequest) -> None:
        self._desk.answer(connection, request)

    def _wire(self) -> Wire:
        return self._wires[0] if len(self._wires) == 1 else self.dice.choice(self._wires)

    def _publish_start(self, call: SimulatedCall) -> None:
        document = self._wire().notification("CallStart", call.call_id, self.world.start_fields(call))
        self._publish(document, Notice(call.call_id, "start"), call)

    def _publish(self, document: bytes, notice: Notice, call: SimulatedCall) -> None:
        twice = self._duplicates > 0 or self._strikes(FaultKind.DUPLICATES)
        if twice:
            self._duplicates = max(0, self._duplicates - 1)
            self._moment(FaultKind.DUPLICATES)
        self._hub.publish(document, notice, (call.source, call.destination), times=2 if twice else 1)

    def _strikes(self, kind: FaultKind) -> bool:
        share = self.config.faults.share(kind)
        return share > 0 and self.dice.random() < share

    def _one_or_all(self, connection: Connection | None) -> tuple[Connection, ...]:
        return self.connections if connection is None else (connection,)

    def _moment(self, kind: FaultKind, connection: Connection | None = None) -> None:
        self._tell(FaultLine(self.clock.now(), kind, "moment", connection.number if connection else None))

    def _tell(self, line: Line) -> None:
        self.truth.write(line)

    def _first_line(self) -> RecorderLine:
        config = self.config
        return RecorderLine(
            self.clock.now(), config.name, config.recorder_location, config.timezone, config.seed, self.port
        )

    def _wake(self, line: Line) -> None:
        waiting, self._waiters = self._waiters, []
        for wanted, future in waiting:
            if future.done():
                continue
            if wanted(line):
                future.set_result(line)
            else:
                self._waiters.append((wanted, future))
