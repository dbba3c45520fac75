"""An archive beside a history."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from support.verifying import World


@pytest.fixture
def world(embedded_database: str) -> Iterator[World]:
    """An empty archive, and a history to be chosen."""
    with ExitStack() as stack:
        yield World(embedded_database, stack)
