"""An archive that is maintained, and others who work with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from support.postgres import connection
from support.retention import Archive

from etl.store import staging
from etl.store.database import Connection
from etl.store.write import Writer


@pytest.fixture
def archive(database: str) -> Iterator[Archive]:
    with ExitStack() as stack:
        conn, second = (stack.enter_context(connection(database)) for _ in range(2))
        staging.prepare(conn)
        yield Archive(database, conn, Writer(second))


@pytest.fixture
def another(database: str) -> Iterator[Callable[[], Connection]]:
    """Opens further connections to the same archive."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(connection(database))
