"""How large a run is, what is done to the worker, its recorders and its database meanwhile, and when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

RECORDERS = 4
RECORDER_FAULTS = ("drop", "reset", "garbage")
DATABASE_FAULTS = ("away", "crash", "backlog")


@dataclass(frozen=True, slots=True)
class Pace:
    """What depends on how long a run is. Times in seconds, backlogs in messages.

    `refetch`: a record is asked for again after it. `turn`: between two looks of the feeder at a recorder. The
    recorders wait at a backlog of `full`; while the database is away, at `full_away`. It is `away` so long; `filling`
    at the most where a backlog is wanted. `sample`: between two samples. `counted`: until the worker has counted anew
    what only the database knows (it does so every 30 s).
    """

    refetch: float
    turn: float
    full: int
    full_away: int
    away: float
    filling: float
    sample: float
    counted: float

    @property
    def rest(self) -> float:
        """Without a message for so long, nothing more will come."""
        return self.refetch + 2


LONG = Pace(10.0, 0.004, 8_000, 120_000, 10.0, 90.0, 5.0, 40.0)
SHORT = Pace(1.0, 0.05, 1_000, 3_000, 1.0, 3.0, 0.5, 0.0)
"""For tests: all that happens in a long run, within seconds."""
MANY = 500_000
"""Messages of a long run."""


def pace(messages: int) -> Pace:
    return LONG if messages >= MANY else SHORT


@dataclass(frozen=True, slots=True)
class Step:
    """At `share` of all messages: `what` befalls recorder `recorder`, or the database."""

    share: float
    what: str
    recorder: int = 0


def steps(seed: int, messages: int) -> list[Step]:
    """The steps of a run, in their order: always the same for the same seed and number of messages.

    `drop` and `reset` end a subscription, `garbage` stands between documents; `away` stops the database, `crash`
    ends it as a crash would, and `backlog` keeps it away until the journal is well filled.
    """
    return sorted(_drawn(Random(seed), messages / 5_000_000), key=lambda step: step.share)


def _drawn(dice: Random, scale: float) -> Iterator[Step]:
    for what, count in zip(RECORDER_FAULTS, (20, 12, 200), strict=True):
        for _ in range(max(round(count * scale), 2)):
            yield Step(dice.uniform(0.05, 0.95), what, dice.randrange(RECORDERS))
    for what, count in zip(DATABASE_FAULTS, (6, 3, 3), strict=True):
        spread = max(round(count * scale), 1)
        for number in range(spread):
            yield Step((number + dice.uniform(0.3, 0.7)) / spread, what)
