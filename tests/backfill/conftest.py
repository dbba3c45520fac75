"""An archive with a fake history behind it, on a database that these tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.gaps import House
from support.postgres import Server, fresh_database


@pytest.fixture(scope="session")
def _archive(embedded_server: Server) -> Iterator[str]:
    with fresh_database(embedded_server) as url:
        yield url


@pytest.fixture
def house(_archive: str, tmp_path: Path) -> House:
    """Empty, an hour after noon."""
    house = House(_archive, tmp_path)
    house.empty()
    return house
