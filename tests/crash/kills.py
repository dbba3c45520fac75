"""The worker is killed by `kill -9` at moments drawn from a seed, and held against the truth; into the ledger.

Each run has its own recorder, database and data_dir. A lane runs one after the other; several lanes run side by side.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from campaign.director import journals
from campaign.evidence import Blow, Verdict
from campaign.schedule import SETTLE_AFTER, SHARES
from crash.house import House, opened
from support import ledger
from support.commit import commit
from support.ledger import Run
from support.postgres import Server, serving

from etl.simulator.config import ALL_STYLES, SimulatorConfig
from etl.simulator.faults import Fault, FaultKind, Faults
from etl.store import database, embedded, pending
from etl.store.sessions import ownerless

PROGRAMME = "kills"
RATE = 12.0
"""Calls per second."""
RECENT = timedelta(seconds=30)
"""What was owed for no longer than that when the last worker subscribed must be done. Much older calls are left as they
are: `detail_give_up` and `refetch_after` say for how long a record is asked for."""
UNHEARD = 1.0
"""Seconds for which new calls begin that nobody hears: on a busy machine a worker takes long to start."""
LAST = 2.0
"""Seconds for which calls go on after the last start."""
PATIENCE = 90.0
"""Seconds that anything may take on a machine that is busy with others."""
HARMLESS = (
    FaultKind.DUPLICATES,
    FaultKind.REORDERING,
    FaultKind.SLOW_DETAILS,
    FaultKind.CLOSE_AFTER_RESPONSE,
    FaultKind.SPLIT_WRITES,
    FaultKind.COALESCE,
)
"""Habits of recorders that open no gap: each gap of a run must come from a kill."""


@dataclass(frozen=True, slots=True)
class Kill:
    """One `kill -9`: so many seconds after the worker has subscribed, or (`early`) after its process was started; and
    how long it then stays dead."""

    after: float
    early: bool
    down: float


@dataclass(frozen=True, slots=True)
class Crash:
    """A crash of the database, so many seconds after the first start, and how long it is away."""

    at: float
    down: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done in the run of a seed."""

    seed: int
    recorder: SimulatorConfig
    kills: tuple[Kill, ...]
    crashes: tuple[Crash, ...]


def draw(seed: int) -> Plan:
    """The plan of a seed."""
    dice = Random(f"kills {seed}")
    kills = tuple(_kill(dice) for _ in range(dice.randint(2, 4)))
    crashes = tuple(Crash(dice.uniform(1, 8), dice.uniform(0.2, 4)) for _ in range(dice.choice((0, 0, 1))))
    recorder = SimulatorConfig(
        "recorder-0", seed=seed, styles=ALL_STYLES, rate=0, duration_min=0.05, duration_mean=0.8, keepalive=1.0,
        precision=dice.choice(("milliseconds", "seconds")), detail_delay=dice.choice((0.0, 0.2)),
        before_detail=dice.choice(("unfinished", "unknown")), provisional=0.3, settle_after=SETTLE_AFTER,
        faults=Faults(tuple(_share(kind) for kind in HARMLESS if dice.random() < 0.5)),
    )  # fmt: skip
    return Plan(seed, recorder, kills, crashes)


def _kill(dice: Random) -> Kill:
    """Most strike where something begins: right after the start, the subscription, the list."""
    early = dice.random() < 0.3
    after = dice.uniform(0.3, 3) if early else dice.uniform(0, dice.choice((0.1, 0.6, 4)))
    return Kill(after, early, dice.uniform(0, dice.choice((0.1, 1.0))))


def _share(kind: FaultKind) -> Fault:
    return Fault(kind, share=SHARES[kind], length=0.05 if kind is FaultKind.COALESCE else 0.5)


