"""A PostgreSQL for measurements, as the product's own embedded one runs: every commit synced."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import psycopg
from psycopg import sql

from etl.store import embedded, migrate

_numbers = count(1)
_TICKS = os.sysconf("SC_CLK_TCK")


@contextmanager
def serving(*more: str) -> Iterator[embedded.Cluster]:
    """A running server, gone afterwards. It notes when each transaction committed: that is how latency is read.

    `more` are settings beside.
    """
    home = Path(tempfile.mkdtemp(prefix="cdr-bench-postgres-"))
    home.chmod(0o755)  # as root, the server belongs to another user
    settings = ("max_connections=50", "track_commit_timestamp=on", *more)
    cluster = embedded.Cluster(embedded.programs(), home / "data", settings)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop("immediate")
        shutil.rmtree(home, ignore_errors=True)
        shutil.rmtree(cluster.socket, ignore_errors=True)


def fresh(cluster: embedded.Cluster) -> str:
    """The URL of a new, migrated database."""
    name = f"bench_{next(_numbers)}"
    with psycopg.connect(cluster.url(), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    migrate.upgrade(cluster.url(name))
    return cluster.url(name)


def cpu(pid: int) -> float:
    """Seconds of CPU that a process, all its threads, and the children it has waited for have used."""
    fields = _stat(pid)
    return sum(int(fields[index]) for index in (11, 12, 13, 14)) / _TICKS


def server_cpu(cluster: embedded.Cluster) -> float:
    """Seconds of CPU of the server with all its processes, those that have ended too."""
    postmaster = int((cluster.data / "postmaster.pid").read_text().split()[0])
    used = 0.0
    for child in _children(postmaster):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended: the next line counts it
            used += cpu(child)
    return cpu(postmaster) + used


def _children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if int(_stat(int(entry.name))[1]) == parent:
                    found.append(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on: the name before it may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
