"""The write path alone, beside a bare COPY of the very rows it made into tables of the same shape."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from benchmarks import bare, postgres
from benchmarks.measure import Figure, Peer, timed
from benchmarks.sample import live_batches
from etl.model import Fact
from etl.store.database import Connection, connect
from etl.store.embedded import Cluster
from etl.store.write import Batch, Writer

SIZES = (100, 2_000)
"""Facts in a batch: about what a busy live line brings, and a backlog."""


def figures(cluster: Cluster, calls: int, filled: int, repetitions: int) -> list[Figure]:
    """`calls` calls through the writer, into empty tables and into tables that hold `filled` rows each."""
    url = postgres.fresh(cluster)
    with connect(url) as connection:
        found = [each for size in SIZES for each in _figures(connection, 0, calls, size, repetitions)]
        _fill(connection, calls, filled)
        return found + [each for size in SIZES for each in _figures(connection, filled, calls, size, repetitions)]


def _figures(connection: Connection, there: int, calls: int, size: int, repetitions: int) -> list[Figure]:
    batches = live_batches(calls, size)
    write(connection, batches)
    rows = bare.taken(connection, _ids(batches))
    fresh, replay, copy = [], [], []
    for _ in range(repetitions):
        remove(connection, batches)
        fresh.append(timed(lambda: write(connection, batches)) / calls)
        replay.append(timed(lambda: write(connection, batches)) / calls)
        copy.append(bare.seconds(connection, rows) / calls)
    remove(connection, batches)
    part = f"store, {there:,} calls there before" if there else "store, empty tables"
    peer = Peer(bare.NAME, tuple(copy))
    return [
        Figure(part, f"fresh, batches of {size:,} facts", "call", tuple(fresh), (peer,)),
        Figure(part, f"replay, batches of {size:,} facts", "call", tuple(replay), (peer,)),
    ]


def write(connection: Connection, batches: Sequence[Sequence[Fact]]) -> None:
    """Write the batches, each in a transaction."""
    writer = Writer(connection)
    for facts in batches:
        writer.write(Batch(facts))


def _ids(batches: Sequence[Sequence[Fact]]) -> list[str]:
    return sorted({fact.call_id for facts in batches for fact in facts})


def remove(connection: Connection, batches: Sequence[Sequence[Fact]]) -> None:
    """Delete the calls, and clean up behind: the next turn must not find their remains."""
    with connection.transaction():
        for table in bare.TABLES:
            bare.run(connection, f"DELETE FROM cdr.{table} WHERE call_id = ANY(%s)", [_ids(batches)])
    _outside(connection, *(f"VACUUM ANALYZE cdr.{table}" for table in bare.TABLES), "CHECKPOINT")


def _fill(connection: Connection, calls: int, wanted: int) -> None:
    """Make `wanted` calls out of the sample, each with one fact, under ids of their own."""
    batches = live_batches(calls, SIZES[-1])
    write(connection, batches)
    with connection.transaction():
        for table, columns in bare.TABLES.items():
            others = columns.replace("call_id", "overlay(call_id placing lpad(to_hex(n), 12, '0') from 25)", 1)
            kind = "WHERE kind = 'detail'" if table == "fact" else ""
            query = (
                f"INSERT INTO cdr.{table} ({columns}) SELECT {others} FROM cdr.{table}, generate_series(1, %s) n {kind}"
            )
            bare.run(connection, query, [-(-wanted // calls)])
    remove(connection, batches)


def _outside(connection: Connection, *statements: str) -> None:
    """Statements that refuse a transaction."""
    with psycopg.connect(connection.info.dsn, autocommit=True) as other:
        for statement in statements:
            other.execute(statement)
