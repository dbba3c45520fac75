"""PostgreSQL and DuckDB give equal answers to the questions of `sql/lake`. Spark: `make test-spark`."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import pytest
from support import known, known_archive
from support.exporting import EVER, MARCH, SPRING, Export, add
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


@pytest.mark.parametrize("name", ["815", "0815", "2026-03-01", "true"])
def test_a_recorder_keeps_a_name_that_looks_like_something_else(
    conn: Connection, run: Export, tmp_path: Path, name: str
) -> None:
    add(conn, "a", 1, recorder=name)
    run()
    agree(in_postgresql(conn), in_duckdb(tmp_path / "lake"))


def test_a_call_that_ends_when_another_starts_does_not_meet_it(conn: Connection, run: Export, tmp_path: Path) -> None:
    for minute in range(50):
        start = MARCH + timedelta(minutes=minute)
        add(conn, f"{minute}", start_time=start, end_time=start + timedelta(minutes=1))
    run()
    peaks = [(MARCH.date(), 1)]
    assert in_postgresql(conn)["10_concurrent_peak"] == in_duckdb(tmp_path / "lake")["10_concurrent_peak"] == peaks


def test_answers_are_those_of_the_truth(conn: Connection) -> None:
    """Counted again in Python, from what the known archive was made of."""
    known_archive.store(conn)
    answers = in_postgresql(conn)
    days = Counter((call.moment.date(), call.recorder) for call in known.CALLS)
    night = Counter(
        f"{call.start:%Y-%m}" for call in known.CALLS if call.start is not None and not 6 <= call.start.hour < 22
    )
    shown: Counter[str] = Counter()
    for month, _, at_night, _ in answers["07_night_calls"]:
        shown[month] += at_night
    assert {(row[0], row[1]): row[2] for row in answers["01_volume_per_day"]} == days
    assert +shown == night
    longest = max(call.duration.total_seconds() for call in known.CALLS if call.duration is not None)
    assert answers["08_longest_calls"][0][4] == longest


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
