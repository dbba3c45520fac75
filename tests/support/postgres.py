"""Real PostgreSQL servers for tests: the embedded one, and Debian's 15 where its programs are found."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psycopg
from psycopg import sql

from etl.store import database, embedded, migrate

_FAST = ("fsync=off", "full_page_writes=off", "max_connections=40")
_numbers = count(1)


@dataclass(frozen=True)
class Server:
    """A server of this test run. It loses data in a power cut of the machine, which no test makes, but in no crash."""

    name: str
    cluster: embedded.Cluster

    def execute(self, statement: sql.Composed | sql.SQL) -> None:
        with psycopg.connect(self.cluster.url(), autocommit=True) as connection:
            connection.execute(statement)

    def create(self, name: str, template: str | None = None) -> str:
        """A new database; its URL."""
        like = sql.SQL(" TEMPLATE {}").format(sql.Identifier(template)) if template else sql.SQL("")
        self.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)) + like)
        return self.cluster.url(name)

    def drop(self, name: str) -> None:
        self.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def crash(self) -> None:
        """Stop at once, as a crash of the machine would, without losing what is committed."""
        self.cluster.stop("immediate")

    def restart(self) -> None:
        self.cluster.start()


@contextmanager
def serving(name: str, programs: Path) -> Iterator[Server]:
    """A running server with a migrated template, gone afterwards with its data."""
    # Not pytest's own temporary folder: as root the server runs as another user, who may not enter it.
    home = Path(tempfile.mkdtemp(prefix="cdr-test-"))
    home.chmod(0o755)
    cluster = embedded.Cluster(programs, home / "data", _FAST)
    try:
        cluster.start()
        server = Server(name, cluster)
        migrate.upgrade(server.create("migrated"))
        yield server
    finally:
        cluster.stop("immediate")
        shutil.rmtree(home, ignore_errors=True)
        shutil.rmtree(cluster.socket, ignore_errors=True)


@contextmanager
def fresh_database(server: Server) -> Iterator[str]:
    """The URL of an empty, migrated database of its own."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    url = server.create(name, template="migrated")
    try:
        yield url
    finally:
        if server.cluster.running():
            server.drop(name)


def postgresql_15() -> Path | None:
    """Folder of the programs of a PostgreSQL 15: `TEST_PG_BIN`, or where Debian puts them."""
    given = os.environ.get("TEST_PG_BIN")
    places = [Path(given)] if given else [Path("/usr/lib/postgresql/15/bin")]
    return next((place for place in places if (place / "initdb").exists()), None)


def connection(url: str) -> database.Connection:
    return database.connect(url, application="test")
