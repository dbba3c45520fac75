"""The known archive, and the page that is made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from zoneinfo import ZoneInfo

import pytest
from support import known_archive
from support.findings import KNOWN_NOW, march
from support.postgres import Server, connection, fresh_database

from etl.store.database import Connection
from etl.store.report import Looked, look


@pytest.fixture(scope="session")
def known_url(embedded_server: Server) -> Iterator[str]:
    """The archive of `support.known`; only to read from."""
    with fresh_database(embedded_server) as url:
        with connection(url) as opened:
            known_archive.store(opened)
        yield url


@pytest.fixture
def known_conn(known_url: str) -> Iterator[Connection]:
    """A connection to it."""
    with connection(known_url) as opened:
        yield opened


@pytest.fixture
def looked(known_conn: Connection) -> Callable[[str], Looked]:
    """What is found there in March 2025 by the clock of a zone."""
    return lambda zone: look(known_conn, march(zone), ZoneInfo(zone), KNOWN_NOW)
