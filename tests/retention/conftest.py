"""An archive that is maintained, and others who work with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.command import Here, Result
from support.postgres import Server, connection, fresh_database
from support.retention import Archive

from etl.store import staging
from etl.store.database import Connection
from etl.store.write import Writer

_TABLES = (
    "call",
    "fact",
    "quarantine",
    "reconcile_action",
    "reconcile_run",
    "verify_finding",
    "verify_run",
    "call_acceptance",
    "erased_call",
    "legal_hold",
    "expiry",
    "minimum_age",
    "export",
    "backfill_run",
    "audit",
)


@pytest.fixture(scope="module")
def house() -> Iterator[Callable[[Server], str]]:
    """The URL of the one database of a server that the tests of a module share: making one for each takes a second."""
    urls: dict[str, str] = {}
    with ExitStack() as stack:

        def url(server: Server) -> str:
            if server.name not in urls:
                urls[server.name] = stack.enter_context(fresh_database(server))
            return urls[server.name]

        yield url


@pytest.fixture
def url(server: Server, house: Callable[[Server], str]) -> str:
    """The URL of an empty archive, on every server."""
    found = house(server)
    with connection(found) as opened, opened.transaction():
        for table in _TABLES:
            opened.execute(f"DELETE FROM cdr.{table}".encode())
        opened.execute("ALTER TABLE cdr.legal_hold ALTER COLUMN id RESTART")
    return found


@pytest.fixture
def archive(url: str) -> Iterator[Archive]:
    with ExitStack() as stack:
        conn, second = (stack.enter_context(connection(url)) for _ in range(2))
        staging.prepare(conn)
        yield Archive(url, conn, Writer(second))


@pytest.fixture
def another(url: str) -> Iterator[Callable[[], Connection]]:
    """Opens further connections to the same archive."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(connection(url))


@pytest.fixture
def cdr(archive: Archive, tmp_path: Path, here: Here) -> Callable[..., Result]:
    """The command on the archive of the test, from which what is older than five years may go."""
    (tmp_path / "cdr.toml").write_text(
        f'[database]\nurl = "{archive.url}"\n[retention]\nkeep = "5y"\n[worker]\ndata_dir = "var"\n'
    )
    return here
