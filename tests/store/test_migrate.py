"""The database a migration makes is the one that the code declares."""

from __future__ import annotations

import pytest

from etl.store import migrate

pytestmark = pytest.mark.slow


def test_file_and_database_agree(database: str) -> None:
    assert migrate.check(database) == []
