"""Fixtures that several parts share: real PostgreSQL servers and databases."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings
from support.command import Here, in_process
from support.postgres import Server, connection, fresh_database, postgresql_15, serving

from etl.store import embedded
from etl.store.database import Connection

# How long an example takes says more about the machine than about us. A failing example is printed, to replay it.
settings.register_profile("any machine", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

# A job in the background of a shell ignores Ctrl-C, and so would every process that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def default_log() -> Iterator[None]:
    """Undo a test's log settings: what a test reads of the log must not depend on which tests ran before it."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Here:
    """Runs `cdr` in this process, in the test's own folder."""
    return in_process(tmp_path, monkeypatch, capfd)


@pytest.fixture(scope="session")
def embedded_server() -> Iterator[Server]:
    """The PostgreSQL that comes with the extra `embedded`."""
    with serving("embedded", embedded.programs()) as server:
        yield server


@pytest.fixture(scope="session")
def debian_server() -> Iterator[Server]:
    """PostgreSQL 15, the oldest that is supported."""
    programs = postgresql_15()
    if programs is None:
        pytest.skip("no programs of PostgreSQL 15 found: install Debian's postgresql-15, or set TEST_PG_BIN")
    with serving("postgresql-15", programs) as server:
        yield server


@pytest.fixture(params=["embedded_server", "debian_server"], ids=["embedded", "postgresql-15"])
def server(request: pytest.FixtureRequest) -> Server:
    """Each server that tests run on, one after the other."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Server)
    return found


@pytest.fixture
def database(server: Server) -> Iterator[str]:
    """The URL of an empty, migrated database; on every server."""
    with fresh_database(server) as url:
        yield url


@pytest.fixture
def embedded_database(embedded_server: Server) -> Iterator[str]:
    """The URL of an empty, migrated database; on the embedded server only."""
    with fresh_database(embedded_server) as url:
        yield url


@pytest.fixture
def conn(database: str) -> Iterator[Connection]:
    """A connection to `database`."""
    with connection(database) as opened:
        yield opened


# One database that many short tests share, emptied before each

_TABLES = ("call", "fact", "session", "gap", "quarantine", "checkpoint")


@pytest.fixture(scope="session")
def shared_database() -> Iterator[Callable[[Server], str]]:
    """The URL of the one database of a server that these tests share: making one for each costs a second."""
    urls: dict[str, str] = {}
    with ExitStack() as stack:

        def url(server: Server) -> str:
            if server.name not in urls:
                urls[server.name] = stack.enter_context(fresh_database(server))
            return urls[server.name]

        yield url


@pytest.fixture
def empty_conn(server: Server, shared_database: Callable[[Server], str]) -> Iterator[Connection]:
    """A connection to an empty database, on every server."""
    yield from _emptied(shared_database(server))


@pytest.fixture
def empty_embedded_conn(embedded_server: Server, shared_database: Callable[[Server], str]) -> Iterator[Connection]:
    """The same on the embedded server only, where a second one would show nothing new."""
    yield from _emptied(shared_database(embedded_server))


@pytest.fixture
def embedded_url(embedded_server: Server, shared_database: Callable[[Server], str]) -> str:
    """The URL of the database of `empty_embedded_conn`."""
    return shared_database(embedded_server)


def _emptied(url: str) -> Iterator[Connection]:
    with connection(url) as opened:
        with opened.transaction():
            for table in _TABLES:  # faster than TRUNCATE, which makes new files for every partition
                opened.execute(f"DELETE FROM cdr.{table}".encode())
        yield opened
