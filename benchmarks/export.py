"""The export of a month, beside a bare COPY of the same rows, and beside a writer that makes Python objects of them."""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from psycopg import ServerCursor
from psycopg.rows import TupleRow

from benchmarks import bare, postgres
from benchmarks.measure import Comparison, Figure
from benchmarks.sample import live_batches
from etl.jobs.export import export
from etl.lake import folder
from etl.model import Interval
from etl.store import export as store
from etl.store.audit import Author
from etl.store.database import Connection, connect
from etl.store.embedded import Cluster
from etl.store.export import Destination
from etl.store.write import Batch, Writer

SAMPLE = 1_000
"""Calls that are written; the others are made of them in the database."""
RECORDERS = 5
FETCHED = 10_000
"""Rows that the other writer has in memory at a time."""
MAY = Interval(datetime(2024, 5, 1, tzinfo=UTC), datetime(2024, 6, 1, tzinfo=UTC))
"""The month of the sample."""


def figures(cluster: Cluster, calls: int, repetitions: int) -> list[Figure]:
    """About `calls` calls of one month and five recorders, by us and by others."""
    url = postgres.fresh(cluster)
    with connect(url) as connection, tempfile.TemporaryDirectory(prefix="cdr-bench-export-") as home:
        rows = _fill(connection, calls)
        lake, other = Path(home) / "lake", Path(home) / "other"
        comparison = Comparison("export", "call", repetitions)
        return [
            comparison.figure(
                f"{rows:,} calls to Parquet",
                rows,
                partial(_export, connection, url, lake),
                {
                    "bare COPY of the same rows, to nowhere": partial(_copy, connection),
                    "psycopg and pyarrow, by Python objects": partial(_by_objects, connection, lake, other),
                },
            )
        ]


def _fill(connection: Connection, wanted: int) -> int:
    """Make calls all over the month out of a sample; how many there are."""
    writer = Writer(connection)
    for facts in live_batches(SAMPLE, SAMPLE):
        writer.write(Batch(facts))
    columns = bare.TABLES["call"]
    made = {
        "call_id": "overlay(call_id placing lpad(to_hex(n), 12, '0') from 25)",
        "recorder": "'ny-' || n % %s",
        "start_time": "start_time + n * %s * interval '1 second'",
        "end_time": "end_time + n * %s * interval '1 second'",
    }
    others = ", ".join(made.get(name, name) for name in columns.split(", "))
    copies = wanted // SAMPLE
    step = 20 * 86_400 / max(copies, 1)
    query = f"INSERT INTO cdr.call ({columns}) SELECT {others} FROM cdr.call, generate_series(1, %s) n"
    with connection.transaction():
        bare.run(connection, query.replace("% %s", "%% %s"), [RECORDERS, step, step, copies])
    with connection.transaction():
        bare.run(connection, "ANALYZE cdr.call")
        row = connection.execute("SELECT count(*) FROM cdr.call").fetchone()
    return int(row[0]) if row else 0


def _export(connection: Connection, url: str, lake: Path) -> None:
    shutil.rmtree(lake, ignore_errors=True)
    destination = Destination(str(lake), "here", MAY, masked=False)
    with folder.opened(lake) as opened:
        export(connection, url, opened, destination, Author("benchmark", None))


def _copy(connection: Connection) -> None:
    query = "COPY (SELECT * FROM report.calls) TO STDOUT"
    with connection.transaction(), connection.cursor() as cursor, cursor.copy(query) as copy:
        for _ in copy:
            pass


def _by_objects(connection: Connection, lake: Path, place: Path) -> None:
    """The same rows in the same order into the same kind of files as those of the lake."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    schema = pq.read_schema(next(lake.glob("calls/*/*/*.parquet")))
    schema = schema.insert(0, pa.field("recorder", pa.string()))
    for number in range(RECORDERS):
        query = store.calls(connection, MAY, [f"ny-{number}"])
        with connection.transaction(), connection.cursor(name="rows") as cursor:
            cursor.execute(query.encode())
            _write(cursor, place / f"{number}.parquet", schema)


def _write(cursor: ServerCursor[TupleRow], place: Path, schema: pa.Schema) -> None:
    with pq.ParquetWriter(place, schema, compression="zstd") as writer:
        while rows := cursor.fetchmany(FETCHED):
            arrays = [
                pa.array(values, kind) for values, kind in zip(zip(*rows, strict=True), schema.types, strict=True)
            ]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
