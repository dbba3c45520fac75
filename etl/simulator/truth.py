"""The simulator's ground truth: JSON lines, one for each thing that happened, and their reader.

What counts as delivered: all bytes of the notification were handed to the kernel, on a connection with a
subscription that matches the call. When that connection ends other than by an orderly close of ours, every
delivery that the peer's kernel has not acknowledged is withdrawn by a second line (`reached` false): it may
have arrived, nobody can tell. What the peer acknowledged may still lie unread in its receive buffer; an
oracle that kills or resets leaves out the last moments before, see `Truth.reached`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal, Self, TextIO, TypeAlias

from etl.errors import CdrError
from etl.simulator.calls import FieldValue

Event = Literal["start", "end"]


@dataclass(frozen=True, slots=True)
class RecorderLine:
    """The first line: which recorder this is the truth of."""

    what: ClassVar[str] = "recorder"
    at: datetime
    name: str
    location: str
    timezone: str
    seed: int
    port: int


@dataclass(frozen=True, slots=True)
class CallLine:
    """A call begins, ends, is forgotten while it lasts (it never ends), or loses its record at its end.

    `start` and `end` are as exact as the recorder writes them; `at` is when it happened. `fields` is the
    record as it will be in the end, without id and times.
    """

    what: ClassVar[str] = "call"
    at: datetime
    call: str
    phase: Literal["begin", "end", "forgotten", "record_lost"]
    start: datetime
    end: datetime | None
    fields: dict[str, FieldValue]


@dataclass(frozen=True, slots=True)
class DeliveryLine:
    """A notification was handed over in full, or (`reached` false) an earlier one is withdrawn."""

    what: ClassVar[str] = "delivery"
    at: datetime
    call: str
    event: Event
    connection: int
    reached: bool


@dataclass(frozen=True, slots=True)
class ConnectionLine:
    """A connection was opened, subscribed (no `extensions`: all calls) or closed, and why."""

    what: ClassVar[str] = "connection"
    at: datetime
    connection: int
    phase: Literal["opened", "subscribed", "closed"]
    extensions: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class FaultLine:
    """A fault happened, or one that lasts began or ended; without a connection it struck all."""

    what: ClassVar[str] = "fault"
    at: datetime
    kind: str
    phase: Literal["moment", "begin", "end"]
    connection: int | None = None


@dataclass(frozen=True, slots=True)
class ServedLine:
    """A request was answered, or a metadata file written.

    `outcome` of a detail: finished, unfinished, unknown, failed; of a file its path; of history its code.
    """

    what: ClassVar[str] = "served"
    at: datetime
    service: Literal["detail", "list", "history", "file", "refused"]
    outcome: str = ""
    connection: int | None = None
    call: str | None = None
    rows: int | None = None


Line: TypeAlias = RecorderLine | CallLine | DeliveryLine | ConnectionLine | FaultLine | ServedLine
_LINES: dict[str, type[Line]] = {
    line.what: line for line in (RecorderLine, CallLine, DeliveryLine, ConnectionLine, FaultLine, ServedLine)
}
_TIMES = frozenset({"at", "start", "end"})


def encode(line: Line) -> str:
    """`line` as one line of JSON, without its end; times in ISO 8601, UTC, with microseconds."""
    values = {item.name: _plain(getattr(line, item.name)) for item in fields(line)}
    return json.dumps({"what": line.what, **values}, ensure_ascii=False)


def decode(text: str) -> Line:
    """The line that `encode` wrote. Raises `ValueError`, `KeyError` or `TypeError` for anything else."""
    values: dict[str, Any] = json.loads(text)
    kind = _LINES[values.pop("what")]
    for name in _TIMES & values.keys():
        values[name] = values[name] and datetime.fromisoformat(values[name])
    if "extensions" in values:
        values["extensions"] = tuple(values["extensions"])
    return kind(**values)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    return value.value if isinstance(value, Enum) else value


class TruthWriter:
    """Hands every line to whoever asked for it; with a path, to a file of JSON lines too."""

    def __init__(self, path: Path | None = None) -> None:
        """Opens `path` anew; its lines are flushed one by one. Raises `OSError`."""
        self._file: TextIO | None = path.open("w", encoding="utf-8", buffering=1) if path else None
        self._listeners: list[Callable[[Line], None]] = []

    def listen(self, listener: Callable[[Line], None]) -> None:
        """Calls `listener` with every line from now on."""
        self._listeners.append(listener)

    def write(self, line: Line) -> None:
        """Writes `line`."""
        if self._file is not None:
            self._file.write(encode(line) + "\n")
        for listener in tuple(self._listeners):
            listener(line)

    def close(self) -> None:
        """Closes the file, if there is one."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the file."""
        self.close()


@dataclass(slots=True)
class TrueCall:
    """A call as it truly was.

    `began` and `ended` are when its events happened, `start` and `end` what the record says. A `forgotten`
    call never ends; one whose record is lost can only be found in the history.
    """

    call: str
    began: datetime
    start: datetime
    fields: dict[str, FieldValue]
    ended: datetime | None = None
    end: datetime | None = None
    forgotten: datetime | None = None
    record_lost: bool = False


@dataclass(slots=True)
class TrueDelivery:
    """A notification that was handed over, on which connection, when; `reached` false once withdrawn."""

    call: str
    event: Event
    connection: int
    at: datetime
    reached: bool = True


