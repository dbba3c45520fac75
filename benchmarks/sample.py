"""Documents and facts like those of a live recorder, made by the simulator's own templates."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from etl.calls.facts import Reading, read_fact
from etl.model import Fact, Kind, Record
from etl.protocol.dialect import Dialect
from etl.protocol.documents import parse
from etl.protocol.messages import Notification, Response, read
from etl.simulator.config import SimulatorConfig
from etl.simulator.truth import TruthWriter
from etl.simulator.wire import Wire
from etl.simulator.world import World

ZONE = ZoneInfo("America/New_York")
DIALECT = Dialect()
READING = Reading(ZONE, "ny-1", {"ny-1": "ny-1"})
BEGIN = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)


class _Clock:
    """A clock that moves five milliseconds with each look: about 200 looks a second."""

    def __init__(self) -> None:
        self._looks = 0

    def now(self) -> datetime:
        self._looks += 1
        return BEGIN + timedelta(milliseconds=5 * self._looks)

    def monotonic(self) -> float:
        return (self.now() - BEGIN).total_seconds()

    async def sleep(self, seconds: float) -> None:
        """Nobody waits here."""


@dataclass(frozen=True, slots=True)
class Call:
    """The documents of one call."""

    start: bytes
    end: bytes
    detail: bytes


def calls(count: int) -> list[Call]:
    """`count` calls; always the same ones."""
    config = SimulatorConfig(name="ny-1", timezone=ZONE.key, provisional=0.0, detail_delay=0.0)
    world, wire = World(config, TruthWriter(None), _Clock()), Wire()
    made = []
    for number in range(count):
        call = world.begin()
        start = wire.notification("CallStart", call.call_id, world.start_fields(call))
        world.end(call)
        end = wire.notification("CallEnd", call.call_id, world.end_fields(call))
        found = world.detail(call.call_id)
        made.append(Call(start, end, wire.detail(str(number + 2), "1", call.call_id, found.fields or {})))
    return made


def documents(count: int) -> list[bytes]:
    """The documents of `count` calls, in the live mix: one start, one end, two details (the second is the refetch)."""
    return [document for call in calls(count) for document in (call.start, call.end, call.detail, call.detail)]


def fact(document: bytes, observed_at: datetime) -> Fact:
    """What a document says."""
    kind, record = told(document)
    return read_fact(record, kind, observed_at, READING)


def told(document: bytes) -> tuple[Kind, Record]:
    """The one record in a document."""
    (message,) = read(parse(document), DIALECT)
    if isinstance(message, Notification):
        return message.kind, message.records[0]
    assert isinstance(message, Response)
    return Kind.DETAIL, message.details[0]


def live_batches(count: int, size: int) -> list[list[Fact]]:
    """The facts of `count` calls as they come live, in batches of `size`: while calls start, earlier ones end.

    A call's end comes `size` calls after its start, and the record right behind the end.
    """
    facts: list[Fact] = []
    made = calls(count)
    for number, call in enumerate([*made, *[None] * size]):
        at = BEGIN + timedelta(milliseconds=5 * number)
        if call is not None:
            facts.append(fact(call.start, at))
        if number >= size:
            earlier = made[number - size]
            facts.append(fact(earlier.end, at + timedelta(milliseconds=1)))
            facts.append(fact(earlier.detail, at + timedelta(milliseconds=3)))
    return [facts[first : first + size] for first in range(0, len(facts), size)]
