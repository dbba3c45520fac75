"""Recorders that tell as much as the worker takes: one lean process, `python -m longrun.feeder COUNT TURN`.

It writes a line of JSON with its ports, then obeys lines on its standard input:

    hold | go                                tell of no new calls, or go on
    drop I | reset I | garbage I             what happens to recorder I, as soon as somebody is subscribed
    finish                                   no new calls; those that go on end
    stats                                    a line of JSON on the standard output: counters
    save FOLDER                              the times of all calls, one file for each recorder; then a line

A call ends when the `GOING_ON`th after it starts. Each end is told twice, so is every second start, and a keep-alive
comes with each call: 6.5 messages, with two details.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path

from longrun import calls
from longrun.calls import Call, Times

from etl.simulator.wire import GARBAGE

GOING_ON = 40
"""Calls of one recorder that go on at the same time."""
UNTOLD = GOING_ON // 2
"""Calls that begin, and end, while nobody is subscribed."""
AHEAD = 4_000
"""Calls of one recorder whose second record was not asked for yet: then it waits."""
CHUNK = 4
"""Calls in one write."""
BEAT = 10
"""Seconds that a keep-alive announces."""
PROVISIONAL = 8
"""The first record of one call in so many is not yet final."""
_REQUEST = re.compile(rb'<Request type="(\w+)" id="(\d+)"\s*/?>(?:<Call id="([^"]+)")?')


class Recorder:
    """One recorder: its calls, and who listens."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.times = Times()
        self.ended = 0
        self.answered = bytearray()
        self.finals = 0
        self.subscriber: Line | None = None
        self.sent: Counter[str] = Counter()
        self._faults: deque[Callable[[Line], None]] = deque()
        self._untold = False
        self._beat = 0.0

    @property
    def began(self) -> int:
        return len(self.times.starts)

    def call(self, number: int) -> Call:
        return Call(self.index, number, self.times.starts[number], self.times.ends[number])

    # What happens

    def turn(self, *, new: bool) -> None:
        """Tell some more, if there is somebody who takes it."""
        line = self.subscriber
        if line is None:
            if self._untold:
                self._untold = False
                self._happen(UNTOLD)
            return
        self.beat()
        if self._faults:
            self._faults.popleft()(line)
        if line.full or line is not self.subscriber:
            return
        if new and self.ended - self.finals < AHEAD:
            line.write(b"".join(self._told(CHUNK, new=True)))
        elif not new and self.ended < self.began:
            line.write(b"".join(self._told(CHUNK, new=False)))

    def _happen(self, count: int) -> None:
        """Calls begin and end, and nobody hears of it."""
        now = time.time_ns() // 1_000_000
        for _ in range(min(count, self.began)):
            self._begin(now)
            self._end(now)
            self.sent["untold"] += 1

    def _told(self, count: int, *, new: bool) -> list[bytes]:
        now, documents = time.time_ns() // 1_000_000, []
        for _ in range(count):
            if new:
                documents += self._told_start(now)
            if (self.began > GOING_ON + self.ended) or not new:
                documents += self._told_end(now)
        return documents

    def _told_start(self, now: int) -> list[bytes]:
        call = self._begin(now)
        document = calls.start_document(call)
        self.sent["start"] += 1
        self.sent["keepalive"] += 1
        told = [document, calls.keepalive(BEAT)]
        if call.number % 2 == 0:
            self.sent["repeated"] += 1
            told.append(document)
        return told

    def _told_end(self, now: int) -> list[bytes]:
        if self.ended == self.began:
            return []
        call = self._end(now)
        document = calls.end_document(call)
        self.sent["end"] += 1
        self.sent["repeated"] += 1
        return [document, document]

    def _begin(self, now: int) -> Call:
        self.times.starts.append(now)
        self.times.ends.append(0)
        self.answered.append(0)
        return self.call(self.began - 1)

    def _end(self, now: int) -> Call:
        self.times.ends[self.ended] = now
        self.ended += 1
        return self.call(self.ended - 1)

    def beat(self) -> None:
        """A keep-alive, if there was none for a while."""
        if self.subscriber is not None and time.monotonic() - self._beat > BEAT / 3:
            self._keepalive(self.subscriber)

    def _keepalive(self, line: Line) -> None:
        self._beat = time.monotonic()
        self.sent["keepalive"] += 1
        line.write(calls.keepalive(BEAT))

    # What is done to us

    def befall(self, what: str) -> None:
        """A fault, as soon as somebody is subscribed who sees it."""
        self._faults.append({"drop": self._drop, "reset": self._reset, "garbage": self._tell_garbage}[what])

    def _drop(self, line: Line) -> None:
        """Close the subscription after what was written."""
        line.transport.close()
        self.gone(line)

    def _reset(self, line: Line) -> None:
        """Close it at once: what was not read yet is lost."""
        line.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        line.transport.abort()
        self.gone(line)

    def _tell_garbage(self, line: Line) -> None:
        """Bytes that are no document, between two that are."""
        garbage = GARBAGE[self.sent["garbage"] % len(GARBAGE)]
        self.sent["garbage"] += 1
        self._keepalive(line)
        line.write(garbage)
        self._keepalive(line)

    def gone(self, line: Line) -> None:
        """A connection is closed."""
        if self.subscriber is line:
            self.subscriber = None
            self._untold = True

    # What we are asked

    def asked(self, line: Line, kind: str, request_id: str, call_id: str) -> None:
        if kind == "SubscribeOnCallEvent":
            self.subscriber, self._beat = line, time.monotonic()
            self.sent["subscribed"] += 1
            line.write(calls.response(kind, request_id, f'<Keepalive time="{BEAT}"/>'))
        elif kind == "GetCallList":
            self.sent["list"] += 1
            entries = (calls.list_entry(self.call(number)) for number in range(self.ended, self.began))
            line.write(calls.response(kind, request_id, "".join(entries)))
        else:
            self.sent["detail"] += 1
            line.write(self._detail(request_id, call_id))

    def _detail(self, request_id: str, call_id: str) -> bytes:
        number = calls.number_of(call_id)
        if number >= self.began or self.call(number).id != call_id:
            error = '<ErrorMessage description="Call cannot be found">Call cannot be found</ErrorMessage>'
            return calls.response("GetCallDetails", request_id, error, code=2)
        ended = number < self.ended
        first = self.answered[number] == 0
        if ended:
            self.finals += self.answered[number] == 1
            self.answered[number] = min(self.answered[number] + 1, 2)
        final = ended and not (first and number % PROVISIONAL == 0)
        return calls.record_document(self.call(number), request_id, ended=ended, final=final)


