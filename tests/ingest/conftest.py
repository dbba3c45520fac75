"""Databases that many short tests share, emptied before each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from support.postgres import Server, connection, fresh_database

from etl.store.database import Connection

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
