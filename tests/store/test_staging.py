"""Facts reach staging as they are: in binary form nothing between us and PostgreSQL looks at a value twice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etl.fields import FIELDS, FieldType
from etl.model import Fact, Json, Kind, Value
from etl.store import merge, staging
from etl.store.database import Connection
from etl.store.elements import pack

MakeFact = Callable[..., Fact]

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
TIME = st.datetimes(timezones=st.just(UTC))
BY_TYPE: dict[FieldType, st.SearchStrategy[Value]] = {
    FieldType.TEXT: TEXT | st.sampled_from(["\\N", "\\.", "a\tb", "a\nb", "a\r", "\\", "'", "{}", "𝄞"]),
    FieldType.INTEGER: st.integers(-(2**31), 2**31 - 1),
    FieldType.BOOLEAN: st.booleans(),
    FieldType.TIME: TIME,
    FieldType.INTERVAL: st.timedeltas(timedelta(), timedelta(days=50_000)),
}
VALUES = st.fixed_dictionaries({}, optional={field.name: BY_TYPE[field.type] for field in FIELDS})
JSON: st.SearchStrategy[Json] = st.recursive(TEXT, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner))


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    values=VALUES,
    attributes=st.dictionaries(TEXT, JSON),
    quality=st.lists(TEXT),
    element=st.binary(),
    second=st.floats(0, 1e9),
)
@pytest.mark.slow
def test_every_value_is_staged_as_it_is(
    conn: Connection,
    make_fact: MakeFact,
    values: dict[str, Value],
    attributes: dict[str, Json],
    quality: list[str],
    element: bytes,
    second: float,
) -> None:
    fact = make_fact(Kind.FILE, second, values=values, attributes=attributes, quality=tuple(quality), element=element)
    staging.prepare(conn)
    with conn.transaction(), conn.cursor() as cursor:
        staging.stage(cursor, [fact])
        columns = ", ".join(merge.STAGED_COLUMNS)
        found = cursor.execute(f"SELECT {columns} FROM {merge.STAGED}".encode()).fetchall()
    row = dict(zip(merge.STAGED_COLUMNS, found[0], strict=True))
    assert len(found) == 1
    assert {name: row[name] for name in values} == values
    assert all(row[field.name] is None for field in FIELDS if field.name not in values)
    assert (row["call_id"], row["id_time"], row["kind"]) == (fact.call_id, fact.id_time, "file")
    assert (row["observed_at"], row["digest"], row["element"]) == (fact.observed_at, fact.digest, pack(element))
    assert (row["attributes"], row["quality"]) == (attributes, quality)


@pytest.mark.parametrize("number", [2**31, -(2**31) - 1, 2**40])
def test_a_number_that_is_too_large_is_refused_and_not_cut_down(make_fact: MakeFact, number: int) -> None:
    with pytest.raises(psycopg.DataError, match="cause_id"):
        staging.row(make_fact(values={"cause_id": number}))


def test_times_may_be_as_early_and_late_as_python_knows_them(conn: Connection, make_fact: MakeFact) -> None:
    staging.prepare(conn)
    ends = {"start_time": datetime.min.replace(tzinfo=UTC), "end_time": datetime.max.replace(tzinfo=UTC)}
    with conn.transaction(), conn.cursor() as cursor:
        staging.stage(cursor, [make_fact(values=ends)])
        found = cursor.execute(f"SELECT start_time, end_time FROM {merge.STAGED}".encode()).fetchall()
    assert found == [tuple(ends.values())]
