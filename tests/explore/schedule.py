"""What happens in a world, and when: drawn from a seed, and a plain list, so that it can be printed and cut down."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from random import Random

from explore.recorder import Manners


class Do(Enum):
    """A thing that happens. `which` is a worker, a host or a call; `amount` is in seconds, as far as it has one."""

    CALL = "a call of {amount:.1f} s"
    LATE_START = "a call of {amount:.1f} s whose start is told at its end"
    FORGET = "the recorder forgets the records of calls that are over"
    RESTART = "the recorder restarts"
    GARBAGE = "the recorder sends garbage"
    MALFORMED = "the recorder sends what is not well-formed"
    DROP = "the recorder closes connections ({which}: 0 all, 1 those of subscribers)"
    RESET = "the recorder tears down connections ({which}: 0 all, 1 those of subscribers)"
    SILENCE = "all connections die silently"
    STALL = "the subscriptions stall half-way in a document"
    REFUSE = "the recorder refuses connections for {amount:.1f} s"
    REJECT = "the recorder rejects subscriptions for {amount:.1f} s"
    MUTE = "the recorder answers nothing for {amount:.1f} s"
    ERRORS = "the recorder answers most questions with errors for {amount:.1f} s"
    SLOW = "the recorder takes up to 1.5 s for an answer, for {amount:.1f} s"
    KILL = "worker {which} is killed, and starts again after {amount:.1f} s"
    STOP = "worker {which} is stopped, and starts again after {amount:.1f} s"
    FREEZE = "worker {which} stands still for {amount:.1f} s"
    CLOCK = "the clock of host {which} is set by {amount:+.1f} s"
    DATABASE_AWAY = "the database is away for {amount:.1f} s"
    DATABASE_CUT = "all connections to the database break"
    LOST_ANSWER = "the answer to the next commit of the database is lost"
    SLOW_DATABASE = "the database is slow for {amount:.1f} s"
    SLOW_DISK = "the disks are slow for {amount:.1f} s"
    DAMAGE = "worker {which} is killed, its journal is damaged, and it starts again after {amount:.1f} s"
    DELETE = "worker {which} is killed, its journal is deleted, and it starts again after {amount:.1f} s"


@dataclass(frozen=True)
class Step:
    """Something that happens at a moment (seconds since the beginning)."""

    at: float
    do: Do
    which: int = 0
    amount: float = 0.0

    def __str__(self) -> str:
        return f"{self.at:7.2f}  " + self.do.value.format(which=self.which, amount=self.amount)


@dataclass(frozen=True)
class Schedule:
    """A world: `workers` is one or two, on one host or on two; `second_at` is when the second starts. `real_disk`: the
    journals are the product's own."""

    seed: int
    steps: tuple[Step, ...]
    manners: Manners
    length: float
    workers: int = 1
    hosts: int = 1
    second_at: float = 0.0
    real_disk: bool = False

    def __str__(self) -> str:
        where = "" if self.workers == 1 else f" on {self.hosts} host(s), the second from {self.second_at:.2f} s on"
        disk = "; real journals" if self.real_disk else ""
        head = f"seed {self.seed}: {self.workers} worker(s){where}; {self.manners}; {self.length:.0f} s{disk}"
        return "\n".join([head, *map(str, self.steps)])


_BLOWS: dict[Do, tuple[int, float, float]] = {
    Do.FORGET: (2, 0, 0),
    Do.RESTART: (4, 0, 0),
    Do.GARBAGE: (2, 0, 0),
    Do.MALFORMED: (2, 0, 0),
    Do.DROP: (4, 0, 0),
    Do.RESET: (3, 0, 0),
    Do.SILENCE: (4, 0, 0),
    Do.STALL: (2, 0, 0),
    Do.REFUSE: (2, 0.5, 8),
    Do.REJECT: (1, 0.5, 8),
    Do.MUTE: (3, 0.5, 8),
    Do.ERRORS: (3, 1, 10),
    Do.SLOW: (5, 2, 15),
    Do.KILL: (8, 0.1, 8),
    Do.STOP: (3, 0.1, 6),
    Do.FREEZE: (6, 0.5, 9),
    Do.CLOCK: (6, -30, 15),
    Do.DATABASE_AWAY: (5, 0.5, 12),
    Do.DATABASE_CUT: (3, 0, 0),
    Do.LOST_ANSWER: (3, 0, 0),
    Do.SLOW_DATABASE: (4, 1, 10),
    Do.SLOW_DISK: (3, 0.5, 5),
    Do.DAMAGE: (1, 0.1, 6),
    Do.DELETE: (1, 0.1, 6),
}
"""How often something happens in comparison, and the range of its amount."""


REAL_DISK = 10
"""In one world of so many the journal is the product's own."""


def draw(seed: int) -> Schedule:
    """The schedule of a seed."""
    dice = Random(seed)
    length = dice.uniform(8, 20)
    manners = Manners(
        keepalive=dice.choice((4.0, 4.0, 4.0, 2.0, None)),
        closes=dice.random() < 0.15,
        written=dice.choice((0.2, 2.0, 5.0)),
        attributes=dice.random() < 0.3,
        twice=dice.random() < 0.2,
    )
    workers = dice.choice((1, 2))
    steps = _old_list(dice, length) if dice.random() < OLD_LISTS else []
    steps += [_call(dice, length) for _ in range(dice.randint(2, 9))]
    # Few kinds of blows, often: what two of them do together shows more than a little of everything.
    kinds = dice.sample(list(_BLOWS), dice.choice((2, 3, 5, len(_BLOWS))))
    for do in dice.choices(kinds, [_BLOWS[each][0] for each in kinds], k=dice.randint(0, 9)):
        _, low, high = _BLOWS[do]
        steps.append(Step(dice.uniform(0.5, length), do, dice.randrange(2), dice.uniform(low, high)))
    return Schedule(
        seed=seed,
        steps=tuple(sorted(steps, key=lambda step: step.at)),
        manners=manners,
        length=length,
        workers=workers,
        hosts=dice.choice((1, 2)) if workers == 2 else 1,
        second_at=dice.uniform(0, length / 2),
        real_disk=seed % REAL_DISK == 0,
    )


OLD_LISTS = 0.1
"""The share of worlds in which a list that an old session asked for comes to a new one: nothing else brings the five
things together that this takes."""


def _old_list(dice: Random, length: float) -> list[Step]:
    """A list is under way when the subscription breaks; a call begins before the next one is confirmed, and the list
    that this one asks for is answered with errors."""
    at = dice.uniform(2, max(length - 5, 3))
    again = at + dice.uniform(0.35, 0.75)
    return [
        Step(at, Do.SLOW, amount=2.0),
        Step(at + 0.05, Do.DROP, which=1),
        Step(again, Do.DROP, which=1),
        Step(again + 0.02, Do.CALL, amount=20.0),
        Step(again + 0.05, Do.ERRORS, amount=4.0),
        Step(again + dice.uniform(1.5, 2.2), Do.CALL, amount=dice.uniform(0.2, 2.0)),
        Step(again + dice.uniform(2.0, 3.2), Do.CALL, amount=dice.uniform(0.2, 2.0)),
    ]


def _call(dice: Random, length: float) -> Step:
    do = Do.LATE_START if dice.random() < 0.05 else Do.CALL
    return Step(dice.uniform(-2, length), do, amount=min(dice.expovariate(1 / 6), 60.0))
