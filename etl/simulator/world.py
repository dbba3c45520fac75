"""What the simulated recorder knows of its calls. No sockets, no dice but for the faults."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo

from etl.simulator.calls import CallGenerator, Fields, FieldValue, SimulatedCall, cut, local_text
from etl.simulator.clock import Clock
from etl.simulator.config import SimulatorConfig
from etl.simulator.truth import CallLine, TruthWriter

Outcome = Literal["finished", "unfinished", "unknown"]


@dataclass(frozen=True, slots=True)
class Detail:
    """What a detail request finds; `call_id` and `fields` are empty for an unknown call."""

    outcome: Outcome
    call_id: str = ""
    fields: Fields | None = None


class World:
    """The calls of one recorder: going on, ended, forgotten.

    Everything that depends on the time since a call's end is judged when it is asked for, on the monotonic
    clock.
    """

    def __init__(self, config: SimulatorConfig, truth: TruthWriter, clock: Clock) -> None:
        """Starts without calls."""
        self.generator = CallGenerator(config)
        self.ongoing: dict[str, SimulatedCall] = {}
        self.on_ended: list[Callable[[SimulatedCall], None]] = []
        self._config = config
        self._truth = truth
        self._clock = clock
        self._zone = ZoneInfo(config.timezone)
        self._ended: dict[str, SimulatedCall] = {}
        self._by_end: deque[SimulatedCall] = deque()

    def begin(self, overrides: Mapping[str, FieldValue] | None = None) -> SimulatedCall:
        """A call begins now."""
        call = self.generator.call(self._clock.now(), overrides)
        self.ongoing[call.call_id] = call
        self._tell(call, "begin")
        return call

    def end(self, call: SimulatedCall, *, record_lost: bool = False) -> bool:
        """`call` ends now; False if the recorder has forgotten it."""
        if self.ongoing.pop(call.call_id, None) is None:
            return False
        call.end = max(call.start, cut(self._clock.now(), self._config.precision))
        call.ended = self._clock.monotonic()
        self._ended[call.call_id] = call
        self._by_end.append(call)
        self._tell(call, "end")
        if record_lost:
            self.lose_record(call)
        for listener in self.on_ended:
            listener(call)
        return True

    def lose_record(self, call: SimulatedCall) -> None:
        """The recorder itself no longer finds `call`; its history still does."""
        call.record_lost = True
        self._tell(call, "record_lost")

    def forget_ongoing(self) -> None:
        """The calls that go on are forgotten: they never end."""
        for call in self.ongoing.values():
            self._tell(call, "forgotten")
        self.ongoing.clear()

    def purge(self) -> None:
        """Lets go of calls that nobody can ask for any more."""
        while self._by_end and self._age(self._by_end[0]) > self._config.forget_after:
            del self._ended[self._by_end.popleft().call_id]

    def detail(self, call_id: str) -> Detail:
        """What is known of the call with this id (compared without case)."""
        call_id = call_id.lower()
        if (ongoing := self.ongoing.get(call_id)) is not None:
            return Detail("unfinished", call_id, self.times(ongoing) | ongoing.record(settled=False))
        call = self._ended.get(call_id)
        if call is None or call.record_lost or self._age(call) > self._config.forget_after:
            return Detail("unknown")
        if self._age(call) >= self._config.detail_delay:
            settled = self._age(call) >= self._config.settle_after
            return Detail("finished", call_id, self.times(call, ended=True) | call.record(settled=settled))
        if self._config.before_detail == "unknown":
            return Detail("unknown")
        return Detail("unfinished", call_id, self.times(call) | call.record(settled=False))

    def times(self, call: SimulatedCall, *, ended: bool = False) -> Fields:
        """The call's times as the recorder writes them; with `ended` the end too."""
        times: Fields = {"start_time": self._local(call.start)}
        if ended and call.end is not None:
            times["end_time"] = self._local(call.end)
        return times

    def start_fields(self, call: SimulatedCall) -> dict[str, str]:
        """What a start notification says."""
        shown = {"native_id": str(call.fields["native_call_id"]), "source_caller_id": call.source}
        if "source_name" in call.fields:
            shown["source_name"] = str(call.fields["source_name"])
        return shown | {"destination_caller_id": call.destination, "start_time": self._local(call.start)}

    def end_fields(self, call: SimulatedCall) -> dict[str, str]:
        """What an end notification says of a call that has ended."""
        cause = str(call.record(settled=False)["cause_id"])
        return {"end_time": self._local(call.end or call.start), "cause_id": cause}

    def list_fields(self, call: SimulatedCall) -> dict[str, str]:
        """What a list says."""
        parties = {"source_caller_id": call.source, "destination_caller_id": call.destination}
        return parties | {"start_time": self._local(call.start)}

    def _local(self, moment: datetime) -> str:
        return local_text(moment, self._zone, self._config.precision)

    def _age(self, call: SimulatedCall) -> float:
        return self._clock.monotonic() - (call.ended or 0.0)

    def _tell(self, call: SimulatedCall, phase: Literal["begin", "end", "forgotten", "record_lost"]) -> None:
        self._truth.write(
            CallLine(self._clock.now(), call.call_id, phase, call.start, call.end, call.fields),
        )
