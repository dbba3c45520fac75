"""The journal alone, beside plain inserts into the same database engine with the same size of commit."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from uuid import UUID

from benchmarks.measure import Comparison, Figure
from benchmarks.sample import BEGIN
from etl.journal.journal import Journal
from etl.model import Draft, What

BODY = 1_000


def figures(entries: int, repetitions: int) -> list[Figure]:
    """`entries` for the largest commits; fewer where each commit holds fewer."""
    sizes = {1: max(entries // 100, 20), 50: max(entries // 4, 100), 1000: entries}
    with _folder() as folder:
        return [_figure(folder, size, number, repetitions) for size, number in sizes.items()]


@contextmanager
def _folder() -> Iterator[Path]:
    """On a real disk where the temporary folder is one: what is measured is mostly the sync."""
    folder = Path(tempfile.mkdtemp(prefix="cdr-bench-journal-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _figure(folder: Path, size: int, entries: int, repetitions: int) -> Figure:
    names = count(1)
    comparison = Comparison("journal, bodies of 1 kB, each commit synced", "entry", repetitions)
    return comparison.figure(
        f"append in commits of {size}",
        entries,
        lambda: _journal(folder, size, entries),
        {"plain sqlite3 inserts (WAL, synchronous=FULL)": lambda: _plain(folder / f"{next(names)}.db", size, entries)},
    )


def _journal(folder: Path, size: int, entries: int) -> None:
    journal = Journal.create(folder)
    draft = Draft(BEGIN, "ny-1", UUID(int=1), What.DOCUMENT, b"x" * BODY, {"asked": "detail"})
    for _ in range(entries // size):
        for _ in range(size):
            commit = journal.append(draft)
        commit.result()
    journal.finish(10)
    journal.remove(journal.last_sequence)


def _plain(path: Path, size: int, entries: int) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA page_size = 16384")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE entry (sequence INTEGER PRIMARY KEY, at INTEGER, note TEXT, body BLOB)")
        for _ in range(entries // size):
            connection.execute("BEGIN")
            rows = ((None, 1_714_564_800_000_000, '{"asked":"detail"}', b"x" * BODY) for _ in range(size))
            connection.executemany("INSERT INTO entry VALUES (?, ?, ?, ?)", rows)
            connection.execute("COMMIT")
    path.unlink()
