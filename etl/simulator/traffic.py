"""Random calls and random faults: pulls the simulator's strings by seeded dice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from random import Random

from etl.simulator.calls import SimulatedCall
from etl.simulator.faults import Fault, FaultKind
from etl.simulator.simulator import Simulator


class Traffic:
    """Calls at the configured rate. The dice decide the pauses and durations, never the machine's speed."""

    def __init__(self, simulator: Simulator) -> None:
        """Does nothing yet."""
        self.finished = asyncio.Event()
        """Set when a bounded traffic has begun its last call and all its calls have ended."""
        self._simulator = simulator
        self._timeline = simulator.timeline
        self._generator = simulator.world.generator
        self._left = simulator.config.max_calls
        self._open = 0
        self._over = False
        self._until: float | None = None

    def start(self) -> None:
        """Plans the first call."""
        config, now = self._simulator.config, self._simulator.clock.monotonic()
        if config.seconds is not None:
            self._until = now + config.seconds
            self._timeline.at(self._until, self._stop)
        if config.rate:
            self._plan(now)

    def _plan(self, after: float) -> None:
        moment = after + self._generator.pause()
        if self._left == 0:
            self._stop()
        elif self._until is None or moment < self._until:
            self._timeline.at(moment, lambda: self._begin(moment))

    def _begin(self, moment: float) -> None:
        call = self._simulator.begin_call()
        self._open += 1
        if self._left is not None:
            self._left -= 1
        self._timeline.at(moment + self._generator.duration(), lambda: self._end(call))
        self._plan(moment)

    def _end(self, call: SimulatedCall) -> None:
        self._simulator.end_call(call)
        self._open -= 1
        self._see_whether_finished()

    def _stop(self) -> None:
        self._over = True
        self._see_whether_finished()

    def _see_whether_finished(self) -> None:
        if self._over and not self._open:
            self.finished.set()


class Saboteur:
    """Faults at the configured moments and rates, with dice of their own."""

    def __init__(self, simulator: Simulator) -> None:
        """Does nothing yet."""
        self._simulator = simulator
        self._timeline = simulator.timeline

    def start(self) -> None:
        """Plans the first of each fault."""
        config, now = self._simulator.config, self._simulator.clock.monotonic()
        for number, fault in enumerate(config.faults.moments()):
            rng = Random(f"{config.seed}/{config.name}/faults/{number}")
            self._plan(fault, now, fault.moments(rng))

    def _plan(self, fault: Fault, start: float, moments: Iterator[float]) -> None:
        moment = next(moments, None)
        if moment is None:
            return

        def strike() -> None:
            self._strike(fault)
            self._plan(fault, start, moments)

        self._timeline.at(start + moment, strike)

    def _strike(self, fault: Fault) -> None:
        simulator = self._simulator
        match fault.kind:
            case FaultKind.DROP | FaultKind.RESET | FaultKind.STALL:
                self._strike_one(fault)
            case FaultKind.SILENCE:
                simulator.silence(True)
                self._timeline.after(fault.length, lambda: simulator.silence(False))
            case FaultKind.REFUSE:
                simulator.refuse()
                self._timeline.after(fault.length, simulator.accept)
            case FaultKind.RESTART:
                simulator.go_down()
                self._timeline.after(fault.length, lambda: simulator.accept(FaultKind.RESTART))
            case FaultKind.GARBAGE:
                simulator.garbage()
            case FaultKind.CUT_OFF:
                simulator.cut_off()
            case _:
                simulator.malformed()

    def _strike_one(self, fault: Fault) -> None:
        simulator, stalls = self._simulator, fault.kind is FaultKind.STALL
        candidates = simulator.subscribers if stalls else simulator.connections
        if not candidates:
            return
        victim = simulator.dice.choice(candidates)
        if fault.kind is FaultKind.DROP:
            simulator.drop(victim)
        elif fault.kind is FaultKind.RESET:
            simulator.reset(victim)
        else:
            simulator.stall(victim)
            self._timeline.after(fault.length, lambda: simulator.unstall(victim))
