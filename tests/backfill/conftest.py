"""An archive with a fake history behind it, on a database that these tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.gaps import House
from support.postgres import Server, connection, fresh_database

_TABLES = (
    "call", "fact", "session", "gap", "quarantine", "backfill_run", "history_read", "gap_acceptance",
    "call_acceptance", "erased_call", "reconcile_run",
)  # fmt: skip


@pytest.fixture(scope="session")
def _archive(embedded_server: Server) -> Iterator[str]:
    with fresh_database(embedded_server) as url:
        yield url


@pytest.fixture
def house(_archive: str, tmp_path: Path) -> House:
    """Empty, an hour after noon."""
    with connection(_archive) as opened, opened.transaction():
        for table in _TABLES:
            opened.execute(f"DELETE FROM cdr.{table}".encode())
    return House(_archive, tmp_path)
