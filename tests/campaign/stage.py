"""The processes of a campaign: a database, simulated recorders, and workers, each to be hit on its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from campaign import schedule
from campaign.proxy import Network
from campaign.recorders import HISTORY, files
from campaign.schedule import Schedule

import etl
from etl.simulator.config import SimulatorConfig
from etl.store import embedded, migrate

SOURCES = Path(etl.__file__).parent.parent
TESTS = Path(__file__).parent.parent
CONNECTIONS = 30
"""That the database takes: more than two workers and a command need, and few enough to be taken soon."""
STOP_TIMEOUT = 120.0
"""Seconds a worker may take to stop: it drains its journal for up to 20 s."""

FILES_DELAY = schedule.SETTLE_AFTER + 1
"""Seconds after its end by which a call has its file."""

RUN = "from etl.cli.main import run; run()"


@contextmanager
def database(folder: Path) -> Iterator[embedded.Cluster]:
    """A PostgreSQL with an empty, migrated database. What is committed survives a crash of it, not a power cut."""
    cluster = embedded.Cluster(
        embedded.programs(), folder / "postgres", ("fsync=off", f"max_connections={CONNECTIONS}")
    )
    cluster.start()
    try:
        migrate.upgrade(cluster.url())
        yield cluster
    finally:
        cluster.stop("immediate")
        shutil.rmtree(cluster.socket, ignore_errors=True)


def wait_for(holds: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until something holds that another process brings about; raises TimeoutError that says `what`."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(0.02)


@contextmanager
def recorders(plan: Schedule, folder: Path) -> Iterator[Mapping[str, int]]:
    """The simulated recorders of a schedule; their ports by name."""
    drawn = (str(plan.seed), str(plan.seconds), str(len(plan.recorders)))
    words = (sys.executable, "-m", "campaign.recorders", *drawn, str(folder))
    with (folder / "recorders.log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, env=environment())
    ports = folder / "ports.json"
    try:
        wait_for(lambda: ports.exists() or process.poll() is not None, 60, "simulated recorders")
        yield json.loads(ports.read_text())
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def network(
    links: Iterable[str], folder: Path, cluster: embedded.Cluster, ports: Mapping[str, int]
) -> Iterator[Network | None]:
    """A network between the workers and what the links lead to; None without links."""
    named = tuple(links)
    if not named:
        yield None
        return
    targets = {name: ports.get(name, str(cluster.socket / ".s.PGSQL.5432")) for name in named}
    made = Network(folder, targets, environment())
    try:
        wait_for(lambda: made.ready, 60, "the network")
        yield made
    finally:
        made.end()


def configuration(
    url: str,
    data_dir: Path,
    simulated: Iterable[SimulatorConfig],
    ports: Mapping[str, int],
    give_up: float = schedule.GIVE_UP,
    more: str = "",
) -> str:
    """A cdr.toml with short times; `more` goes into the table [worker]."""
    head = (
        f'[database]\nurl = "{url}"\n\n[worker]\ndata_dir = "{data_dir}"\nmargin = "{schedule.MARGIN:g}s"\n'
        f'refetch_after = "{schedule.REFETCH_AFTER:g}s"\ndetail_give_up = "{give_up:g}s"\n{more}\n'
        f'[http]\nlisten = ""\n\n[recorder_defaults]\nrequest_timeout = "{schedule.REQUEST_TIMEOUT:g}s"\n'
        f'probe_every = "{schedule.PROBE_EVERY:g}s"\n'
    )
    entries = (
        f'\n[[recorder]]\nname = "{each.name}"\nhost = "{each.host}"\nport = {ports[each.name]}\n'
        f'location = "{each.recorder_location}"\ntimezone = "{each.timezone}"\n'
        for each in simulated
    )
    return head + "".join(entries)


def history(plan: Schedule, folder: Path, ports: Mapping[str, int]) -> str:
    """The tables of cdr.toml that say where the history is."""
    if plan.history is None:
        return (
            f'\n[history.files]\nroots = ["{files(folder)}"]\ntimezone = "{plan.recorders[0].timezone}"\n'
            f'delay = "{FILES_DELAY:g}s"\n'
        )
    http = plan.history
    return (
        f'\n[history.http]\nurl = "http://127.0.0.1:{ports[HISTORY]}/verba/api"\napi_key = "{http.api_key}"\n'
        f'username = "{http.username}"\npassword = "{http.password}"\ntimezone = "{http.timezone}"\n'
        f'delay = "{schedule.HISTORY_DELAY:g}s"\n'
    )


def command(config: Path, log: Path, *words: str) -> int:
    """One `cdr` command; its exit code."""
    line = (sys.executable, "-c", RUN, *words, "--config", str(config))
    with log.open("ab") as output:
        output.write(f"\n$ cdr {' '.join(words)}\n".encode())
        output.flush()
        return subprocess.run(line, stdout=output, stderr=output, env=environment(), timeout=480).returncode


@dataclass
class WorkerProcess:
    """A worker that can be started, hit and started again; `config` is its configuration, `log` grows, `more` is added
    to its environment."""

    config: Path
    data_dir: Path
    log: Path
    more: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    _logged: int = 0

    @property
    def came_up(self) -> bool:
        """The process has got as far as to do something."""
        return b"worker started" in self.log.read_bytes()[self._logged :]

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        assert not self.running
        words = (sys.executable, "-c", RUN, "worker", "--config", str(self.config))
        with self.log.open("ab") as log:
            self._logged = log.tell()
            self.process = subprocess.Popen(words, stdout=log, stderr=log, env=environment() | dict(self.more))

    def send(self, number: signal.Signals) -> None:
        """A signal. A worker that has ended by itself is a failure of the campaign."""
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"the worker ended by itself with exit code {self.process.returncode}: see {self.log}")
        self.process.send_signal(number)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        assert self.process is not None
        self.process.wait(STOP_TIMEOUT)

    def stop(self) -> None:
        """Ask it to stop and wait for it; raises RuntimeError if it does not end as it should.

        One that is not up yet ends by the signal itself.
        """
        self.send(signal.SIGTERM)
        assert self.process is not None
        if (code := self.process.wait(STOP_TIMEOUT)) and self.came_up:
            raise RuntimeError(f"the worker stopped with exit code {code}: see {self.log}")

    def end(self) -> None:
        """Make sure that it is gone, whatever happened."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(STOP_TIMEOUT)

    def wipe(self) -> None:
        """Delete its data_dir."""
        assert not self.running
        shutil.rmtree(self.data_dir, ignore_errors=True)


def environment() -> dict[str, str]:
    """Ours, without settings of a `cdr` that may be installed here."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("CDR_")}
    return kept | {"PYTHONPATH": os.pathsep.join((str(SOURCES), str(TESTS)))}
