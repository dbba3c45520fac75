"""PostgreSQL and DuckDB give equal answers to the questions of `sql/lake`. Spark: `make test-spark`."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from support import known, known_archive
from support.exporting import EVER, SPRING, Export
from support.lake import QUESTIONS, Rows, agree, equal, in_duckdb, in_postgresql, strange_calls

from etl.store.database import Connection

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
def test_both_answer_alike_about_the_known_archive(conn: Connection, run: Export, tmp_path: Path, masked: bool) -> None:
    known_archive.store(conn)
    run(span=EVER, masked=masked)
    answers = in_postgresql(conn, masked=masked)
    agree(answers, in_duckdb(tmp_path / "lake"))
    assert sum(row[2] for row in answers["01_volume_per_day"]) == len(known.CALLS)
    assert all(answers.values()), "each question has an answer"


def test_both_answer_alike_about_strange_calls(conn: Connection, run: Export, tmp_path: Path) -> None:
    """Without a start, an end, a recorder or a code; equal starts, odd fractions, odd names."""
    strange_calls(conn)
    run(span=SPRING)
    agree(in_postgresql(conn), in_duckdb(tmp_path / "lake"))


def test_ten_questions_are_asked() -> None:
    assert len(QUESTIONS) == 10


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([(1, "a")], [(1, "b")]),
        ([(1,)], [(1,), (1,)]),
        ([(1.0,)], [(1.000001,)]),
        ([(None,)], [(0.0,)]),
        ([(date(2026, 3, 1),), (date(2026, 3, 2),)], [(date(2026, 3, 2),), (date(2026, 3, 1),)]),
    ],
)
def test_the_comparison_tells_answers_apart(one: Rows, other: Rows) -> None:
    assert equal(one, one)
    assert not equal(one, other)
