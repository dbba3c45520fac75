"""A reconciliation of a long list: the recorder, the run and PostgreSQL in processes of their own.

`python -m benchmarks.reconcile serve CALLS FILE` is the recorder: it writes its port, and for each number on stdin
lets half as many calls end and half as many begin, unheard; FILE then holds its list. `python -m benchmarks.reconcile
run URL PORT` does one run and writes what it took.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lxml import etree

from benchmarks import postgres
from benchmarks.measure import Figure, Peer, timed
from benchmarks.recorder import NAME, config
from etl.config import Settings
from etl.jobs import reconcile_all
from etl.simulator.simulator import Simulator
from etl.store.database import connect
from etl.store.embedded import Cluster


@dataclass(frozen=True, slots=True)
class Run:
    """One run: its seconds, its peak memory above that of the idle process, and what it did."""

    seconds: float
    peak: int
    actions: dict[str, int]


def figures(cluster: Cluster, calls: int, shares: tuple[float, ...], repetitions: int) -> list[Figure]:
    """`calls` calls listed against as many stored, of which a share differs; before that, all are new."""
    with tempfile.TemporaryDirectory(prefix="cdr-bench-list-") as folder:
        file = Path(folder) / "list.xml"
        with _recorder(calls, file) as recorder:
            url, port = postgres.fresh(cluster), recorder.port
            found = [_figure("all of them new", calls, [_run(url, port)], file)]
            for share in shares:
                runs = []
                for _ in range(repetitions):
                    recorder.change(round(calls * share))
                    runs.append(_run(url, port))
                found.append(_figure(f"{share:.0%} differ", calls, runs, file))
    return found


def _figure(told: str, calls: int, runs: list[Run], file: Path) -> Figure:
    raw = file.read_bytes()
    peak = max(run.peak for run in runs) / len(raw)
    name = f"{calls:,} listed, {told}; peak memory {peak:.1f} times the list's {len(raw) / 1e6:.1f} MB"
    parsed = tuple(timed(lambda: etree.fromstring(raw)) for _ in runs)
    return Figure("reconcile", name, "run", tuple(run.seconds for run in runs), (Peer("lxml's parse", parsed),))


# The recorder ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Recorder:
    port: int
    process: subprocess.Popen[str]

    def change(self, calls: int) -> None:
        """Let as many calls differ from what was told before."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(calls, file=self.process.stdin, flush=True)
        self.process.stdout.readline()


@contextmanager
def _recorder(calls: int, file: Path) -> Iterator[_Recorder]:
    command = [sys.executable, "-m", "benchmarks.reconcile", "serve", str(calls), str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield _Recorder(int(process.stdout.readline()), process)
        finally:
            process.terminate()


async def _serve(calls: int, file: Path) -> None:
    async with Simulator(config(0)) as simulator:
        ongoing = [simulator.begin_call() for _ in range(calls)]
        _write_list(simulator, file)
        print(simulator.port, flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            half = int(line) // 2
            for call in ongoing[:half]:
                simulator.end_call(call)
            ongoing = ongoing[half:] + [simulator.begin_call() for _ in range(half)]
            _write_list(simulator, file)
            print("changed", flush=True)


def _write_list(simulator: Simulator, file: Path) -> None:
    world = simulator.world
    listed = [(call.call_id, world.list_fields(call)) for call in world.ongoing.values()]
    file.write_bytes(simulator._wire().call_list("1", listed))


# The run --------------------------------------------------------------------------------------------------------


def _run(url: str, port: int) -> Run:
    command = [sys.executable, "-m", "benchmarks.reconcile", "run", url, str(port)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Run(**json.loads(done.stdout.splitlines()[-1]))


def _one_run(url: str, port: int) -> Run:
    recorder = {"name": NAME, "host": "127.0.0.1", "port": port, "request_timeout": "60s"}
    with tempfile.TemporaryDirectory(prefix="cdr-bench-reconcile-") as folder:
        settings = Settings.model_validate(
            {"database": {"url": url}, "worker": {"data_dir": folder}, "recorder": [recorder]}
        )
        connect(url).close()
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        idle, began = _memory("VmRSS"), time.perf_counter()
        [report] = asyncio.run(reconcile_all.reconcile(settings, [], lambda: connect(url)))
        seconds = time.perf_counter() - began
    assert report.settled, report.failure
    return Run(seconds, _memory("VmHWM") - idle, dict(Counter(action.act.value for action in report.actions)))


def _memory(kind: str) -> int:
    """Bytes, as the operating system counts them for this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(kind))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(_serve(int(sys.argv[2]), Path(sys.argv[3])))
    else:
        measured = _one_run(sys.argv[2], int(sys.argv[3]))
        print(json.dumps({"seconds": measured.seconds, "peak": measured.peak, "actions": measured.actions}))
