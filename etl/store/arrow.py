"""Rows as Arrow batches straight from PostgreSQL, by ADBC: no row becomes a Python object. Needs the extra `export`."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import pyarrow as pa
from adbc_driver_manager import dbapi as adbc
from adbc_driver_postgresql import StatementOptions
from adbc_driver_postgresql import dbapi as postgresql

from etl.store.database import connect, conninfo_of, safe_url
from etl.store.errors import LOST, of_state

BATCH = 32 * 1024 * 1024
"""About how many bytes of rows, as PostgreSQL sends them, are in a batch: two of these are in memory at a time."""


class Reader:
    """Streams rows from inside of one transaction, over a connection of its own."""

    def __init__(self, connection: adbc.Connection, where: str) -> None:
        self._connection = connection
        self._where = where

    def begin(self, snapshot: str, role: str | None = None) -> None:
        """See what the transaction sees that exported `snapshot`, and which must still be there. As `role` from then
        on. The snapshot stays when that transaction ends."""
        with _translated(self._where), closing(self._connection.cursor()) as cursor:
            for statement in (
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
                f"SET TRANSACTION SNAPSHOT '{snapshot}'",
                *([f"SET LOCAL ROLE {role}"] if role else []),
            ):
                cursor.execute(statement)

    def batches(self, statement: str) -> Generator[pa.RecordBatch, None, None]:
        """The rows of a statement without parameters. While one batch is worked on, the next is on its way.

        What ends the iteration early, an interrupt too, ends the statement; the transaction is then of no more use.
        """
        with _translated(self._where), closing(self._connection.cursor()) as cursor, ThreadPoolExecutor(1) as thread:
            cursor.adbc_statement.set_options(**{StatementOptions.BATCH_SIZE_HINT_BYTES.value: str(BATCH)})
            try:
                rows = thread.submit(_executed, cursor, statement).result()
                coming = thread.submit(next, rows, None)
                while (batch := coming.result()) is not None:
                    coming = thread.submit(next, rows, None)
                    yield batch
            except BaseException:
                cursor.adbc_cancel()  # the thread would go on for as long as the statement does
                raise


@contextmanager
def opened(url: str) -> Iterator[Reader]:
    """A reader for as long as the block lasts. Raises what `etl.store.database.connect` raises."""
    with connect(url):  # who cannot connect is told why by the other driver, which keeps passwords out of what it says
        pass
    with _translated(safe_url(url)):
        connection = postgresql.connect(conninfo_of(url, application="cdr export"), autocommit=True)
    with closing(connection):
        yield Reader(connection, safe_url(url))


@contextmanager
def _translated(where: str) -> Iterator[None]:
    try:
        yield
    except adbc.Error as error:
        raise of_state(error.sqlstate or LOST, _said(error), where) from error
    except (OSError, pa.ArrowException) as error:  # in the middle of a stream ADBC has no SQLSTATE to offer
        raise of_state(LOST, _said(error), where) from error


def _executed(cursor: adbc.Cursor, statement: str) -> Iterator[pa.RecordBatch]:
    cursor.execute(statement)
    return iter(cursor.fetch_record_batch())


def _said(error: Exception) -> str:
    """The first line: more could hold the values of a row."""
    return " ".join(str(error).split("\n")[0].split())
