"""The live path: a recorder, the worker and PostgreSQL, each in processes of their own.

Everything is measured from outside: CPU by the operating system's account of each process, latency by what
PostgreSQL says of the moment at which a call's row was committed (`track_commit_timestamp`).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks import bare, postgres
from benchmarks.measure import Figure, Peer
from benchmarks.recorder import NAME
from etl.store.database import Connection, connect
from etl.store.embedded import Cluster

WARM_UP = 4.0
"""Seconds until all four kinds of document flow: calls last a second, and a record is asked for again after two."""
SETTLE = 2.0
PATIENCE = 30.0
SUSTAINED = timedelta(seconds=1)
"""A rate is sustained if every call that ended is complete, and 99 of 100 are within this time."""

_LATENCY = """
SELECT extract(epoch FROM pg_xact_commit_timestamp(c.xmin) - f.observed_at)::float8
FROM cdr.fact f JOIN cdr.call c USING (call_id, id_time)
WHERE f.kind = 'end' AND f.observed_at >= %s AND f.observed_at < %s AND c.state = 'complete'
"""
_ENDED = "SELECT count(*) FROM cdr.fact WHERE kind = 'end' AND observed_at >= %s AND observed_at < %s"
_SUBSCRIBED = "SELECT count(*) FROM cdr.session WHERE subscribed_at IS NOT NULL"


@dataclass(frozen=True, slots=True)
class Window:
    """What happened in some seconds: calls that ended, and for those that became complete how long it took."""

    seconds: float
    ended: int
    waits: tuple[float, ...]
    worker_cpu: float
    server_cpu: float
    recorder_cpu: float

    def percentile(self, share: float) -> float:
        ordered = sorted(self.waits)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else float("inf")

    @property
    def sustained(self) -> bool:
        return len(self.waits) == self.ended > 0 and self.percentile(0.99) < SUSTAINED.total_seconds()


@dataclass(frozen=True, slots=True)
class Run:
    """One run at one rate: its windows, and seconds per call of a bare COPY of its rows."""

    rate: float
    windows: tuple[Window, ...]
    copied: tuple[float, ...]

    @property
    def sustained(self) -> bool:
        return all(window.sustained for window in self.windows)


def figures(run: Run) -> list[Figure]:
    """The figures of a run at a rate that was sustained."""
    part = f"live, {run.rate:g} calls/s (start, end, detail, refetch)"
    copy = Peer(bare.NAME, run.copied)
    windows = run.windows

    def per_call(seconds: Iterator[float]) -> tuple[float, ...]:
        return tuple(each / max(len(window.waits), 1) for each, window in zip(seconds, windows, strict=True))

    return [
        Figure(part, "time", "call", per_call(window.seconds for window in windows), (copy,)),
        Figure(part, "CPU of the worker", "call", per_call(window.worker_cpu for window in windows), (copy,)),
        Figure(part, "CPU of PostgreSQL", "call", per_call(window.server_cpu for window in windows), (copy,)),
        Figure(part, "CPU of the simulated recorder", "call", per_call(window.recorder_cpu for window in windows)),
        Figure(part, "end read to record committed, p50", "call", tuple(each.percentile(0.50) for each in windows)),
        Figure(part, "end read to record committed, p99", "call", tuple(each.percentile(0.99) for each in windows)),
    ]


def ramp(cluster: Cluster, rates: Sequence[float], seconds: float) -> list[Figure]:
    """The highest of ascending rates that was sustained; nothing where already the first was not."""
    best: Run | None = None
    for rate in rates:
        tried = run(cluster, rate, seconds, 1)
        if not tried.sustained:
            break
        best = tried
    if best is None:
        return []
    name = f"at the highest rate sustained: {best.rate:g} calls/s (of {', '.join(f'{rate:g}' for rate in rates)})"
    return [Figure("live, ramp", name, "call", tuple(each.seconds / each.ended for each in best.windows))]


def run(cluster: Cluster, rate: float, seconds: float, windows: int) -> Run:
    """Run at `rate` calls per second for `windows` windows of `seconds` each, behind the time to warm up."""
    url = postgres.fresh(cluster)
    with ExitStack() as stack:
        recorder, port = stack.enter_context(_recorder(rate))
        worker = stack.enter_context(_worker(url, port))
        connection = stack.enter_context(connect(url, application="bench"))
        _until_subscribed(connection, worker)
        time.sleep(WARM_UP)
        spans = [_observe(seconds, cluster, worker.pid, recorder.pid) for _ in range(windows)]
        time.sleep(SETTLE)
        found = tuple(span.window(connection) for span in spans)
    with connect(url, application="bench") as connection:
        rows = bare.taken(connection)
        ((calls,),) = connection.execute("SELECT count(*) FROM cdr.call")
        connection.commit()
        return Run(rate, found, tuple(bare.seconds(connection, rows) / calls for _ in range(windows)))


@dataclass(frozen=True, slots=True)
class _Span:
    start: datetime
    end: datetime
    worker_cpu: float
    server_cpu: float
    recorder_cpu: float

    def window(self, connection: Connection) -> Window:
        with connection.transaction():
            waits = [row[0] for row in connection.execute(_LATENCY, [self.start, self.end])]
            ((ended,),) = connection.execute(_ENDED, [self.start, self.end])
        length = (self.end - self.start).total_seconds()
        return Window(length, ended, tuple(waits), self.worker_cpu, self.server_cpu, self.recorder_cpu)


def _observe(seconds: float, cluster: Cluster, worker: int, recorder: int) -> _Span:
    def used() -> tuple[float, float, float]:
        return postgres.cpu(worker), postgres.server_cpu(cluster), postgres.cpu(recorder)

    start, before = datetime.now(UTC), used()
    time.sleep(seconds)
    end, after = datetime.now(UTC), used()
    return _Span(start, end, *(late - early for early, late in zip(before, after, strict=True)))


@contextmanager
def _recorder(rate: float) -> Iterator[tuple[subprocess.Popen[str], int]]:
    command = [sys.executable, "-m", "benchmarks.recorder", str(rate)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, int(process.stdout.readline())
        finally:
            process.terminate()


@contextmanager
def _worker(url: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    with tempfile.TemporaryDirectory(prefix="cdr-bench-worker-") as name:
        folder = Path(name)
        file = folder / "cdr.toml"
        file.write_text(_configuration(url, port), encoding="utf-8")
        with (folder / "log").open("wb") as log, subprocess.Popen(_command(file), stderr=log) as process:
            try:
                yield process
            finally:
                process.terminate()


def _command(file: Path) -> list[str]:
    return [sys.executable, "-c", "from etl.cli.main import run; run()", "worker", "--config", str(file)]


def _configuration(url: str, port: int) -> str:
    return (
        f'[database]\nurl = "{url}"\n[worker]\ndata_dir = "data"\nrefetch_after = "2s"\n[http]\nlisten = ""\n'
        f'[[recorder]]\nname = "{NAME}"\nhost = "127.0.0.1"\nport = {port}\n'
    )


def _until_subscribed(connection: Connection, worker: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and worker.poll() is None:
        with connection.transaction():
            if connection.execute(_SUBSCRIBED).fetchone() != (0,):
                return
        time.sleep(0.1)
    raise RuntimeError("the worker did not subscribe")
