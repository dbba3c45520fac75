"""The export of an archive, and what it wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.exporting import AUTHOR, SPRING, Export
from support.postgres import connection

from etl.jobs.export import Report, export
from etl.jobs.progress import OnProgress, unwatched
from etl.lake import folder
from etl.model import Interval
from etl.store.database import Connection
from etl.store.export import Destination


@pytest.fixture
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Export:
    """Exports the archive of `conn`, or of another connection, to a folder of this test."""

    def run(
        to: str = "lake",
        span: Interval = SPRING,
        *,
        masked: bool = False,
        archive: Connection | None = None,
        on_progress: OnProgress = unwatched,
    ) -> Report:
        opened: Connection = archive or request.getfixturevalue("conn")
        destination = Destination(str(tmp_path / to), "here", span, masked)
        with folder.opened(tmp_path / to) as place:
            return export(opened, opened.info.dsn, place, destination, AUTHOR, on_progress=on_progress)

    return run


@pytest.fixture
def rows(tmp_path: Path) -> Callable[..., list[Mapping[str, Any]]]:
    """All calls of a folder, file by file, with the file's path."""

    def read(of: str = "lake") -> list[Mapping[str, Any]]:
        root = tmp_path / of
        return [
            {**row, "path": str(path.relative_to(root))}
            for path in sorted(root.glob("calls/*/*/*.parquet"))
            for row in pq.ParquetFile(path).read().to_pylist()
        ]

    return read


@pytest.fixture
def second(database: str) -> Iterator[Connection]:
    """A second connection to `database`."""
    with connection(database) as opened:
        yield opened