@dataclass(slots=True)
class TrueConnection:
    """One connection's life; `extensions` empty: all calls. A `muted` one gets nothing any more."""

    connection: int
    opened: datetime
    subscribed: datetime | None = None
    muted: datetime | None = None
    closed: datetime | None = None
    extensions: tuple[str, ...] = ()
    reason: str = ""


@dataclass(slots=True)
class TrueFault:
    """A fault from its begin to its end; for a moment both are the same, for a lasting one `end` is None."""

    kind: str
    begin: datetime
    end: datetime | None
    connection: int | None


@dataclass(slots=True)
class Truth:
    """Everything that happened at one simulated recorder, in the order in which it happened."""

    recorder: RecorderLine | None = None
    calls: dict[str, TrueCall] = field(default_factory=dict)
    deliveries: list[TrueDelivery] = field(default_factory=list)
    connections: dict[int, TrueConnection] = field(default_factory=dict)
    faults: list[TrueFault] = field(default_factory=list)
    served: list[ServedLine] = field(default_factory=list)

    def reached(self, grace: timedelta = timedelta()) -> set[tuple[str, Event]]:
        """The (call, event) that reached a live subscriber, at least `grace` before its connection ended."""
        return {(item.call, item.event) for item in self.deliveries if item.reached and self._in_time(item, grace)}

    def _in_time(self, delivery: TrueDelivery, grace: timedelta) -> bool:
        closed = self.connections[delivery.connection].closed
        return closed is None or delivery.at + grace <= closed

    def live(self, until: datetime) -> list[tuple[datetime, datetime]]:
        """The spans up to `until` with at least one live subscriber, in order, apart from each other."""
        spans = [
            (connection.subscribed, min(connection.muted or until, connection.closed or until, until))
            for connection in self.connections.values()
            if connection.subscribed is not None
        ]
        return _merged((start, end) for start, end in spans if start < end)

    def unheard(self, since: datetime, until: datetime) -> list[tuple[datetime, datetime]]:
        """The spans between `since` and `until` without a live subscriber: what happens there is not seen."""
        edges = [since, *(edge for span in self.live(until) for edge in span), until]
        pairs = zip(edges[::2], edges[1::2], strict=True)
        return [(max(start, since), end) for start, end in pairs if max(start, since) < end]

    def add(self, line: Line) -> None:
        """Takes in one more line. Raises `KeyError` for one about a call or connection never seen."""
        match line:
            case RecorderLine():
                self.recorder = line
            case CallLine():
                self._add_call(line)
            case DeliveryLine():
                self._add_delivery(line)
            case ConnectionLine():
                self._add_connection(line)
            case FaultLine():
                self._add_fault(line)
            case ServedLine():
                self.served.append(line)

    def _add_call(self, line: CallLine) -> None:
        if line.phase == "begin":
            self.calls[line.call] = TrueCall(line.call, line.at, line.start, line.fields)
            return
        call = self.calls[line.call]
        if line.phase == "end":
            call.ended, call.end, call.fields = line.at, line.end, line.fields
        elif line.phase == "forgotten":
            call.forgotten = line.at
        else:
            call.record_lost = True

    def _add_delivery(self, line: DeliveryLine) -> None:
        if line.reached:
            self.deliveries.append(TrueDelivery(line.call, line.event, line.connection, line.at))
            return
        key = (line.call, line.event, line.connection)
        for delivery in reversed(self.deliveries):
            if delivery.reached and (delivery.call, delivery.event, delivery.connection) == key:
                delivery.reached = False
                return

    def _add_connection(self, line: ConnectionLine) -> None:
        if line.phase == "opened":
            self.connections[line.connection] = TrueConnection(line.connection, line.at)
            return
        connection = self.connections[line.connection]
        if line.phase == "subscribed":
            connection.subscribed, connection.extensions = line.at, line.extensions
        else:
            connection.closed, connection.reason = line.at, line.reason

    def _add_fault(self, line: FaultLine) -> None:
        if line.phase == "end":
            for fault in self.faults:
                if fault.end is None and (fault.kind, fault.connection) == (line.kind, line.connection):
                    fault.end = line.at
            return
        end = line.at if line.phase == "moment" else None
        self.faults.append(TrueFault(line.kind, line.at, end, line.connection))
        if line.kind in ("silence", "stall"):
            self._mute(line)

    def _mute(self, line: FaultLine) -> None:
        for connection in self.connections.values():
            struck = line.connection in (None, connection.connection)
            if struck and connection.closed is None and connection.muted is None:
                connection.muted = line.at


def load(path: Path) -> Truth:
    """Reads a truth file. A last line without its end (the simulator was killed) is left out.

    Raises `OSError`, and `CdrError` that names the line which cannot be understood.
    """
    truth = Truth()
    with path.open(encoding="utf-8") as lines:
        for number, text in enumerate(lines, 1):
            if not text.endswith("\n"):
                break
            try:
                truth.add(decode(text))
            except (ValueError, KeyError, TypeError) as error:
                raise CdrError(f"truth file {path}, line {number}: not understood ({error!r})") from error
    return truth


def _merged(spans: Iterable[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    merged: list[tuple[datetime, datetime]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged
