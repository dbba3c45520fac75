"""Fixtures that several parts share: real PostgreSQL servers and databases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.postgres import Server, connection, fresh_database, postgresql_15, serving

from etl.store import embedded
from etl.store.database import Connection


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
