"""A batch is stored whole or not at all, costs the same at any size of the archive; one bad record costs one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from random import Random
from typing import Any
from uuid import UUID

import pytest
from support.postgres import Server, connection, fresh_database

from etl.errors import DatabaseUnavailable
from etl.model import Fact, Json, Kind, Quarantined
from etl.store import merge, staging
from etl.store.database import Connection
from etl.store.errors import CheckpointMoved
from etl.store.write import Batch, Completed, Writer

pytestmark = pytest.mark.slow

JOURNAL = UUID(int=7)
START = datetime(2024, 5, 1, 12, tzinfo=UTC)
UNTIMED = datetime(1970, 1, 1, tzinfo=UTC)
MakeFact = Callable[..., Fact]
Query = Callable[..., list[tuple[Any, ...]]]

VERSIONS = """
SELECT tableoid::regclass::text, ctid::text, xmin::text, call_id, '' AS kind FROM cdr.call
UNION ALL SELECT tableoid::regclass::text, ctid::text, xmin::text, call_id, kind FROM cdr.fact ORDER BY 1, 4, 5
"""


def test_an_exact_replay_writes_nothing(writer: Writer, tables: Query, make_fact: MakeFact) -> None:
    facts = [make_fact(Kind.START), make_fact(Kind.END, 1), make_fact(Kind.DETAIL, 2), make_fact(call_id="b")]
    bad = Quarantined(facts[0].observed_at, "ny-1", "stream", "garbage", b"<x")
    batch = Batch(facts=facts, quarantined=[bad])
    assert writer.write(batch).quarantined == {("ny-1", "garbage"): 1}
    before = tables(VERSIONS)
    again = writer.write(batch)
    assert (again.states, again.completed, again.quarantined) == ({}, (), {})
    assert tables(VERSIONS) == before
    assert tables("SELECT count(*) FROM cdr.quarantine") == [(1,)]


def test_equal_content_seen_later_only_advances_the_fact(writer: Writer, tables: Query, make_fact: MakeFact) -> None:
    fact = make_fact(Kind.DETAIL, values={"cause_id": 1})
    writer.write(Batch(facts=[fact]))
    row = tables("SELECT ctid::text, recorded_at, first_seen_at FROM cdr.call")
    later = fact.observed_at + timedelta(seconds=9)
    writer.write(Batch(facts=[replace(fact, observed_at=later)]))
    assert tables("SELECT ctid::text, recorded_at, first_seen_at FROM cdr.call") == row
    assert tables("SELECT observed_at, first_observed_at FROM cdr.fact") == [(later, fact.observed_at)]


def test_what_a_batch_changed_is_told_by_recorder_and_state(writer: Writer, make_fact: MakeFact) -> None:
    first = writer.write(Batch(facts=[make_fact(), make_fact(call_id="b"), make_fact(Kind.END, 1, call_id="b")]))
    assert first.states == {("ny-1", "ongoing"): 1, ("ny-1", "ended"): 1}
    second = writer.write(Batch(facts=[make_fact(Kind.DETAIL, 2, call_id="b"), make_fact(Kind.LIST, 2)]))
    assert second.states == {("ny-1", "complete"): 1}
    assert second.completed == (Completed("b", "ny-1"),)


def _deep(depth: int) -> Json:
    deep: Json = 1
    for _ in range(depth):
        deep = [deep]
    return deep


REFUSED: dict[str, Callable[[Fact], Fact]] = {
    "nul in text": lambda fact: replace(fact, values={"source_name": "a\0b"}),
    "nul in attributes": lambda fact: replace(fact, attributes={"x": "a\0b"}),
    "lone surrogate": lambda fact: replace(fact, values={"source_name": "\ud800"}),
    "number too large": lambda fact: replace(fact, values={"cause_id": 2**31}),
    "attributes too deep for the driver": lambda fact: replace(fact, attributes={"x": _deep(100_000)}),
    "id too long for the index": lambda fact: replace(fact, call_id=fact.call_id + Random(1).randbytes(9_000).hex()),
}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("position", [0, 3, 6])
def test_a_fact_that_postgresql_refuses_is_quarantined_and_the_rest_lands(
    writer: Writer, tables: Query, make_fact: MakeFact, what: str, position: int
) -> None:
    good = [make_fact(call_id=name) for name in "abcdef"]
    bad = REFUSED[what](make_fact(call_id=f"{'_abcdef'[position]}+", element=b"<bad/>"))
    written = writer.write(Batch(facts=[*good[:position], bad, *good[position:]], journal=JOURNAL, checkpoint=3))
    assert written.refused == 1
    assert written.states == {("ny-1", "ongoing"): 6}
    assert tables("SELECT call_id FROM cdr.call ORDER BY 1") == [(name,) for name in "abcdef"]
    assert tables("SELECT reason, body, observed_at, recorder FROM cdr.quarantine") == [
        ("refused_by_database", b"<bad/>", bad.observed_at, "ny-1")
    ]
    assert tables("SELECT sequence FROM cdr.checkpoint") == [(3,)]


def test_several_refused_facts_are_each_found(writer: Writer, tables: Query, make_fact: MakeFact) -> None:
    facts = [
        make_fact(call_id=f"{i:03}", element=str(i).encode(), values={"source_name": "\0" if i % 50 == 7 else "x"})
        for i in range(200)
    ]
    assert writer.write(Batch(facts=facts)).refused == 4
    assert tables("SELECT count(*) FROM cdr.call") == [(196,)]
    assert tables("SELECT body FROM cdr.quarantine ORDER BY length(body), body") == [
        (b"7",),
        (b"57",),
        (b"107",),
        (b"157",),
    ]


def test_long_text_is_stored_whole(writer: Writer, tables: Query, make_fact: MakeFact) -> None:
    writer.write(Batch(facts=[make_fact(values={"source_name": "n" * 4_000, "source_ip": "1" * 1_000_000})]))
    assert tables("SELECT length(source_name), length(source_ip) FROM cdr.call") == [(4_000, 1_000_000)]


def test_months_are_made_when_a_batch_needs_them_and_absurd_times_go_to_the_default(
    writer: Writer, tables: Query, make_fact: MakeFact
) -> None:
    times = {
        "call_2000_01": datetime(2000, 1, 1, tzinfo=UTC),
        "call_2023_12": datetime(2023, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        "call_2024_01": datetime(2024, 1, 1, tzinfo=UTC),
        "call_default": datetime(1999, 12, 31, tzinfo=UTC),
        "call_untimed": UNTIMED,
    }
    facts = [make_fact(call_id=name, id_time=time) for name, time in times.items()]
    facts.append(make_fact(call_id="call_default", id_time=datetime(5236, 3, 31, tzinfo=UTC)))
    writer.write(Batch(facts=facts))
    found = tables("SELECT DISTINCT call_id, tableoid::regclass::text FROM cdr.call")
    assert {row[0]: row[1] for row in found} == {name: f"cdr.{name}" for name in times}


def test_rows_that_wait_in_the_default_partition_move_when_their_month_is_made(
    conn: Connection, tables: Query, make_fact: MakeFact
) -> None:
    fact = make_fact(Kind.DETAIL, id_time=datetime(2010, 7, 15, tzinfo=UTC), values={"cause_id": 4})
    staging.prepare(conn)
    with conn.transaction(), conn.cursor() as cursor:
        staging.Merge(cursor, [fact]).run()
    assert tables("SELECT tableoid::regclass::text FROM cdr.fact") == [("cdr.fact_default",)]
    Writer(conn).write(Batch(facts=[replace(fact, call_id="other")]))
    where = "SELECT call_id, cause_id, tableoid::regclass::text FROM cdr.{} ORDER BY 1"
    for table in ("call", "fact"):
        assert tables(where.format(table)) == [(name, 4, f"cdr.{table}_2010_07") for name in ("a", "other")]


def test_a_long_query_does_not_stop_a_batch_that_needs_a_new_month(
    database: str, writer: Writer, tables: Query, make_fact: MakeFact
) -> None:
    writer.write(Batch(facts=[make_fact(call_id="before")]))
    old = make_fact(id_time=datetime(2011, 1, 1, tzinfo=UTC))
    with connection(database) as reader:
        reader.execute("SELECT count(*) FROM cdr.call")
        writer.write(Batch(facts=[old]))
    assert tables("SELECT tableoid::regclass::text FROM cdr.call WHERE call_id = 'a'") == [("cdr.call_default",)]
    writer.write(Batch(facts=[replace(old, call_id="b")]))
    found = tables("SELECT DISTINCT tableoid::regclass::text FROM cdr.call WHERE call_id IN ('a', 'b')")
    assert found == [("cdr.call_2011_01",)]


def test_the_checkpoint_moves_with_its_data_and_never_back(conn: Connection, writer: Writer) -> None:
    assert writer.checkpoint(JOURNAL) == 0
    writer.write(Batch(journal=JOURNAL, checkpoint=10))
    assert Writer(conn).checkpoint(JOURNAL) == 10
    with pytest.raises(CheckpointMoved):
        writer.write(Batch(journal=JOURNAL, checkpoint=9))


def test_a_second_process_on_the_same_journal_is_stopped(conn: Connection, writer: Writer) -> None:
    other = Writer(conn)
    assert (writer.checkpoint(JOURNAL), other.checkpoint(JOURNAL)) == (0, 0)
    other.write(Batch(journal=JOURNAL, checkpoint=10))
    with pytest.raises(CheckpointMoved, match="another process"):
        writer.write(Batch(journal=JOURNAL, checkpoint=12))


def test_a_lost_connection_is_database_unavailable_and_nothing_of_the_batch_stays(
    database: str, conn: Connection, writer: Writer, tables: Query, make_fact: MakeFact
) -> None:
    with connection(database) as other:
        theirs = Writer(other)
        other.commit()
        with conn.transaction():
            conn.execute("SELECT pg_terminate_backend(%s)", [other.info.backend_pid])
        with pytest.raises(DatabaseUnavailable):
            theirs.write(Batch(facts=[make_fact()], journal=JOURNAL, checkpoint=1))
    assert tables("SELECT (SELECT count(*) FROM cdr.call) + (SELECT count(*) FROM cdr.checkpoint)") == [(0,)]


def test_a_batch_reads_as_much_at_any_size_of_the_archive(embedded_server: Server, make_fact: MakeFact) -> None:
    """Blocks touched by the same kind of batch, over an archive of 1,000 and one of 200,000 calls in one month."""
    with fresh_database(embedded_server) as url, connection(url) as opened:
        Writer(opened).write(Batch(facts=[make_fact()]))
        _fill(opened, 0, 1_000)
        small = _blocks(opened, _calls(make_fact, "small"))
        _fill(opened, 1_000, 200_000)
        unplanned = _blocks(opened, _calls(make_fact, "large"))
        with opened.transaction():
            opened.execute("ANALYZE cdr.call; ANALYZE cdr.fact")
        planned = _blocks(opened, _calls(make_fact, "larger"))
    assert unplanned < 1.5 * small
    assert planned < 1.5 * small


@pytest.mark.slow
def test_a_small_batch_looks_only_at_its_own_calls_in_a_month_without_statistics(
    embedded_server: Server, make_fact: MakeFact
) -> None:
    """A month's first minutes, before anything was analyzed: then the planner takes any range for a few rows."""
    with fresh_database(embedded_server) as url, connection(url) as opened:
        Writer(opened).write(Batch(facts=[make_fact()]))
        _fill(opened, 0, 5_000)
        facts = [make_fact(kind, call_id=name) for name in "bcd" for kind in (Kind.START, Kind.START, Kind.DETAIL)]
        assert _blocks(opened, facts) < 500


