"""Kills each scenario right before every step that matters, goes on with it, and compares with the one never killed.

The same once more with the answer of every exchange with the database lost instead. A run of a scenario is a child of
this process, and has a copy of the prepared database and folder for itself.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from crash.fuse import KILLED, Fuse, Way
from crash.scenarios import SCENARIOS, Place, Scenario
from support import ledger
from support.commit import commit
from support.ledger import Run
from support.postgres import Server, connection, serving

from etl.errors import CdrError
from etl.store import embedded

PROGRAMME = "points"
PATIENCE = 120.0
"""Seconds for one run of a scenario."""
GAVE_UP = 3
"""Exit code of a run that ended with an error of ours, as a command does whose database is lost."""
UNLIKE = {
    "call": ["recorded_at"],
    "fact": [],
    "session": ["worker", "fold"],
    "gap": ["id"],
    "quarantine": ["id", "digest", "recorded_at", "resolved_at"],
    "expiry": ["id", "moved_at"],
    "erased_call": ["erased_at"],
}
"""What differs between two runs that did the same: times of day, numbers that are drawn, and what has a path in it."""
OURS = frozenset(("received", "steps", "log"))
"""Files of the harness in the folder of a run."""


@dataclass
class Trial:
    """A scenario made ready: copies of it are run, killed, and looked at."""

    server: Server
    scenario: Scenario
    home: Path
    _numbers: Iterator[int] = field(default_factory=count)

    def prepare(self) -> None:
        self.template = self.server.create(self._name("ready"), template="migrated")
        ready = self.home / "ready"
        ready.mkdir()
        self._child(lambda: self.scenario.prepare(Place(self.template, ready)), ready)

    def _name(self, what: str | int) -> str:
        return f"{self.scenario.name}_{what}"

    @contextmanager
    def place(self) -> Iterator[Place]:
        """A copy for one run."""
        number = next(self._numbers)
        home = self.home / str(number)
        shutil.copytree(self.home / "ready", home)
        url = self.server.create(self._name(number), template=self._name("ready"))
        try:
            yield Place(url, home)
        finally:
            self.server.drop(self._name(number))
            shutil.rmtree(home)

    def references(self) -> list[Any]:
        """What must come out: by how many messages were received, or one thing only."""
        found = []
        for stage in range(self.scenario.stages + 1):
            with self.place() as place:
                cut = replace(place, cut=stage if stage < self.scenario.stages else None)
                self._child(lambda cut=cut: self.scenario.act(cut), place.home)  # type: ignore[misc]
                self._child(lambda place=place: self.scenario.recover(place), place.home)  # type: ignore[misc]
                found.append(self.outcome(place))
        return found

    def steps(self, way: Way) -> int:
        """How many there are."""
        with self.place() as place:
            self._child(lambda: _counted(self.scenario, place, way), place.home)
            return int((place.home / "steps").read_text())

    def breach(self, way: Way, at: int, references: Sequence[Any]) -> str:
        """What is wrong after a run that was struck at this step; empty where nothing is."""
        with self.place() as place:
            try:
                self._child(lambda: _struck(self.scenario, place, way, at), place.home)
                self._child(lambda: self.scenario.recover(place), place.home)
            except ChildFailed as error:
                return str(error)
            received = len(_read(place.home / "received"))
            found = self.outcome(place)
        # What was committed when the process died, but not yet told, may be there too.
        allowed = references[received : received + 2] if self.scenario.stages else references
        return "" if found in allowed else _difference(allowed[0], found)

    def outcome(self, place: Place) -> dict[str, Any]:
        """All that must be the same."""
        with connection(place.url) as opened, opened.transaction():
            found: dict[str, Any] = {}
            for table in self.scenario.tables:
                query = f"SELECT (to_jsonb(t) - %s::text[])::text AS row FROM cdr.{table} t ORDER BY 1"
                rows = opened.execute(query.encode(), [UNLIKE[table]])
                found[table] = [row[0].replace(str(place.home), "") for row in rows]
            if self.scenario.run_counts is not None:
                runs = "SELECT result, counts FROM cdr.backfill_run ORDER BY started_at DESC LIMIT 1"
                result, counts = opened.execute(runs).fetchone() or (None, {})
                found["run"] = [result, *(counts.get(name, 0) for name in self.scenario.run_counts)]
            months = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname ~ '^(call|fact)_'  ORDER BY 1"
            found["partitions"] = [row[0] for row in opened.execute(months)]
        found["files"] = [_described(path, place.home) for path in sorted(place.home.rglob("*"))
                          if path.name not in OURS and not _in_damaged(path)]  # fmt: skip
        return found

    def _child(self, work: Callable[[], None], home: Path) -> None:
        """Do it in a process of its own. Raises ChildFailed where it neither ends as it should nor by its fuse."""
        child = os.fork()
        if not child:
            _live_and_die(work, home / "log")
        deadline = time.monotonic() + PATIENCE
        while not (ended := os.waitpid(child, os.WNOHANG))[0]:
            if time.monotonic() > deadline:
                os.kill(child, 9)
                os.waitpid(child, 0)
                raise ChildFailed(f"it has not ended after {PATIENCE:g} s")
            time.sleep(0.003)
        code = os.waitstatus_to_exitcode(ended[1])
        if code not in (0, KILLED, GAVE_UP):
            told = (home / "log").read_text()
            raise ChildFailed(f"it ended with {code}: {' '.join(told.split())[-300:]}")


class ChildFailed(Exception):
    """A run of a scenario ended in a way that no kill explains."""


def _live_and_die(work: Callable[[], None], log: Path) -> None:
    """The life of a child. Never returns."""
    code = 1
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        work()
        code = 0
    except CdrError as error:
        sys.stderr.write(f"{error}\n")
        code = GAVE_UP
    except BaseException:  # noqa: BLE001 - whatever it is, the parent has to hear of it
        traceback.print_exc(file=sys.stderr)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _counted(scenario: Scenario, place: Place, way: Way) -> None:
    fuse = Fuse(way)
    fuse.install()
    scenario.act(place)
    (place.home / "steps").write_text(str(fuse.count))


def _struck(scenario: Scenario, place: Place, way: Way, at: int) -> None:
    Fuse(way, at).install()
    scenario.act(place)


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _in_damaged(path: Path) -> bool:
    """How much of a damaged journal was archived and deleted before it was set aside depends on the kill."""
    return any(".damaged-" in folder.name for folder in path.parents)


def _described(path: Path, home: Path) -> str:
    """A file or folder; of a manifest what matters, of the files that it lists their checksums stand in it."""
    name = str(path.relative_to(home))
    if path.name != "manifest.json":
        return name
    manifest = json.loads(path.read_text())
    return f"{name}: {[(file['path'], file['rows'], file['sha256']) for file in manifest['files']]}"


def _difference(wanted: dict[str, Any], found: dict[str, Any]) -> str:
    for name, value in wanted.items():
        if found[name] != value:
            missing = [row for row in value if row not in found[name]]
            strange = [row for row in found[name] if row not in value]
            return f"{name} differs: without {str(missing)[:400]}, with {str(strange)[:400]}"
    return "nothing differs"


def run(server: Server, scenario: Scenario, home: Path, every: int, seed: int) -> Run:
    """Strike a scenario at every step, or every so many-th."""
    began, at = time.monotonic(), datetime.now(UTC)
    trial = Trial(server, scenario, home)
    trial.prepare()
    references = trial.references()
    struck: dict[str, int] = {}
    broken: list[str] = []
    for way in Way:
        total = trial.steps(way)
        chosen = range(1 + Random(f"{seed} {scenario.name} {way}").randrange(every), total + 1, every)
        for step in chosen:
            if breach := trial.breach(way, step, references):
                broken.append(f"{way} {step} of {total}: {breach}")
        struck[way.value] = len(chosen)
        print(f"{scenario.name}: {way}: {len(chosen)} of {total} steps, {len(broken)} breaches", flush=True)
    return Run(
        programme=PROGRAMME,
        seed=seed,
        command=f"python -m tests.crash points {scenario.name} --every {every} --seed {seed}",
        commit=commit(),
        at=at.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - began, 1),
        checked=sum(struck.values()),
        broken=broken,
        faults=struck,
        load=round(os.getloadavg()[0], 2),
    )


def main(arguments: Sequence[str]) -> int:
    """Strike the scenarios; exit code 1 if any was not as if it had never been killed."""
    options = _options(arguments)
    failed = False
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell starts what is in the background without the first
        signal.signal(number, signal.default_int_handler)
    root = Path(tempfile.mkdtemp(prefix="cdr-points-"))
    try:
        with serving("points", embedded.programs()) as server:
            for name in options.scenarios or SCENARIOS:
                (root / name).mkdir()
                outcome = run(server, SCENARIOS[name], root / name, options.every, options.seed)
                for line in outcome.broken:
                    print(f"BROKEN {name}: {line}", flush=True)
                if options.ledger:
                    ledger.append(outcome, options.ledger)
                failed = failed or bool(outcome.broken)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return 1 if failed else 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.crash points", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"of {', '.join(SCENARIOS)}; default: all")
    parser.add_argument("--every", type=int, default=1, metavar="K", help="only each K-th step, from one drawn by SEED")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ledger", type=Path, help="folder of the ledger to write to")
    return parser.parse_args(arguments)
