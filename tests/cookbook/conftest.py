"""The known archive: stored once, only read afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support import known_archive
from support.postgres import Server, connection, fresh_database

from etl.store.database import Connection


@pytest.fixture(scope="session")
def known_url(embedded_server: Server) -> Iterator[str]:
    """The URL of the known archive."""
    with fresh_database(embedded_server) as url:
        with connection(url) as opened:
            known_archive.store(opened)
        yield url


@pytest.fixture(scope="session")
def known(known_url: str) -> Iterator[Connection]:
    """A connection to it."""
    with connection(known_url) as opened:
        yield opened
