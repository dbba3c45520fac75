"""The known archive: stored once, only read afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support import known_archive
from support.postgres import Server, connection, fresh_database

from etl.store.database import Connection


@pytest.fixture(scope="session", params=["embedded_server", "debian_server"], ids=["embedded", "postgresql-15"])
def known_server(request: pytest.FixtureRequest) -> Server:
    """Each server, one after the other."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Server)
    return found


@pytest.fixture(scope="session")
def known_url(known_server: Server) -> Iterator[str]:
    """The URL of the known archive."""
    with fresh_database(known_server) as url:
        with connection(url) as opened:
            known_archive.store(opened)
        yield url


@pytest.fixture(scope="session")
def known(known_url: str) -> Iterator[Connection]:
    """A connection to it."""
    with connection(known_url) as opened:
        yield opened
