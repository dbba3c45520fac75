"""The ten questions of `sql/lake`, asked in PostgreSQL and in DuckDB, and when two answers are equal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

import duckdb
from support.exporting import MARCH, add

from etl.store.database import Connection

FOLDER = Path(__file__).parents[2] / "sql" / "lake"
QUESTIONS = {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.sql"))}
Rows: TypeAlias = Sequence[Sequence[Any]]


def setup(engine: str) -> str:
    """What makes the relation `calls` in an engine."""
    return (FOLDER / "setup" / f"{engine}.sql").read_text(encoding="utf-8")


def statements(text: str) -> list[str]:
    """The statements of a file, without comments."""
    lines = [line for line in text.splitlines() if not line.startswith("--")]
    return [statement for statement in "\n".join(lines).split(";") if statement.strip()]


def in_postgresql(connection: Connection, *, masked: bool = False) -> dict[str, Rows]:
    """The answers of the archive itself."""
    with connection.transaction(force_rollback=True):
        if masked:
            connection.execute("SET LOCAL ROLE cdr_analyst")
        for statement in statements(setup("postgresql")):
            connection.execute(statement.encode())
        return {
            name: connection.execute(statement.encode()).fetchall()
            for name, question in QUESTIONS.items()
            for statement in statements(question)
        }


def in_duckdb(lake: Path) -> dict[str, Rows]:
    """The answers of an export."""
    with duckdb.connect() as connection:
        connection.execute("SET VARIABLE lake = ?", [str(lake)])
        connection.execute(setup("duckdb"))
        return {name: connection.execute(question).fetchall() for name, question in QUESTIONS.items()}


def in_spark(session: Any, lake: Path) -> dict[str, Rows]:
    """The answers of an export, by Spark."""
    for statement in (f"SET lake = {lake}", *statements(setup("spark"))):
        session.sql(statement)
    return {
        name: [tuple(row) for row in session.sql(statement).collect()]
        for name, question in QUESTIONS.items()
        for statement in statements(question)
    }


def agree(expected: dict[str, Rows], found: dict[str, Rows]) -> None:
    """Fail for the first question whose answers differ."""
    assert expected.keys() == found.keys()
    for name, rows in expected.items():
        assert equal(rows, found[name]), f"{name}: {rows} and {found[name]}"


def equal(one: Rows, other: Rows) -> bool:
    """Same rows in the same order. Sums and counts to the last digit; means and shares to the ninth."""
    return len(one) == len(other) and all(
        len(left) == len(right) and all(map(_same, left, right)) for left, right in zip(one, other, strict=True)
    )


def _same(one: Any, other: Any) -> bool:
    one, other = _plain(one), _plain(other)
    if isinstance(one, float) or isinstance(other, float):
        return one is not None and other is not None and math.isclose(one, other, rel_tol=1e-9)
    return bool(one == other)


def _plain(value: Any) -> Any:
    """Spark's times are those of this machine's zone, without it."""
    return value.astimezone(UTC) if isinstance(value, datetime) else value


def strange_calls(connection: Connection) -> None:
    """Calls of two months that lack this or that, or have what sums, orders and names could stumble over."""
    dice = Random(5)
    for number in range(300):
        day = dice.choice((dice.uniform(0, 60), dice.randrange(60), 30.999999))
        start = MARCH + timedelta(days=day)
        lasted = timedelta(microseconds=dice.choice((0, 1, 999_999, 60_000_000, dice.randrange(10**11))))
        add(
            connection,
            f"{number:03}-é",
            recorder=dice.choice(("0815", "ny 1/2", "München", "a=b%2F", None)),
            state=dice.choice(("complete", "ended", "lost", "ongoing")),
            start_time=dice.choice((start, start, start, None)),
            end_time=dice.choice((start + lasted, start + lasted, None)),
            first_seen_at=start,
            cause_id=dice.choice((0, 1, 99, None)),
            direction_id=dice.choice((1, 77, None)),
            modality_id=dice.choice(("voice", "smoke", "", None)),
            recorded_extension=dice.choice((None, "", "é", *map(str, range(1000, 1020)))),
        )