@dataclass
class Killer:
    """Carries a plan out in a house."""

    plan: Plan
    house: House
    faults: Counter[str] = field(default_factory=Counter)
    recovery: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    _listens_since: datetime = field(init=False)

    async def run(self) -> list[Verdict]:
        """All of it, and what the oracle says."""
        over = asyncio.Event()
        calls = asyncio.create_task(self._calls(over))
        crashing = asyncio.create_task(self._crash_database())
        try:
            await self._kill()
            await crashing
            over.set()
            await calls
            settled = await self._settle()
        finally:
            for task in (calls, crashing):
                task.cancel()
            await asyncio.gather(calls, crashing, return_exceptions=True)
        await self.house.stop()
        left = tuple(journals(self.house.worker))
        return [*await self.house.verdicts(), settled, Verdict("the stopped worker leaves no journal behind", 1, left)]

    async def _kill(self) -> None:
        house, since = self.house, None
        for kill in self.plan.kills:
            if kill.early:
                house.worker.start()
            else:
                await self._start(since)
                since = None
            await asyncio.sleep(kill.after)
            killed = house.kill()
            since = since or killed
            self.faults[Blow.KILL.value] += 1
            await asyncio.sleep(kill.down)
        await self._start(since)
        await asyncio.sleep(LAST)

    async def _start(self, since: datetime | None) -> None:
        """Start the worker, and note how long it takes until it listens again."""
        began = time.monotonic()
        await self.house.start(PATIENCE)
        self._listens_since = datetime.now(UTC)
        if since is not None:
            self.house.out(Blow.KILL, since)
            self.recovery[Blow.KILL.value].append(round(time.monotonic() - began, 2))

    async def _crash_database(self) -> None:
        began = time.monotonic()
        for crash in self.plan.crashes:
            await asyncio.sleep(began + crash.at - time.monotonic())
            since = datetime.now(UTC)
            await asyncio.to_thread(self.house.server.crash)
            await asyncio.sleep(crash.down)
            await asyncio.to_thread(self.house.server.restart)
            self.house.out(Blow.CRASH, since)
            self.faults[Blow.CRASH.value] += 1

    async def _calls(self, over: asyncio.Event) -> None:
        """Calls that overlap, from the first subscription until told to begin no more; returns when all have ended."""
        dice, recorder = Random(self.plan.seed), self.house.recorder
        heard = float("-inf")
        async with asyncio.TaskGroup() as group:
            while not over.is_set():
                heard = time.monotonic() if recorder.subscribers else heard
                if time.monotonic() - heard > UNHEARD:
                    await recorder.until_subscribed()
                group.create_task(self._call(dice.uniform(0.02, 2 * recorder.config.duration_mean)))
                await asyncio.sleep(dice.expovariate(RATE))

    async def _call(self, seconds: float) -> None:
        call = self.house.recorder.begin_call()
        await asyncio.sleep(seconds)
        self.house.recorder.end_call(call)

    async def _settle(self) -> Verdict:
        """Wait until nothing is owed any more; what never comes is a breach."""
        deadline = time.monotonic() + PATIENCE
        began = time.monotonic()
        while (left := await asyncio.to_thread(self._left)) and time.monotonic() < deadline:
            await asyncio.sleep(0.2)
        self.recovery["all archived"].append(round(time.monotonic() - began, 2))
        return Verdict("in the end nothing is owed", 1, tuple(left))

    def _left(self) -> list[str]:
        """What is still to be done: sessions and journals of the dead, calls that go on, details to be asked for."""
        with database.connect(self.house.url) as connection:
            owed = pending.owed(connection, self._listens_since - RECENT)
            ongoing = connection.execute("SELECT call_id FROM cdr.call WHERE state = 'ongoing'").fetchall()
            left = [f"session {each.id} has no owner" for each in ownerless(connection)]
        left += [f"{each.call_id} is owed a {'second look' if each.refetch else 'record'}" for each in owed]
        left += [f"{row[0]} goes on" for row in ongoing]
        return left + [f"journal {name} is not adopted" for name in journals(self.house.worker)[1:]]


def command(seed: int) -> str:
    """The line that replays the run of a seed."""
    return f"python -m tests.crash kills --runs 1 --seed {seed}"


