"""The merge in PostgreSQL gives the oracle's row for any order, repetition and batching of a call's facts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.merge_oracle import Row, keep, merge
from support.postgres import Server, connection, fresh_database

from etl.fields import FIELDS, FieldType
from etl.model import Fact, Json, Kind, Value
from etl.store.database import Connection
from etl.store.write import Batch, Writer

pytestmark = pytest.mark.slow

START = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
Rows = Callable[[Connection], dict[str, Row]]

seconds = st.integers(0, 4).map(lambda second: START + timedelta(seconds=second))
VALUES: dict[FieldType, st.SearchStrategy[Value]] = {
    FieldType.TEXT: st.sampled_from(["", "x", "y", "é\t\n\\N", "NULL"]),
    FieldType.INTEGER: st.sampled_from([0, 1, -(2**31)]),
    FieldType.BOOLEAN: st.booleans(),
    FieldType.TIME: seconds,
    FieldType.INTERVAL: st.sampled_from([timedelta(0), timedelta(hours=30), timedelta(microseconds=1)]),
}
FLAGS = ("bad_end_time", "end_before_start", "end_ambiguous", "nonexistent_time", "duration_differs", "zone_suspect")
PLAIN = {"source_name", "cause_id", "secondary", "start_time", "end_time", "recorder_duration", "location"}


@st.composite
def facts(draw: st.DrawFn, call_id: str = "a") -> Fact:
    """A fact of any kind; few distinct times and values, so that they meet and tie often."""
    kind = draw(st.sampled_from(Kind))
    values: dict[str, Value] = {}
    attributes: dict[str, Json] = {}
    quality: list[str] = []
    if kind is not Kind.ABSENT:
        names = draw(st.sets(st.sampled_from(sorted(PLAIN))))
        values = {field.name: draw(VALUES[field.type]) for field in FIELDS if field.name in names}
        attributes = draw(st.dictionaries(st.sampled_from("pqr"), st.sampled_from([1, "s", {"n": [None]}, False])))
        quality = draw(st.lists(st.sampled_from(FLAGS), unique=True, max_size=2))
    recorder = draw(st.sampled_from([None, "ny-1", "ny-2"]))
    located = draw(st.sampled_from([None, "ny-1", "elsewhere"]))
    content = repr((recorder, located, sorted(values.items()), sorted(attributes.items()), quality))
    return Fact(
        call_id=call_id,
        id_time=START,
        kind=kind,
        observed_at=draw(seconds),
        recorder=recorder,
        located=located,
        digest=blake2b(content.encode(), digest_size=16).digest(),
        element=content.encode(),
        values=values,
        attributes=attributes,
        quality=tuple(quality),
    )


@pytest.fixture(scope="module")
def shared_writer(request: pytest.FixtureRequest) -> Iterator[tuple[Connection, Writer]]:
    """One database for all examples: each example uses call ids of its own."""
    server: Server = request.getfixturevalue(request.param)
    with fresh_database(server) as url, connection(url) as opened:
        yield opened, Writer(opened)


both = pytest.mark.parametrize(
    "shared_writer", ["embedded_server", "debian_server"], indirect=True, ids=["embedded", "postgresql-15"]
)


def batches(draw: st.DrawFn, delivered: list[Fact]) -> list[list[Fact]]:
    cuts = sorted(draw(st.sets(st.integers(0, len(delivered)), max_size=4)))
    edges = [0, *cuts, len(delivered)]
    return [delivered[low:high] for low, high in pairwise(edges)]


def evidence(opened: Connection) -> dict[tuple[str, str], tuple[datetime, datetime, bytes]]:
    query = "SELECT call_id, kind, observed_at, first_observed_at, digest FROM cdr.fact"
    with opened.transaction():
        return {(row[0], row[1]): (row[2], row[3], row[4]) for row in opened.execute(query)}


@both
@settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_any_order_repetition_and_batching_gives_the_oracles_row(
    shared_writer: tuple[Connection, Writer], read_rows: Rows, data: st.DataObject
) -> None:
    opened, writer = shared_writer
    known = data.draw(st.lists(st.one_of(facts("a"), facts("b")), min_size=1, max_size=8))
    delivered = data.draw(st.permutations(known + data.draw(st.lists(st.sampled_from(known), max_size=4))))
    with opened.transaction():
        opened.execute("DELETE FROM cdr.call; DELETE FROM cdr.fact")
    for batch in data.draw(st.composite(lambda draw: batches(draw, delivered))()):
        writer.write(Batch(facts=batch))
    by_call = {call: [fact for fact in known if fact.call_id == call] for call in {fact.call_id for fact in known}}
    assert read_rows(opened) == {call: merge(of_call) for call, of_call in by_call.items()}
    assert evidence(opened) == {
        (call, kind.value): (kept.fact.observed_at, kept.first_observed_at, kept.fact.digest)
        for call, of_call in by_call.items()
        for kind, kept in keep(of_call).items()
    }
