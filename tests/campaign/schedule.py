"""What a campaign does, and when: drawn from its seed, so that the same seed does the same again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random

from campaign.blows import Do, Setting, Step, steps

from etl.simulator.config import ALL_STYLES, HttpConfig, Precision, SimulatorConfig
from etl.simulator.faults import Fault, FaultKind, Faults

KEEPALIVE = 1.0
REFETCH_AFTER = 2.0
GIVE_UP = 8.0
REQUEST_TIMEOUT = 2.0
PROBE_EVERY = 2.0
MARGIN = 1.0
SETTLE_AFTER = 1.5
"""Seconds. Records settle before they are asked for again, or else nobody could see the final one."""

FORGETS_SOON = 10.0
"""Seconds after a call's end at which some recorders forget it: long enough to ask twice, too short for an outage."""

HISTORY_DELAY = 1.0
"""Seconds after its end by which a call is in the history."""

LOCATIONS = ("NY-RECORDER", "BUDAPEST-1", "LONDON", "TOKYO", "PARIS", "OSLO", "LIMA", "CAIRO")
ZONES = ("America/New_York", "Europe/Budapest", "UTC", "Asia/Tokyo")
PRECISIONS: tuple[Precision, ...] = ("milliseconds", "milliseconds", "seconds")

RATES = {
    FaultKind.DROP: 4.0,
    FaultKind.RESET: 3.0,
    FaultKind.GARBAGE: 6.0,
    FaultKind.CUT_OFF: 4.0,
    FaultKind.MALFORMED: 6.0,
    FaultKind.SILENCE: 1.0,
    FaultKind.REFUSE: 1.0,
    FaultKind.RESTART: 0.7,
    FaultKind.STALL: 1.0,
}
"""How often each fault of a moment strikes one recorder, per minute."""
LENGTHS = {
    FaultKind.SILENCE: 4.0,
    FaultKind.REFUSE: 2.0,
    FaultKind.RESTART: 0.5,
    FaultKind.STALL: 4.0,
    FaultKind.SLOW_DETAILS: 1.5,
    FaultKind.COALESCE: 0.05,
}
"""How long those last that last, in seconds."""
SHARES = {
    FaultKind.DUPLICATES: 0.1,
    FaultKind.REORDERING: 0.05,
    FaultKind.SLOW_DETAILS: 0.05,
    FaultKind.DETAIL_ERRORS: 0.1,
    FaultKind.SHORT_LISTS: 0.1,
    FaultKind.FORGOTTEN_DETAILS: 0.03,
    FaultKind.CLOSE_AFTER_RESPONSE: 0.3,
    FaultKind.SPLIT_WRITES: 0.5,
    FaultKind.COALESCE: 0.5,
}
"""How often each of the others strikes where it could, on a recorder that has it at all."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A whole campaign: recorders with their faults, and the steps against us, in order.

    `setting` says what there is to be hit. `history` is where calls can be found that no session saw: over HTTP, or in
    files if it is None. `filling`: the worker fills gaps by itself, else `cdr backfill gaps` does it at the end.
    """

    seed: int
    seconds: float
    recorders: tuple[SimulatorConfig, ...]
    steps: tuple[Step, ...]
    history: HttpConfig | None
    filling: bool
    setting: Setting

    def __str__(self) -> str:
        faults = [
            f"{recorder.name}: {fault.kind} at {fault.at:.1f} s, {fault.length:g} s"
            for recorder in self.recorders
            for fault in recorder.faults.moments()
        ]
        return "\n".join([str(self.setting), *(str(step) for step in self.steps), *faults])


def draw(seed: int, seconds: float, recorders: int = 3) -> Schedule:
    """The campaign of this seed: `seconds` of calls and faults, all over when they are."""
    dice = Random(f"campaign/{seed}/{seconds:g}")
    simulated = tuple(_recorder(number, seed, seconds, dice) for number in range(recorders))
    setting = Setting.draw(dice, [each.name for each in simulated])
    ordered = tuple(sorted((Step(0.0, Do.START), *steps(dice, seconds, setting))))
    history = _history(dice)
    if history is None:  # all files are read in one zone
        simulated = tuple(replace(each, timezone=simulated[0].timezone) for each in simulated)
    return Schedule(seed, seconds, simulated, ordered, history, filling=dice.random() < 0.5, setting=setting)


def _history(dice: Random) -> HttpConfig | None:
    """Over HTTP in two campaigns of three, with pages of any size and tokens that expire soon or never."""
    if dice.random() < 1 / 3:
        return None
    return HttpConfig(
        api_key="a key",
        username="auditor",
        password="a password",
        timezone=dice.choice(ZONES),
        delay=dice.uniform(0, HISTORY_DELAY),
        page_limit=dice.choice((1, 2, 7, 1000)),
        token_lifetime=dice.choice((1.0, 3600.0)),
    )


def _recorder(number: int, seed: int, seconds: float, dice: Random) -> SimulatorConfig:
    shares = [kind for kind in SHARES if dice.random() < 0.6]
    return SimulatorConfig(
        name=f"recorder-{number}",
        location=LOCATIONS[number],
        timezone=dice.choice(ZONES),
        precision=dice.choice(PRECISIONS),
        styles=ALL_STYLES,
        seed=seed,
        rate=4.0,
        duration_min=0.2,
        duration_mean=2.0,
        keepalive=0.0 if dice.random() < 0.25 else KEEPALIVE,
        detail_delay=dice.choice((0.0, 0.3)),
        before_detail=dice.choice(("unfinished", "unknown")),
        provisional=0.3,
        settle_after=SETTLE_AFTER,
        forget_after=FORGETS_SOON if dice.random() < 0.2 else 3600.0,
        seconds=seconds,
        faults=Faults((*_moments(dice, seconds), *(_share(kind) for kind in shares))),
    )


def _share(kind: FaultKind) -> Fault:
    return Fault(kind, share=SHARES[kind], length=LENGTHS.get(kind, 0.0))


def _moments(dice: Random, seconds: float) -> Iterator[Fault]:
    for kind, rate in RATES.items():
        length = LENGTHS.get(kind, 0.0)
        for at in Fault(kind, per_second=rate / 60).moments(dice):
            if at + length >= seconds:
                break
            yield Fault(kind, at=at, length=length)