async def run(server: Server, seed: int, folder: Path) -> Run:
    """One run, to whatever end it comes."""
    began, at, plan = time.monotonic(), datetime.now(UTC), draw(seed)
    shutil.rmtree(folder, ignore_errors=True)  # what an earlier try left
    folder.mkdir(parents=True)
    (folder / "plan.txt").write_text(str(plan))
    faults: Counter[str] = Counter()
    recovery: dict[str, list[float]] = {}
    verdicts: list[Verdict] = []
    async with opened(server, folder, plan.recorder) as house:
        killer = Killer(plan, house, faults)
        try:
            verdicts = await killer.run()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the outcome of this run
            verdicts = [Verdict("the run comes to its end", 1, (f"{error!r}",))]
        recovery = dict(killer.recovery)
        if any(verdict.broken for verdict in verdicts):
            _dump(house, folder)
    report = "\n".join(line for verdict in verdicts for line in verdict.lines())
    (folder / "result.txt").write_text(report)
    return Run(
        programme=PROGRAMME,
        seed=seed,
        command=command(seed),
        commit=commit(),
        at=at.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - began, 1),
        checked=sum(verdict.checked for verdict in verdicts),
        excused=sum(verdict.excused for verdict in verdicts),
        broken=[f"{each.obligation}: {line}" for each in verdicts for line in each.broken],
        faults=dict(faults),
        recovery=recovery,
        load=round(os.getloadavg()[0], 2),
    )


def _dump(house: House, folder: Path) -> None:
    """Keep the rows of a failed run: its database is gone in a moment."""
    house.server.restart()
    with (folder / "database.sql").open("wb") as file:
        subprocess.run([house.server.cluster.programs / "pg_dump", house.url], stdout=file, check=False)


def lane(seeds: Sequence[int], root: Path, where: Path) -> None:
    """Run these one after the other, on a PostgreSQL of this lane. A process of its own."""
    failed = 0
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell starts what is in the background without the first
        signal.signal(number, signal.default_int_handler)
    with serving(f"kills {seeds[0]}", embedded.programs()) as server:
        for seed in seeds:
            outcome = asyncio.run(run(server, seed, root / str(seed)))
            ledger.append(outcome, where)
            _say(outcome, root / str(seed))
            failed += bool(outcome.broken)
            if not outcome.broken:
                shutil.rmtree(root / str(seed), ignore_errors=True)
    sys.exit(1 if failed else 0)


def _say(outcome: Run, folder: Path) -> None:
    hits = ", ".join(f"{count} x {name}" for name, count in outcome.faults.items())
    lines = [
        f"{'BROKEN' if outcome.broken else 'ok':6} seed {outcome.seed}: {outcome.checked} checked, {outcome.excused} in"
        f" gaps, {hits}, {outcome.seconds:.0f} s, load {outcome.load}",
        *(f"         {line}" for line in outcome.broken[:10]),
    ]
    if outcome.broken:
        lines.append(f"         its folder: {folder}; replay it: {outcome.command}")
    print("\n".join(lines), flush=True)


def main(arguments: Sequence[str]) -> int:
    """Run those that the ledger does not know for this code; exit code 1 if one of them broke anything."""
    options = _options(arguments)
    known = {
        each.seed for each in ledger.read(PROGRAMME, options.ledger) if each.commit == commit() and not each.broken
    }
    left = [seed for seed in range(options.seed, options.seed + options.runs) if options.runs == 1 or seed not in known]
    root = options.keep or Path(tempfile.mkdtemp(prefix="cdr-kills-"))
    root.mkdir(parents=True, exist_ok=True)
    root.chmod(0o755)
    print(f"{len(left)} runs, {options.runs - len(left)} are in the ledger already", flush=True)
    spawn = multiprocessing.get_context("spawn")
    parts = [part for number in range(options.side_by_side) if (part := left[number :: options.side_by_side])]
    lanes = [spawn.Process(target=lane, args=(part, root, options.ledger)) for part in parts]
    for each in lanes:
        each.start()
    for each in lanes:
        each.join()
    return 1 if any(each.exitcode for each in lanes) else 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.crash kills", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the first run; the next one has the next")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--side-by-side", type=int, default=1, metavar="N")
    parser.add_argument("--ledger", type=Path, default=ledger.LEDGER, help="folder of the ledger")
    parser.add_argument("--keep", type=Path, help="where the folders of failed runs are kept")
    return parser.parse_args(arguments)
