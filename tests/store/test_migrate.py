"""The database a migration makes is the one that the code declares."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from support.postgres import Server

from etl.errors import SchemaMismatch
from etl.store import database as db
from etl.store import migrate
from etl.store.database import Connection

pytestmark = pytest.mark.slow


def test_file_and_database_agree(database: str) -> None:
    assert migrate.check(database) == []
