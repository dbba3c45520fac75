"""The limit that writing is compared with: COPY of finished rows into tables with the same columns and indexes."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.measure import timed
from etl.store import schema
from etl.store.database import Connection

NAME = "bare COPY of the same rows of call and fact"
TABLES = {
    table.name: ", ".join(column.name for column in table.columns if column.computed is None)
    for table in (schema.call, schema.fact)
}
"""The columns of each table that are written."""


def taken(connection: Connection, ids: Sequence[str] | None = None) -> dict[str, bytes]:
    """The rows of these calls, or of all, as COPY reads them: nothing is left to do but to take them in."""
    where, values = ("", None) if ids is None else (" WHERE call_id = ANY(%s)", [ids])
    rows = {}
    with connection.transaction(), connection.cursor() as cursor:
        for table, columns in TABLES.items():
            query = f"COPY (SELECT {columns} FROM cdr.{table}{where}) TO STDOUT"
            with cursor.copy(query, values) as copy:
                rows[table] = b"".join(bytes(block) for block in copy)
    return rows


def seconds(connection: Connection, rows: dict[str, bytes]) -> float:
    """How long COPY of the rows takes, with its commit."""
    with connection.transaction():
        for table in rows:
            run(connection, f"DROP TABLE IF EXISTS public.bare_{table}")
            run(connection, f"CREATE TABLE public.bare_{table} (LIKE cdr.{table} INCLUDING ALL)")
    return timed(lambda: _copy(connection, rows))


def _copy(connection: Connection, rows: dict[str, bytes]) -> None:
    with connection.transaction(), connection.cursor() as cursor:
        for table, content in rows.items():
            with cursor.copy(f"COPY public.bare_{table} ({TABLES[table]}) FROM STDIN") as copy:
                copy.write(content)


def run(connection: Connection, query: str, values: Sequence[object] | None = None) -> None:
    """Execute a statement that was put together here."""
    connection.execute(query, values)
