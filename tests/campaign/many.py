"""Many campaigns side by side, each in a process of its own with its own ports and database, and all in the ledger.

Whatever becomes of a campaign is written down: one that breaks an obligation, that fails by itself, or that never ends.
Those keep their folder.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from campaign import harm
from campaign.run import DATA, seconds_of
from support import ledger
from support.commit import commit
from support.ledger import Run

from etl.store import embedded

PROGRAMME = "campaign"
ALLOWANCE = 900.0
"""Seconds that a campaign may take beyond its own, on a machine that is busy with others."""


_running: set[subprocess.Popen[bytes]] = set()
_interrupted = threading.Event()


def _interrupt() -> None:
    """Have those that run clean up and end: what was cut short by us is no result."""
    _interrupted.set()
    for process in tuple(_running):
        process.terminate()


@dataclass(frozen=True, slots=True)
class Campaign:
    """What is the same for all of them, and the seed of one; `folder` is its own."""

    seed: int
    seconds: float
    recorders: int
    folder: Path

    @property
    def command(self) -> str:
        """The line that replays it."""
        more = f" --recorders {self.recorders}" if self.recorders != 3 else ""
        return f"python -m tests.campaign --seed {self.seed} --for {self.seconds:g}s{more}"

    def run(self, commit_: str) -> Run:
        """Run it to its end, whatever that is."""
        began, at = time.monotonic(), datetime.now(UTC)
        result = self.folder / "result.json"
        words = (sys.executable, *self.command.split()[1:], "--keep", str(self.folder), "--result", str(result))
        with (self.folder / "campaign.log").open("wb") as log:
            process = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
        _running.add(process)
        why = _wait(process, self.seconds + ALLOWANCE)
        _running.discard(process)
        if why or not result.exists():
            _clear(process, self.folder)
            said = (self.folder / "campaign.log").read_text(errors="replace").strip().splitlines()
            last = said[-1] if said else "without a word"
            last = last.replace(str(self.folder), "FOLDER").replace(sys.executable, "python")  # the ledger travels
            why = f"{why or 'the campaign failed by itself'}: {last}"
        told = json.loads(result.read_text()) if result.exists() else {"checked": 0, "broken": [why]}
        if why and not told["broken"]:
            told["broken"] = [why]
        return Run(
            programme=PROGRAMME,
            seed=self.seed,
            command=self.command,
            commit=commit_,
            at=at.isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - began, 1),
            load=round(os.getloadavg()[0], 2),
            **told,
        )


def _wait(process: subprocess.Popen[bytes], seconds: float) -> str:
    """Why the campaign did not come to a verdict; empty where it did."""
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        return f"the campaign had not ended after {seconds:g} s"
    return "" if code in (0, 1) else f"the campaign failed by itself with exit code {code}"


def _clear(process: subprocess.Popen[bytes], folder: Path) -> None:
    """End what a campaign that failed has left running."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    cluster = embedded.Cluster(embedded.programs(), folder / "postgres")
    cluster.stop("immediate")
    shutil.rmtree(cluster.socket, ignore_errors=True)
    harm.unmount(folder / DATA)


def main(arguments: Sequence[str]) -> int:
    """Run the campaigns that the ledger does not know for this code; exit code 1 if one of them broke anything."""
    options = _options(arguments)
    commit_ = commit()
    known = _known(commit_, options.ledger)
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
    root = Path(tempfile.mkdtemp(prefix="cdr-campaigns-", dir=options.keep)).resolve()
    root.chmod(0o755)
    planned = [Campaign(seed, options.seconds, options.recorders, root / str(seed)) for seed in options.seeds]
    left = [each for each in planned if options.again or each.command not in known]
    print(f"{len(left)} campaigns, {len(planned) - len(left)} are in the ledger already; commit {commit_}", flush=True)
    with ThreadPoolExecutor(options.side_by_side) as pool:
        try:
            runs = list(pool.map(lambda each: _recorded(each, commit_, options.ledger), left))
        except KeyboardInterrupt:
            print("those under way are ended first, and are in no ledger", file=sys.stderr)
            _interrupt()
            pool.shutdown(cancel_futures=True)
            return 130
    failed = sum(bool(run.broken) for run in runs)
    print(f"{len(left) - failed} of {len(left)} campaigns broke nothing")
    return 1 if failed else 0


def _known(commit_: str, folder: Path) -> set[str]:
    """What broke nothing with this code; a tree that was changed since its commit is like no other."""
    runs = ledger.read(PROGRAMME, folder) if not commit_.endswith("+") else []
    return {run.command for run in runs if run.commit == commit_ and not run.broken}


def _recorded(campaign: Campaign, commit_: str, folder: Path) -> Run:
    """Run it, write it down at once, and say so."""
    campaign.folder.mkdir(parents=True)
    run = campaign.run(commit_)
    if _interrupted.is_set():
        return run
    ledger.append(run, folder)
    print("\n".join(_told(campaign, run)), flush=True)
    if not run.broken:
        shutil.rmtree(campaign.folder, ignore_errors=True)
    return run


def _told(campaign: Campaign, run: Run) -> Iterator[str]:
    mark = "BROKEN" if run.broken else "ok"
    hits = sum(run.faults.values())
    yield f"{mark:6} {run.command}: {run.checked} checked, {hits} faults, {run.seconds:.0f} s, load {run.load}"
    yield from (f"         {line}" for line in run.broken[:10])
    if run.broken:
        yield f"         its folder: {campaign.folder}; replay it: {run.command} --keep FOLDER"


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign many", description=__doc__)
    parser.add_argument("--seeds", type=_seeds, required=True, metavar="1000..1199", help="or 1,7,9")
    parser.add_argument("--for", dest="seconds", type=seconds_of, default=60.0, metavar="60s")
    parser.add_argument("--recorders", type=int, choices=range(1, 9), default=3, metavar="1..8")
    parser.add_argument("--side-by-side", type=int, default=os.cpu_count() or 1, metavar="N")
    parser.add_argument("--again", action="store_true", help="those too that the ledger knows for this code")
    parser.add_argument("--ledger", type=Path, default=ledger.LEDGER, help="folder of the ledger")
    parser.add_argument("--keep", type=Path, help="where the folders of failed campaigns are kept")
    return parser.parse_args(arguments)


def _seeds(text: str) -> Sequence[int]:
    first, dots, last = text.partition("..")
    if dots:
        return range(int(first), int(last) + 1)
    return [int(each) for each in text.split(",")]