def _fill(opened: Connection, first: int, last: int) -> None:
    """Calls as the merge would leave them; their ids stand between those of the batches."""
    with opened.transaction():
        for statement in (
            "INSERT INTO cdr.call (call_id, id_time, state, source, first_seen_at, recorded_at)"
            " SELECT md5(n::text), %s, 'ongoing', 'start', now(), now() FROM generate_series(%s::int, %s::int) n",
            "INSERT INTO cdr.fact (call_id, id_time, kind, observed_at, first_observed_at, digest, element)"
            " SELECT md5(n::text), %s, 'start', now(), now(), '', '' FROM generate_series(%s::int, %s::int) n",
        ):
            opened.execute(statement.encode(), [START, first, last - 1])


def _calls(make_fact: MakeFact, name: str) -> list[Fact]:
    kinds = (Kind.START, Kind.END, Kind.DETAIL)
    ids = [blake2b(f"{name}{number}".encode(), digest_size=16).hexdigest() for number in range(1_000)]
    long = {"source_name": "n" * 1_000}
    return [make_fact(kind, call_id=call_id, values=long) for call_id in ids for kind in kinds]


def _blocks(opened: Connection, facts: list[Fact]) -> int:
    """Blocks that a merge of known and new calls touches in the tables of calls and facts."""
    half = len(facts) // 2
    with opened.transaction(), opened.cursor() as cursor:
        staging.Merge(cursor, facts[:half]).run()
    opened.execute("SELECT pg_stat_force_next_flush()")
    before = _touched(opened)
    with opened.transaction(), opened.cursor() as cursor:
        staging.Merge(cursor, facts).run()
    opened.execute("SELECT pg_stat_force_next_flush()")
    return _touched(opened) - before


def _touched(opened: Connection) -> int:
    opened.commit()
    row = opened.execute(
        "SELECT sum(heap_blks_hit + heap_blks_read + coalesce(idx_blks_hit + idx_blks_read, 0))"
        " FROM pg_statio_user_tables WHERE schemaname = 'cdr'"
    ).fetchone()
    opened.commit()
    assert row is not None
    return int(row[0])


def test_the_statements_of_the_merge_are_made_from_the_tables() -> None:
    """A new field reaches every statement by itself."""
    for statement in (merge.INSERT_CALLS, merge.UPDATE_CALLS, merge.INSERT_FACTS, merge.COPY, merge.REPLACE_FACTS):
        assert "dialed_extension" in statement
