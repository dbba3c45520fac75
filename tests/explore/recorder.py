"""A recorder as its protocol describes it, with a truth of its own and with moods. Shares no code with the product."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from explore.network import Line
from explore.world import START, Process, World

PORT = 7000
GARBAGE = b"\x00\x01 what is this?\r\n"
MALFORMED = b'<VerbaApi><Notification type="CallStart"><Call id="bad"></diection_id></Call></Notification></VerbaApi>'

_REQUEST = re.compile(rb"<VerbaApi.*?</VerbaApi\s*>", re.DOTALL)
_TYPE = re.compile(rb'<Request[^>]*\btype="(\w+)"')
_ID = re.compile(rb'<Request[^>]*\bid="(\w+)"')
_CALL = re.compile(rb'<Call[^>]*\bid="([^"]+)"')


@dataclass
class Call:
    """The truth about a call; times are the world's. `versions` counts what its record says by now."""

    id: str
    began: float
    ended: float | None = None
    forgotten: bool = False
    forgotten_at: float | None = None
    written: bool = False
    versions: int = 1
    late_start: bool = False

    def going_on(self) -> bool:
        return self.ended is None and not self.forgotten


@dataclass(frozen=True)
class Told:
    """The moment at which the recorder told its subscribers of a start or an end."""

    call: str
    kind: str
    at: float


@dataclass
class Moods:
    """How the recorder treats us at the moment."""

    refuses: bool = False
    """Connections are refused."""
    rejects: bool = False
    """Subscriptions are answered with an error."""
    mute: bool = False
    """Questions are read and not answered."""
    errors: float = 0.0
    """The share of questions that are answered with an error."""
    slow: float = 0.0
    """Seconds that an answer takes at the most."""


@dataclass(frozen=True)
class Manners:
    """How this recorder is: `keepalive` in seconds, None without one; `closes` after each answer; seconds until a
    record is `written` after the end, at the most; `attributes`: calls are written as attributes; `twice`: each
    notification is sent two times."""

    keepalive: float | None = 4.0
    closes: bool = False
    written: float = 2.0
    attributes: bool = False
    twice: bool = False


