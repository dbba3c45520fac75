"""What is done to worker, database, network, disk and clock in a campaign, and when: drawn from its seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from campaign.harm import DAMAGES
from campaign.proxy import WAYS

DATABASE = "database"
"""What the link to the database is called among those to the recorders."""


class Do(StrEnum):
    """What is done to us. What a step needs to know beside it stands in its `amount` and `target`."""

    START = "start"
    """The worker is started (again)."""
    KILL = "kill"
    """kill -9 of the worker."""
    WIPE = "wipe"
    """The dead worker's data_dir is deleted."""
    DAMAGE = "damage"
    """The dead worker's journal is damaged; `target` says how."""
    STOP = "stop"
    """The worker is asked to stop, and waited for."""
    FREEZE = "freeze"
    """SIGSTOP of the worker."""
    THAW = "thaw"
    """SIGCONT of the worker."""
    FILL_DISK = "fill disk"
    """The disk of data_dir is full."""
    EMPTY_DISK = "empty disk"
    SET_CLOCK = "set clock"
    """The machine's clock is set `amount` seconds ahead of the truth; negative: behind."""
    CRASH_DATABASE = "crash database"
    """`pg_ctl stop -m immediate`."""
    START_DATABASE = "start database"
    TAKE_CONNECTIONS = "take connections"
    """All connections of the database are taken, those of the worker too."""
    GIVE_CONNECTIONS = "give connections"
    SLOW_DATABASE = "slow database"
    """All that is said to and by the database comes `amount` seconds late."""
    FAST_DATABASE = "fast database"
    STALL = "stall"
    """On the link `target`, nothing passes in one direction; `amount` is 1 for towards the worker, 0 for from it."""
    FLOW = "flow"
    """All passes again on `target`, what was held back first."""
    CUT = "cut"
    """The connections of `target` are torn down, and then all passes again."""
    START_SECOND = "start second"
    """Another worker on the same recorders and data_dir."""
    START_STRANGER = "start stranger"
    """The same with a data_dir of its own, as on another machine."""
    KILL_SECOND = "kill second"
    STOP_SECOND = "stop second"


@dataclass(frozen=True, slots=True, order=True)
class Step:
    """One thing to do, `at` seconds after the start."""

    at: float
    do: Do
    target: str = ""
    amount: float = 0.0

    def __str__(self) -> str:
        amount = f" {self.amount:+.2f}" if self.amount else ""
        return f"{self.at:6.2f} {self.do} {self.target}{amount}".rstrip()


@dataclass(frozen=True, slots=True)
class Setting:
    """What a campaign has beside recorders, worker and database: `links` that can stall, to recorders and database;
    a `small_disk`; a `clock` that is set."""

    links: tuple[str, ...] = ()
    small_disk: bool = False
    clock: bool = False

    @classmethod
    def draw(cls, dice: Random, recorders: Sequence[str]) -> Setting:
        """A disk or a clock, and links, or none of it."""
        stalling = [name for name in recorders if dice.random() < 0.5]
        links = (DATABASE, *stalling) if dice.random() < 0.5 else ()
        chance = dice.random()
        return cls(links, small_disk=chance < 0.35, clock=0.35 <= chance < 0.7)


def steps(dice: Random, seconds: float, setting: Setting) -> Iterator[Step]:
    """All steps but the first start, in no order; every blow is over when `seconds` are."""
    against_worker = list(_against_worker(dice, seconds, setting))
    yield from against_worker
    yield from _against_database(dice, seconds, setting)
    yield from _second(dice, seconds, setting, [step for step in against_worker if step.do is Do.SET_CLOCK])
    for link in setting.links:
        if link != DATABASE:
            yield from _stalls(dice, seconds, link)


CLOCK_ROOM = 16.0
"""Seconds until a clock that is set is right again."""
AWAY_FROM_TURNS = 22.0
"""Seconds between a turn of the clock and the start of a second worker: more than the clock is ever wrong by."""
LONG_CAMPAIGN = 150.0
"""Seconds; in one that is as long the worker is frozen for more than a minute."""


def _against_worker(dice: Random, seconds: float, setting: Setting) -> Iterator[Step]:
    """Blows to the one worker, one after the other; the first early, so that a short campaign has one too."""
    now = dice.uniform(3, 5)
    blow, long = Do.KILL, seconds >= LONG_CAMPAIGN
    choices = [Do.KILL, Do.KILL, Do.KILL, Do.STOP, Do.FREEZE]
    choices += [Do.FILL_DISK] * (3 * setting.small_disk) + [Do.SET_CLOCK] * (4 * setting.clock)
    while now < seconds - 3:
        blow = Do.KILL if blow is Do.SET_CLOCK and now + CLOCK_ROOM >= seconds else blow
        if blow is Do.SET_CLOCK:
            turns = list(_clock(dice, now))
            yield from turns
            now = turns[-1].at + _catching_up(turns) + dice.uniform(3, 6)
            blow = dice.choice(choices)
            continue
        down = min(_length(dice, blow, long), seconds - now - 0.5)
        yield Step(now, blow)
        if blow is Do.FREEZE:
            yield Step(now + down, Do.THAW)
            long = False
        elif blow is Do.FILL_DISK:
            yield Step(now + down, Do.EMPTY_DISK)
        else:
            if blow is Do.KILL and now < seconds * 0.7:
                yield from _on_the_dead(dice, now + 0.1)
            yield Step(now + down, Do.START)
        now += down + dice.uniform(3, 15)
        blow = Do.FREEZE if long else dice.choice(choices)


