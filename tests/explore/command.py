"""The command: many seeds, and what became of them; one seed, and all that happened in it."""

from __future__ import annotations

import argparse
import gc
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from explore.mutants import MUTANTS, table
from explore.run import Outcome, explore, installed
from explore.schedule import draw
from explore.shrink import shrunk
from support.commit import commit
from support.ledger import Run, append
from support.postgres import fresh_database, postgresql_15, serving

BESIDE_POSTGRESQL = 500
"""In one world of so many the archive is kept in a real PostgreSQL too, if there is one."""
SWEEP = 50
"""Worlds between two sweeps of what they leave in memory."""


@dataclass
class Tally:
    """What was explored so far."""

    worlds: int = 0
    seconds: float = 0.0
    checked: int = 0
    excused: int = 0
    blows: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        self.worlds += 1
        self.seconds += outcome.seconds
        self.checked += outcome.checked
        self.excused += outcome.excused
        self.blows += Counter(step.do.name.lower() for step in outcome.schedule.steps)
        self.broken += [f"seed {outcome.schedule.seed}: {breach}" for breach in outcome.broken[:5]]


def main(arguments: Sequence[str]) -> int:
    """0: all laws held; 1: one did not, or a mutant lived; 2: bad usage."""
    asked = _parser().parse_args(arguments)
    if asked.mutants is not None:
        return _mutants(asked.mutants)
    if asked.trace is not None:
        return _trace(asked.trace)
    first, last = asked.seeds
    began, at, cpu = time.perf_counter(), datetime.now(UTC), time.process_time()
    tally = _run(range(first, last + 1), 0 if asked.postgresql == 0 else asked.postgresql)
    took = time.perf_counter() - began
    print(
        f"{tally.worlds:,} worlds, {tally.seconds / 3600:.1f} hours of theirs, in {took:.0f} s"
        f" ({tally.worlds / took * 60:,.0f} a minute; {tally.worlds / (time.process_time() - cpu) * 60:,.0f} a minute"
        f" of processor time): {tally.checked:,} obligations, {tally.excused:,} of them excused,"
        f" {len(tally.broken)} broken"
    )
    if not asked.no_ledger:
        command = "python -m tests.explore " + " ".join(arguments)
        append(
            Run(
                programme="explore",
                seed=first,
                command=command.strip(),
                commit=commit(),
                at=at.isoformat(timespec="seconds"),
                seconds=round(took, 1),
                checked=tally.checked,
                excused=tally.excused,
                broken=tally.broken,
                faults=dict(sorted(tally.blows.items())),
                load=round(os.getloadavg()[0], 1),
            )
        )
    return 1 if tally.broken else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.explore", description="Explores schedules in virtual time; see docs/exploration.md."
    )
    parser.add_argument("--seeds", type=_seeds, default=(1, 2000), metavar="A..B", help="which seeds (1..2000)")
    parser.add_argument("--trace", type=int, metavar="SEED", help="tell all that happens in the world of one seed")
    parser.add_argument(
        "--mutants",
        type=int,
        metavar="N",
        help="break the product in each way known, and say within how many of N seeds that is found",
    )
    parser.add_argument(
        "--postgresql",
        type=int,
        default=BESIDE_POSTGRESQL,
        metavar="N",
        help=f"keep the archive of one world in N in PostgreSQL too; 0: of none ({BESIDE_POSTGRESQL})",
    )
    parser.add_argument("--no-ledger", action="store_true", help="add no line to tests/ledger/explore.jsonl")
    return parser


def _seeds(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)(?:\.\.(\d+))?", text)
    if found is None or int(found[2] or found[1]) < int(found[1]):
        raise argparse.ArgumentTypeError(f'write "7" or "1..10000", not "{text}"')
    return int(found[1]), int(found[2] or found[1])


def _run(seeds: range, beside: int) -> Tally:
    tally = Tally()
    gc.disable()
    try:
        with installed() as folder, _postgresql(seeds, beside) as database:
            for seed in seeds:
                real = database if database and seed % beside == 0 else None
                outcome = explore(draw(seed), folder, real)
                tally.add(outcome)
                if outcome.broken:
                    _report(outcome, folder)
                if tally.worlds % SWEEP == 0:
                    gc.collect()
                    _progress(tally, len(seeds))
    finally:
        gc.enable()
    return tally


@contextmanager
def _postgresql(seeds: range, beside: int) -> Iterator[str | None]:
    """The URL of a database, if there are worlds that want one and a PostgreSQL to keep it."""
    programs = postgresql_15() if beside and any(seed % beside == 0 for seed in seeds) else None
    if programs is None:
        with nullcontext():
            yield None
        return
    with serving("explore", programs) as server, fresh_database(server) as url:
        yield url


def _report(outcome: Outcome, folder: Path) -> None:
    seed = outcome.schedule.seed
    print(f"\nseed {seed} breaks a law; `python -m tests.explore --trace {seed}` tells all of it", flush=True)
    for breach in outcome.broken[:5]:
        print(f"  {breach}")
    smaller = shrunk(outcome, folder)
    print(f"what is left of it with the same breach:\n{smaller.schedule}\n" + "\n".join(smaller.trace[-80:]))
    for breach in smaller.broken[:5]:
        print(f"  {breach}", flush=True)


def _progress(tally: Tally, of: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{tally.worlds:,} of {of:,}, {len(tally.broken)} broken", end="", file=sys.stderr, flush=True)


def _trace(seed: int) -> int:
    with installed() as folder:
        outcome = explore(draw(seed), folder)
    print(outcome.schedule, *outcome.trace, *(f"BROKEN: {each}" for each in outcome.broken), sep="\n")
    return 1 if outcome.broken else 0


def _mutants(seeds: int) -> int:
    print(f"| what is broken | found by | seeds until then (of {seeds:,}) |\n|---|---|---|", flush=True)
    lived = 0
    for line in table(MUTANTS, seeds):
        lived += not line.found
        print(line, flush=True)
    return 1 if lived else 0