class Line(asyncio.Protocol):
    """One connection of the worker."""

    transport: asyncio.Transport

    def __init__(self, recorder: Recorder) -> None:
        self.full = False
        self._recorder = recorder
        self._pending = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._recorder.gone(self)

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False

    def write(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        *requests, self._pending = (self._pending + data).split(b"</VerbaApi>")
        for request in requests:
            if found := _REQUEST.search(request):
                kind, request_id, call_id = (part.decode() if part else "" for part in found.groups())
                self._recorder.asked(self, kind, request_id, call_id)


class Feeder:
    """All recorders, and what they are told to do."""

    def __init__(self, count: int, turn: float) -> None:
        """`turn`: seconds between two looks at a recorder."""
        self.recorders = [Recorder(index) for index in range(count)]
        self._turn = turn
        self._held = False
        self._finish = False

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        ports = []
        for recorder in self.recorders:
            server = await loop.create_server(lambda recorder=recorder: Line(recorder), "127.0.0.1", 0)  # type: ignore[misc]
            ports.append(server.sockets[0].getsockname()[1])
        print(json.dumps(ports), flush=True)
        orders = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
        turning = asyncio.create_task(self._turns())
        while line := await orders.readline():
            self._obey(*line.decode().split())
        turning.cancel()

    async def _turns(self) -> None:
        while True:
            for recorder in self.recorders:
                if not self._held or self._finish:
                    recorder.turn(new=not self._finish)
                else:
                    recorder.beat()
            await asyncio.sleep(self._turn)

    def _obey(self, word: str, argument: str = "") -> None:
        if word in ("hold", "go"):
            self._held = word == "hold"
        elif word == "finish":
            self._finish = True
        elif word == "stats":
            print(json.dumps(self._stats()), flush=True)
        elif word == "save":
            for recorder in self.recorders:
                recorder.times.save(Path(argument) / f"{calls.name_of(recorder.index)}.times")
            print(json.dumps("saved"), flush=True)
        else:
            self.recorders[int(argument)].befall(word)

    def _stats(self) -> dict[str, object]:
        return {
            "sent": [dict(recorder.sent) for recorder in self.recorders],
            "began": sum(recorder.began for recorder in self.recorders),
            "ended": sum(recorder.ended for recorder in self.recorders),
            "finals": sum(recorder.finals for recorder in self.recorders),
            "cpu": time.process_time(),
        }


if __name__ == "__main__":
    asyncio.run(Feeder(int(sys.argv[1]), float(sys.argv[2])).run())
