"""What is done to the worker, its recorders and its database, and when: in shares of the messages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

RECORDERS = 4


@dataclass(frozen=True, slots=True)
class Step:
    """At `share` of all messages: `what` befalls recorder `recorder`, or the database for `seconds`."""

    share: float
    what: str
    recorder: int = 0
    seconds: float = 0.0


def steps(seed: int, messages: int) -> list[Step]:
    """The steps of a run, in their order: always the same for the same seed and number of messages.

    `drop` and `reset` end a subscription, `garbage` stands between documents; `away` stops the database, `crash`
    ends it as a crash would, and `backlog` keeps it away until the journal is well filled.
    """
    dice = Random(seed)
    return sorted(_drawn(dice, messages), key=lambda step: step.share)


def _drawn(dice: Random, messages: int) -> Iterator[Step]:
    scale = messages / 5_000_000
    for what, count in (("drop", 20), ("reset", 12), ("garbage", 200)):
        for _ in range(max(round(count * scale), 2)):
            yield Step(dice.uniform(0.02, 0.97), what, dice.randrange(RECORDERS))
    for what, count, seconds in (("away", 6, 10.0), ("crash", 3, 5.0), ("backlog", 3, 90.0)):
        spread = max(round(count * scale), 1)
        for number in range(spread):
            yield Step((number + dice.uniform(0.3, 0.7)) / spread, what, 0, seconds)