def _length(dice: Random, blow: Do, long: bool) -> float:
    if blow is Do.FREEZE:
        return dice.uniform(61, 80) if long else dice.choice((dice.uniform(0.2, 3), dice.uniform(5, 16)))
    return dice.uniform(2, 8) if blow is Do.FILL_DISK else dice.uniform(0.2, 3)


def _on_the_dead(dice: Random, now: float) -> Iterator[Step]:
    """What can happen to a data_dir while nobody is there."""
    chance = dice.random()
    if chance < 0.12:
        yield Step(now, Do.WIPE)
    elif chance < 0.3:
        yield Step(now, Do.DAMAGE, dice.choice(DAMAGES), amount=dice.randrange(1000))


def _against_database(dice: Random, seconds: float, setting: Setting) -> Iterator[Step]:
    """One after the other."""
    now = dice.uniform(4, 8)
    more = [Do.SLOW_DATABASE, Do.STALL] if DATABASE in setting.links else []
    blow = Do.CRASH_DATABASE
    while now < seconds - 2:
        down = dice.choice((dice.uniform(0.2, 2), dice.uniform(2, 8)))
        over = min(now + down, seconds)
        if blow is Do.CRASH_DATABASE:
            yield from (Step(now, blow), Step(over, Do.START_DATABASE))
        elif blow is Do.TAKE_CONNECTIONS:
            yield from (Step(now, blow), Step(over, Do.GIVE_CONNECTIONS))
        elif blow is Do.SLOW_DATABASE:
            yield from (Step(now, blow, amount=dice.uniform(0.05, 0.4)), Step(over, Do.FAST_DATABASE))
        else:
            yield from _stall(dice, now, over, DATABASE)
        now += down + dice.uniform(5, 20)
        blow = dice.choice([Do.CRASH_DATABASE, Do.CRASH_DATABASE, Do.TAKE_CONNECTIONS, *more])


def _stalls(dice: Random, seconds: float, link: str) -> Iterator[Step]:
    now = dice.uniform(5, 20)
    while now < seconds - 3:
        over = min(now + dice.uniform(0.5, 6), seconds)
        yield from _stall(dice, now, over, link)
        now = over + dice.uniform(10, 30)


def _stall(dice: Random, now: float, over: float, link: str) -> Iterator[Step]:
    yield Step(now, Do.STALL, link, float(dice.randrange(len(WAYS))))
    yield Step(over, dice.choice((Do.FLOW, Do.CUT)), link)


def _clock(dice: Random, now: float) -> Iterator[Step]:
    """Set wrong and right again, by less than a second, by seconds, or by many; sometimes with a kill while it is fast,
    and then sometimes set right before the next start.

    None is started before the clock has caught up: of two records of one call the later one would seem to be older
    (docs/architecture.md, "Clocks").
    """
    size = dice.choice((dice.uniform(0.2, 0.9), dice.uniform(1.2, 5), dice.uniform(5, 20)))
    fast, over = dice.random() < 0.6, now + dice.uniform(3, 10)
    yield Step(now, Do.SET_CLOCK, amount=size if fast else -size)
    if fast and dice.random() < 0.5:
        down = dice.uniform(0.2, 2)
        yield Step(now + 3, Do.KILL)
        if size < 5 and down > 1:  # down for long anyway: set right in the meantime
            over, down = now + 3.3, size + 0.6
        else:
            over += 3 + down
        yield Step(now + 3 + down, Do.START)
    yield Step(over, Do.SET_CLOCK, amount=0.0)


def _catching_up(turns: Sequence[Step]) -> float:
    """Seconds after the last of them until the clock shows what it has never shown before."""
    return max(0.0, turns[0].amount)


def _second(dice: Random, seconds: float, setting: Setting, turns: Sequence[Step]) -> Iterator[Step]:
    """Another worker overlaps for a while, in two campaigns of three. One on the same machine has its clock, and is not
    started while that catches up; one that is started while the disk is full could not even begin."""
    now = dice.uniform(seconds * 0.2, seconds * 0.6)
    length = dice.uniform(3, 10)
    if dice.random() < 0.67 and now + length < seconds and all(abs(step.at - now) > AWAY_FROM_TURNS for step in turns):
        start = dice.choice((Do.START_SECOND, Do.START_STRANGER))
        start = Do.START_SECOND if setting.clock else Do.START_STRANGER if setting.small_disk else start
        yield Step(now, start)
        yield Step(now + length, dice.choice((Do.KILL_SECOND, Do.STOP_SECOND)))