@dataclass
class Recorder:
    """The model. What is done to it comes from the schedule. `asked`: when it read questions for the record of a call;
    `refused`: when it refused a connection."""

    world: World
    manners: Manners
    moods: Moods = field(default_factory=Moods)
    calls: dict[str, Call] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)
    unknown: dict[str, float] = field(default_factory=dict)
    garbage: list[tuple[float, bytes, frozenset[int]]] = field(default_factory=list)
    lines: dict[int, Line] = field(default_factory=dict)
    all_lines: list[Line] = field(default_factory=list)
    asked: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    refused: list[float] = field(default_factory=list)
    subscribers: dict[int, float] = field(default_factory=dict)
    _waiting: dict[int, bytes] = field(default_factory=dict)
    _number: int = 0

    def __post_init__(self) -> None:
        self.world.places[PORT] = self.accept

    # Calls

    def begin(self, *, late_start: bool = False) -> Call:
        call = Call(f"{len(self.calls) + 1:08x}-561f-11e0-b752-005056c00008", self.world.now, late_start=late_start)
        self.calls[call.id] = call
        self.world.say(f"recorder: {short(call.id)} begins" + (" (its start is told late)" if late_start else ""))
        if not late_start:
            self._tell(call, "start")
        return call

    def end(self, call: Call) -> None:
        if not call.going_on():
            return
        call.ended = self.world.now
        self.world.say(f"recorder: {short(call.id)} ends")
        self._tell(call, "end")
        if call.late_start:
            self._tell(call, "start")
        self.world.later(self.world.dice.random() * self.manners.written, lambda: setattr(call, "written", True))
        self.world.later(2 + self.world.dice.random() * 4, lambda: setattr(call, "versions", 2))

    def restart(self) -> None:
        """It forgets the calls that go on, and all its connections."""
        self.world.say("recorder: restarts, and forgets the calls that go on")
        for call in self.calls.values():
            if call.going_on():
                call.forgotten, call.forgotten_at = True, self.world.now
        for line in list(self.lines.values()):
            line.reset()
            self._forget(line.number)

    def forget(self) -> None:
        """It forgets the records of all calls that are over."""
        self.world.say("recorder: forgets the records of calls that are over")
        for call in self.calls.values():
            call.forgotten = call.forgotten or call.ended is not None

    def _tell(self, call: Call, kind: str) -> None:
        self.told.append(Told(call.id, kind, self.world.now))
        message = self._notification(call, kind)
        for number in list(self.subscribers):
            self.lines[number].send(message * (2 if self.manners.twice else 1))

    # Connections

    async def accept(self, process: Process, protocol: asyncio.Protocol) -> asyncio.Transport:
        await asyncio.sleep(0.001 + self.world.dice.random() * 0.02)
        if self.moods.refuses:
            self.refused.append(self.world.now)
            raise ConnectionRefusedError(111, "Connection refused")
        self._number += 1
        line = Line(self.world, process, protocol, self._number)
        line.heard = lambda data: self._heard(line, data)
        line.gone = lambda: self._forget(line.number)
        self.lines[line.number] = line
        self.all_lines.append(line)
        self._waiting[line.number] = b""
        protocol.connection_made(line)
        self.world.say(f"recorder: connection {line.number} from {process.name}")
        return line

    def _forget(self, number: int) -> None:
        self.lines.pop(number, None)
        self.subscribers.pop(number, None)
        self._waiting.pop(number, None)

    def _heard(self, line: Line, data: bytes) -> None:
        if line.number not in self._waiting:
            return
        waiting = self._waiting[line.number] + data
        while found := _REQUEST.search(waiting):
            waiting = waiting[found.end() :]
            self._read(line, found.group())
        self._waiting[line.number] = waiting

    def _read(self, line: Line, raw: bytes) -> None:
        kind, number, call = (each.search(raw) for each in (_TYPE, _ID, _CALL))
        assert kind is not None
        assert number is not None
        request = number[1].decode()
        if kind[1] == b"SubscribeOnCallEvent":
            self._subscribe(line, request)
        else:
            if call:
                self.asked[call[1].decode()].append(self.world.now)
            self._answer(line, kind[1].decode(), request, call[1].decode() if call else "")

    def _subscribe(self, line: Line, request: str) -> None:
        if self.moods.mute:
            return
        if self.moods.rejects:
            line.send(failed(request, "Too many subscriptions"))
            return
        beat = self.manners.keepalive
        told = "" if beat is None else f'<Keepalive time="{beat:g}"/>'
        line.send(
            document(f'<Response code="0"><Request type="SubscribeOnCallEvent" id="{request}"/>{told}</Response>')
        )
        self.subscribers[line.number] = self.world.now
        self.world.say(f"recorder: connection {line.number} is subscribed")
        if beat is not None:
            self.world.later(beat, lambda: self._beat(line, beat))

    def _beat(self, line: Line, seconds: float) -> None:
        if line.number in self.subscribers:
            line.send(document(f'<Response code="0"><Keepalive time="{seconds:g}"/></Response>'))
            self.world.later(seconds, lambda: self._beat(line, seconds))

    def _answer(self, line: Line, kind: str, request: str, call_id: str) -> None:
        if self.moods.mute:
            return
        if self.world.dice.random() < self.moods.errors:
            answer = failed(request, "Database error")
        elif kind == "GetCallList":
            answer = self._list(request)
        else:
            answer = self._detail(request, call_id)
        slow = self.world.dice.random() * self.moods.slow

        def send() -> None:
            if line.open:
                line.send(answer)
                if self.manners.closes and line.number not in self.subscribers:
                    line.finish()
                    self._forget(line.number)

        self.world.later(slow, send)

    def _list(self, request: str) -> bytes:
        going_on = [call for call in self.calls.values() if call.going_on()]
        self.world.say(f"recorder: a list is answered: {', '.join(short(call.id) for call in going_on) or 'empty'}")
        calls = "".join(self._call(call) for call in going_on)
        return document(f'<Response code="0"><Request type="GetCallList" id="{request}"/>{calls}</Response>')

    def _detail(self, request: str, call_id: str) -> bytes:
        call = self.calls.get(call_id)
        if call is None or call.forgotten or (call.ended is not None and not call.written):
            self.unknown.setdefault(call_id, self.world.now)
            self.world.say(f"recorder: does not know {short(call_id)}")
            return failed(request, "Call cannot be found")
        self.world.say(f"recorder: the record of {short(call_id)} is answered, version {call.versions}")
        over = call.ended is not None
        fields = f"<ccdr_id>{call.id}</ccdr_id><source_caller_id>1000</source_caller_id>" + _time(
            "start_time", call.began
        )
        if call.ended is not None:
            fields += _time("end_time", call.ended) + f"<version>{call.versions}</version>"
        record = f'<verbacdr state="{int(over)}">{fields}</verbacdr>'
        return document(f'<Response code="0"><Request type="GetCallDetails" id="{request}"/>{record}</Response>')

    # What it says

    def _call(self, call: Call, more: str = "") -> str:
        began = moment(call.began)
        if self.manners.attributes and not more:
            return f'<Call id="{call.id}" source_caller_id="1000" start_time="{began}"/>'
        fields = f"<source_caller_id>1000</source_caller_id><start_time>{began}</start_time>"
        return f'<Call id="{call.id}">{fields}{more}</Call>'

    def _notification(self, call: Call, kind: str) -> bytes:
        more = _time("end_time", call.ended) if kind == "end" and call.ended is not None else ""
        name = {"start": "CallStart", "end": "CallEnd"}[kind]
        return document(f'<Notification type="{name}">{self._call(call, more)}</Notification>')

    # What can go wrong

    def send_nonsense(self, data: bytes) -> None:
        """To all subscribers; framing finds the next document behind it."""
        self.world.say(f"recorder: sends nonsense: {data[:30]!r}")
        numbers = list(self.subscribers)
        for number in numbers:
            self.lines[number].send(data)
            self.lines[number].send(document('<Response code="0"><Keepalive time="4"/></Response>'))
        self.garbage.append((self.world.now, data, frozenset(numbers)))

    def drop(self, *, torn: bool, all_of_them: bool) -> None:
        """All connections, or only those of subscribers: an answer that is under way still comes then."""
        lines, which = list(self.lines.values()), "all connections"
        if not all_of_them:
            lines, which = [self.lines[number] for number in self.subscribers], "the subscriptions"
        self.world.say(f"recorder: {'tears down' if torn else 'closes'} {which}")
        for line in lines:
            if torn:
                line.reset()
            else:
                line.finish()
            self._forget(line.number)

    def fall_silent(self) -> None:
        """All connections are dead, and nobody is told."""
        self.world.say("network: all connections die silently")
        for line in list(self.lines.values()):
            line.dead = True
            self._forget(line.number)

    def stop_half_way(self) -> None:
        """Each subscriber gets half a document, and nothing after it."""
        self.world.say("network: each subscription stalls within a document")
        for number in list(self.subscribers):
            line = self.lines[number]
            line.send(b'<?xml version="1.0"?><VerbaApi><Notification type="CallStart"><Call id="')
            self.world.later(0.5, lambda line=line: setattr(line, "dead", True))  # type: ignore[misc]
            self.subscribers.pop(number)


def short(call_id: str) -> str:
    """A call in the trace."""
    return f"call {int(call_id[:8], 16)}" if re.match(r"[0-9a-f]{8}-", call_id) else call_id


def moment(at: float) -> str:
    shown: datetime = START + timedelta(seconds=at)
    return shown.strftime("%Y-%m-%d %H:%M:%S.") + f"{shown.microsecond // 1000:03}"


def _time(name: str, at: float) -> str:
    return f"<{name}>{moment(at)}</{name}>"


def document(body: str) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<VerbaApi>{body}</VerbaApi>'.encode()


def failed(request: str, text: str) -> bytes:
    error = f'<ErrorMessage description="Processing Error">{text}</ErrorMessage>'
    return document(f'<Response code="2"><Request id="{request}"/>{error}</Response>')
