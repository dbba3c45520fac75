"""An archive beside a history."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from support.verifying import NOON, Call, World


@pytest.fixture
def world(embedded_database: str) -> Iterator[World]:
    """An empty archive, and a history to be chosen."""
    with ExitStack() as stack:
        yield World(embedded_database, stack)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes the file of a call."""

    def write_file(call: Call, folder: str = "media", at: datetime = NOON + timedelta(hours=2)) -> Path:
        path = tmp_path / folder / f"{call.id}.xml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(call.xml)
        os.utime(path, (at.timestamp(), at.timestamp()))
        return path

    return write_file
