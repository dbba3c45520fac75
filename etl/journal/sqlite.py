"""How the journal speaks to SQLite: the few calls it needs, and what its errors mean.

The connection is passed in as a function, so that the tests can run the very same journal on a file layer
that forgets what was not synced.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from etl.errors import JournalDamaged, JournalError, JournalFull

BUSY_SECONDS = 5.0
"""How long a statement waits for another connection, such as a human's `sqlite3`, to let go of the file."""


class Cursor(Protocol):
    """The rows of one statement, fetched as they are asked for."""

    def __iter__(self) -> Iterator[Any]: ...

    def close(self) -> None: ...


class Connection(Protocol):
    """A connection in autocommit mode. Its errors are `sqlite3.Error` with an `sqlite_errorcode`."""

    @property
    def in_transaction(self) -> bool: ...

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Cursor: ...

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> object: ...

    def close(self) -> None: ...


Connect: TypeAlias = Callable[[Path], Connection]


def connect(path: Path) -> Connection:
    """Open the existing SQLite file at `path`; a missing one is an error, not a new one."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        isolation_level=None,
        timeout=BUSY_SECONDS,
        check_same_thread=False,  # each connection is used under a lock or by one thread only
    )


_UNREADABLE = {
    sqlite3.SQLITE_IOERR_READ,
    sqlite3.SQLITE_IOERR_SHORT_READ,
    sqlite3.SQLITE_IOERR_CORRUPTFS,
}
"""Of the I/O errors those that no waiting mends: the disk does not give back what was written."""

_PASSING = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,  # a quota that is used up comes as this one
    sqlite3.SQLITE_CANTOPEN,  # SQLite could not make a file beside its own
    sqlite3.SQLITE_READONLY,  # Linux makes a failing disk read-only
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
}


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours, by their codes.

    Raises:
        JournalFull: the disk takes or gives nothing now; waiting can help.
        JournalDamaged: the file is missing or not what was written.
    """
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter where SQLite quotes a damaged name in an error
        raise _ours(path, error) from error


def _ours(path: Path, error: sqlite3.Error | UnicodeDecodeError) -> JournalError:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    if not path.is_file():
        return JournalDamaged(str(path), "the file is missing")
    if code & 0xFF in _PASSING and code not in _UNREADABLE:
        name = getattr(error, "sqlite_errorname", code)
        reason = f"{error} ({name}); the disk is full or failing: make room, check its health and the file's rights"
        return JournalFull(str(path), reason)
    return JournalDamaged(str(path), f"it is not what was written ({error})")
