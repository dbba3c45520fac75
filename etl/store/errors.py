"""From what PostgreSQL says to what we raise, by SQLSTATE and never by the text of a message."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import psycopg

from etl.errors import CdrError, DatabaseError, DatabaseRefused, DatabaseUnavailable, SchemaMismatch


class CheckpointMoved(DatabaseError):
    """Another process has moved a journal's checkpoint: this one must not write from that journal any more."""

    exit_code: ClassVar[int] = 1


class DatabaseConflict(DatabaseError):
    """Transactions got into each other's way (serialization, deadlock, lock timeout): doing it again helps."""

    retry: ClassVar[bool] = True


_UNAVAILABLE = ("08", "57P", "53", "58")
_REFUSED = ("28", "3D000", "0LP")
_FORBIDDEN = "42501"
_MISMATCH = ("3F000", "42P01", "42703", "42883", "42P10")
_NEEDED_ROLE = (
    "'cdr db upgrade' and 'cdr retention release' need a member of cdr_owner, 'cdr report' one of cdr_analyst or"
    " cdr_investigator, all others one of cdr_writer: an administrator can GRANT it to this user"
)
_CONFLICT = ("40001", "40P01", "55P03")
_CANCELLED = "57014"
LOST = "08000"
"""The connection is gone: the SQLSTATE that a client gives itself."""
_ROW = ("22", "23", "54")


def refuses_row(error: Exception) -> bool:
    """Whether PostgreSQL, or the driver on the way to it, refused a value rather than the work."""
    if isinstance(error, UnicodeEncodeError | RecursionError):
        return True
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate is None:
        return isinstance(error, psycopg.DataError)
    return error.sqlstate.startswith(_ROW)


def conflicts(error: psycopg.Error) -> bool:
    """Whether the transaction lost against another one and can simply be done again."""
    return (error.sqlstate or "").startswith(_CONFLICT)


def translated(error: psycopg.Error, where: str) -> CdrError:
    """Our error for the driver's. `where` names the database, without a password."""
    state = error.sqlstate or ""
    if not state and isinstance(error, psycopg.OperationalError):
        state = LOST
    return of_state(state, _said(error), where)


def of_state(state: str, said: str, where: str) -> CdrError:
    """Our error for a SQLSTATE, with the first line of what was `said`; the state is empty where there is none."""
    if state.startswith(_MISMATCH):
        return SchemaMismatch(f"database {where}: {said}; its schema is not the one needed: run 'cdr db upgrade'")
    if state.startswith(_FORBIDDEN):
        return DatabaseRefused(f"database {where} refused: {said}; {_NEEDED_ROLE}")
    if state.startswith(_REFUSED):
        return DatabaseRefused(f"database {where} refused: {said}; check user, password, database name and rights")
    if state.startswith(_CONFLICT):
        return DatabaseConflict(f"database {where}: {said}; try again")
    if state == _CANCELLED:
        return DatabaseUnavailable(f"database {where}: {said}; somebody cut it short: try again")
    if state.startswith(_UNAVAILABLE):
        return DatabaseUnavailable(f"database {where} is out of reach: {said}; will work again once it is back")
    return DatabaseError(f"database {where}: {said} (SQLSTATE {state or 'none'}); this is a bug, please report it")


def _said(error: psycopg.Error) -> str:
    """The first line of what was said: details may hold the values of a row."""
    primary = error.diag.message_primary if error.sqlstate else str(error)
    return " ".join((primary or type(error).__name__).split("\n")[0].split())


@contextmanager
def translate(where: str = "") -> Iterator[None]:
    """Turn the driver's errors inside the block into ours."""
    try:
        yield
    except psycopg.Error as error:
        raise translated(error, where) from error
