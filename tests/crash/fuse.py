"""Lets a process die right before the N-th step that matters, without a hook in the code that it tests.

Steps are what lasts beyond the process: each exchange with PostgreSQL (statement, commit, copy), each statement of
SQLite that changes something, and each sync, renaming, making and deletion of a file or folder. Between two of them
nothing changes that a later process could see, so dying before each of them is dying at every moment; but for the
inside of a step, which is the databases' to answer for (and tests/journal/test_powercut.py).
"""

from __future__ import annotations

import os
import socket
import sqlite3
import threading
from collections.abc import Callable, Generator
from enum import StrEnum
from typing import Any

import psycopg
import pyarrow.parquet as pq

KILLED = 77
"""Exit code of a process that died by its fuse."""
FILES = ("fsync", "rename", "replace", "unlink", "rmdir", "mkdir", "truncate")
CHANGES = ("BEGIN", "INSERT", "COMMIT", "CREATE", "ROLLBACK")


class Way(StrEnum):
    """What happens at the chosen step."""

    DIE = "killed before a step"
    LOSE = "answer of the database lost"
    """The server does it, and the connection breaks before the answer is read: nobody knows whether it is done."""


class Fuse:
    """Counts steps, and burns through at one of them. Once installed it stays for the life of the process."""

    def __init__(self, way: Way, at: int | None = None) -> None:
        """`at` None: only count. With `LOSE` only exchanges with the database are steps."""
        self.count = 0
        self._way = way
        self._at = at
        self._lock = threading.Lock()

    def install(self) -> None:
        """Wrap everything that is a step."""
        self._wrap_database()
        if self._way is Way.DIE:
            self._wrap_journal()
            for name in FILES:
                self._wrap(os, name)
            for name in ("write_batch", "close"):
                self._wrap(pq.ParquetWriter, name)

    def _burns(self) -> bool:
        with self._lock:
            self.count += 1
            return self.count == self._at

    def _step(self) -> None:
        if self._burns():
            os._exit(KILLED)

    def _wrap(self, owner: Any, name: str) -> None:
        real: Callable[..., Any] = getattr(owner, name)

        def step(*arguments: Any, **options: Any) -> Any:
            self._step()
            return real(*arguments, **options)

        setattr(owner, name, step)

    def _wrap_database(self) -> None:
        if self._way is Way.DIE:
            self._wrap(psycopg.Connection, "wait")
            return
        real = psycopg.Connection.wait

        def wait(connection: psycopg.Connection[Any], work: Generator[Any, Any, Any], *arguments: Any) -> Any:
            burns = not _says_nothing(connection, work) and self._burns()
            result = real(connection, work, *arguments)
            if burns:
                with socket.socket(fileno=os.dup(connection.fileno())) as line:
                    line.shutdown(socket.SHUT_RDWR)
                raise psycopg.OperationalError("the connection was lost")
            return result

        psycopg.Connection.wait = wait  # type: ignore[assignment, method-assign]

    def _wrap_journal(self) -> None:
        fuse, real = self, sqlite3.connect

        class Stepping(sqlite3.Connection):
            def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
                if sql.lstrip().startswith(CHANGES):
                    fuse._step()
                return super().execute(sql, *arguments)

            def executemany(self, *arguments: Any) -> sqlite3.Cursor:
                fuse._step()
                return super().executemany(*arguments)

            def close(self) -> None:
                fuse._step()
                super().close()

        def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
            return real(*arguments, factory=Stepping, **options)

        sqlite3.connect = connect  # type: ignore[assignment]


def _says_nothing(connection: psycopg.Connection[Any], work: Generator[Any, Any, Any]) -> bool:
    """Neither a commit without a transaction, such as at the end of a `with`, nor the beginning of a pipeline reaches
    the server."""
    idle = connection.pgconn.transaction_status == psycopg.pq.TransactionStatus.IDLE
    name = getattr(work, "__qualname__", "")
    return name == "BasePipeline._enter_gen" or (idle and name.endswith("._commit_gen"))
