"""Runs targets with atheris, keeps what they found, and writes the ledger; see docs/fuzzing.md.

python -m tests.fuzz run --for 60s [TARGET …]     each target for so long, in a process of its own
python -m tests.fuzz replay TARGET FILE           one input again, with the traceback
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fuzz.keep import keep
from fuzz.law import CORPUS
from fuzz.targets import TARGETS
from support import ledger
from support.commit import commit

from etl.config import duration

ROOT = Path(__file__).parent.parent.parent
GRACE = 900.0
"""Seconds that a target may take beyond its time: it starts, and its last input may be slow."""
MEMORY = 2000
"""Megabytes that a target's process may take."""
SLOWEST = 20
"""Seconds that one input may take on a busy machine."""
_RUNS = re.compile(r"stat::number_of_executed_units:\s*(\d+)")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one target's run ended: inputs tried, and the file with the one that broke its law (empty: it holds)."""

    target: str
    runs: int
    seconds: float
    kept: int
    broken: str
    said: str


def main(arguments: Sequence[str]) -> int:
    """Exit code 1 if a law is broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run")
    run.add_argument("--for", dest="seconds", type=lambda text: duration(text).total_seconds(), default=60.0)
    run.add_argument("--seed", type=int, default=1)
    run.add_argument("targets", nargs="*", metavar="TARGET", help=f"all, or some of: {', '.join(TARGETS)}")
    again = commands.add_parser("replay")
    again.add_argument("target", choices=TARGETS)
    again.add_argument("file", type=Path)
    options = parser.parse_args(arguments)
    if options.command == "replay":
        TARGETS[options.target].law(options.file.read_bytes())
        print("the law holds")
        return 0
    if unknown := set(options.targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(unknown)}; there are {', '.join(TARGETS)}")
    outcomes = [_fuzz(name, options.seconds, options.seed) for name in options.targets or TARGETS]
    return 1 if any(outcome.broken for outcome in outcomes) else 0


def _fuzz(name: str, seconds: float, seed: int) -> Outcome:
    """One target for so long, with a line in the ledger."""
    began, clock = datetime.now(UTC), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cdr-fuzz-") as folder:
        where = Path(folder)
        code, said = _engine(name, seconds, seed, where)
        outcome = _outcome(name, where, code, said, time.monotonic() - clock)
    print(
        f"{name}: {outcome.runs} inputs in {outcome.seconds:.0f} s, {outcome.kept} new ones kept, "
        + ("the law holds" if not outcome.broken else "BROKEN"),
        flush=True,
    )
    if outcome.broken:
        print(f"{outcome.said}\nreplay: .venv/bin/python -m tests.fuzz replay {name} {outcome.broken}", flush=True)
    ledger.append(
        ledger.Run(
            programme="fuzz",
            seed=seed,
            command=f"make fuzz TARGET={name} SEED={seed} FOR={seconds:g}s",
            commit=commit(),
            at=began.isoformat(timespec="seconds"),
            seconds=round(outcome.seconds, 1),
            checked=outcome.runs,
            broken=[f"{Path(outcome.broken).name}: {_last_line(outcome.said)}"] if outcome.broken else [],
            faults={name: outcome.runs},
            load=round(os.getloadavg()[0], 2),
        )
    )
    return outcome


def _engine(name: str, seconds: float, seed: int, where: Path) -> tuple[int, str]:
    """Run atheris over seeds and corpus; what it finds new lies in `where` afterwards."""
    found = where / "found"
    found.mkdir()
    for number, data in enumerate(TARGETS[name].inputs()):
        (found / f"seed-{number}").write_bytes(data)
    options = [
        f"-max_total_time={seconds:.0f}",
        f"-seed={seed}",
        f"-rss_limit_mb={MEMORY}",
        f"-timeout={SLOWEST}",
        f"-artifact_prefix={where}/broken-",
        "-max_len=8192",
        "-print_final_stats=1",
        "-verbosity=0",
        str(found),
    ]
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "tests.fuzz.engine", name, *options],
            cwd=ROOT,
            capture_output=True,
            timeout=seconds + GRACE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 1, "the process did not end: one input takes for ever"
    return ended.returncode, (ended.stdout + ended.stderr).decode("utf-8", "replace")


def _outcome(name: str, where: Path, code: int, said: str, seconds: float) -> Outcome:
    """Take over what is worth keeping."""
    runs = int(found[1]) if (found := _RUNS.search(said)) else 0
    broken = "no input was kept: run it again with the same seed" if code else ""
    for path in where.glob("broken-*"):
        kept_as = CORPUS / name / f"broken-{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
        kept_as.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, kept_as)
        broken = str(kept_as.relative_to(ROOT))
    new = [path for path in sorted((where / "found").iterdir()) if not path.name.startswith("seed-")]
    kept = keep(TARGETS[name], [path.read_bytes() for path in new]) if not broken else 0
    return Outcome(name, runs, seconds, kept, broken, _traceback(said))


def _traceback(said: str) -> str:
    """What Python said of the input that broke the law, or else the fuzzer's last words."""
    _, found, told = said.partition("=== Uncaught Python exception: ===")
    return told.partition("\nINFO: ")[0].partition("\nWARNING: ")[0].strip() if found else said[-2000:]


def _last_line(said: str) -> str:
    return next((line.strip() for line in said.splitlines() if line.strip()), "")[:200]
