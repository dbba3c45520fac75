"""The processes of a long run: PostgreSQL, the feeder, the worker. Each keeps to its own session of the system."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from campaign.stage import RUN, STOP_TIMEOUT, environment
from longrun import calls

from etl.store import embedded, migrate

SETTINGS = ("max_connections=50",)
"""Every commit is synced, and autovacuum runs, as in the product's own server."""


def cluster(folder: Path) -> embedded.Cluster:
    return embedded.Cluster(embedded.programs(), folder / "postgres", SETTINGS)


@contextmanager
def database(folder: Path) -> Iterator[embedded.Cluster]:
    """A PostgreSQL with a migrated database; its data stays."""
    server = cluster(folder)
    server.start()
    try:
        migrate.upgrade(server.url())
        yield server
    finally:
        server.stop("fast")
        shutil.rmtree(server.socket, ignore_errors=True)


class Feeder:
    """The recorders' process. Orders are those of `longrun.feeder`."""

    def __init__(self, process: subprocess.Popen[str], ports: list[int]) -> None:
        self._process = process
        self.ports = ports
        self.pid = process.pid

    def order(self, *words: object) -> None:
        assert self._process.stdin is not None
        print(*words, file=self._process.stdin, flush=True)

    def ask(self, *words: object) -> Any:
        """An order that is answered."""
        self.order(*words)
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


@contextmanager
def feeder(folder: Path, count: int, turn: float) -> Iterator[Feeder]:
    words = (sys.executable, "-m", "longrun.feeder", str(count), str(turn))
    with (
        (folder / "feeder.log").open("wb") as log,
        subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment(),
            start_new_session=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            yield Feeder(process, json.loads(process.stdout.readline()))
        finally:
            process.kill()


@contextmanager
def worker(folder: Path, url: str, ports: list[int], http: int, refetch: float) -> Iterator[subprocess.Popen[bytes]]:
    """The real worker, asked to stop at the end."""
    config = folder / "cdr.toml"
    config.write_text(_configuration(url, ports, http, refetch), encoding="utf-8")
    words = (sys.executable, "-c", RUN, "worker", "--config", str(config))
    with (folder / "worker.log").open("ab") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, env=environment(), start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT)
        finally:
            process.kill()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _configuration(url: str, ports: list[int], http: int, refetch: float) -> str:
    head = (
        f'[database]\nurl = "{url}"\n[worker]\ndata_dir = "data"\nrefetch_after = "{refetch:g}s"\n'
        f'reconcile_every = "1m"\n[http]\nlisten = "127.0.0.1:{http}"\n'
    )
    names = (calls.name_of(index) for index in range(len(ports)))
    return head + "".join(
        f'[[recorder]]\nname = "{name}"\nhost = "127.0.0.1"\nport = {port}\nlocation = "{name.upper()}"\n'
        for name, port in zip(names, ports, strict=True)
    )
