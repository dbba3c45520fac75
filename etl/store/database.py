"""Connections to PostgreSQL, and the little that every query needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import psycopg
from psycopg import conninfo
from psycopg.rows import TupleRow
from sqlalchemy import Dialect
from sqlalchemy.dialects import registry
from sqlalchemy.sql import ClauseElement

from etl.errors import CdrError, DatabaseRefused, DatabaseUnavailable, SchemaMismatch, UsageError
from etl.store.errors import translate

Connection: TypeAlias = "psycopg.Connection[TupleRow]"
Cursor: TypeAlias = "psycopg.Cursor[TupleRow]"

NEEDED = "0006"
"""The oldest revision of the schema that this version can write to."""

_SETTINGS: Mapping[str, object] = {
    "application_name": "cdr",
    "connect_timeout": 5,
    "client_encoding": "utf8",
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
_OPTIONS = (
    "-c jit=off -c TimeZone=UTC -c default_transaction_isolation=read\\ committed -c bytea_output=hex"
    # A user named like our schema has it in the search path, and then tools take it for the default one.
    " -c search_path=pg_catalog"
)
_dialect: Dialect = registry.load("postgresql.psycopg")(paramstyle="pyformat")


def driver_url(url: str) -> str:
    """A URL as libpq takes it: SQLAlchemy's name of a driver (`postgresql+psycopg://`) is tolerated."""
    scheme, found, rest = url.partition("://")
    return f"{scheme.partition('+')[0]}://{rest}" if found else url


def _parts(url: str) -> dict[str, Any]:
    try:
        return dict(conninfo.conninfo_to_dict(driver_url(url)))
    except psycopg.ProgrammingError:
        # The driver's message repeats the URL, which can hold a password.
        raise UsageError("database.url is not a PostgreSQL URL (postgresql://user@host:port/name)") from None


def environment(url: str) -> dict[str, str]:
    """The URL as environment variables for PostgreSQL's own programs, password included."""
    known = psycopg.pq.Conninfo.parse(driver_url(url).encode()) if _parts(url) else []
    return {each.envvar.decode(): each.val.decode() for each in known if each.envvar and each.val is not None}


def safe_url(url: str) -> str:
    """The database as it may be shown: user, host, port and name, never a password."""
    part = _parts(url)
    host = part.get("host") or part.get("hostaddr") or ""
    place = f"{host}:{part['port']}" if part.get("port") else str(host)
    user = f"{part['user']}@" if part.get("user") else ""
    return f"{user}{place}/{part.get('dbname') or ''}"


def connect(url: str, *, application: str = "cdr") -> Connection:
    """Open a connection: transactions are explicit, READ COMMITTED, jit off, UTC.

    Raises `UsageError` for what is no URL, `DatabaseRefused` for a wrong password or name, `DatabaseUnavailable`
    while the server is out of reach.
    """
    settings = _settings(url, application)
    try:
        return psycopg.connect("", **settings)
    except psycopg.OperationalError as error:
        raise _why_not(error, safe_url(url)) from error


def conninfo_of(url: str, *, application: str = "cdr") -> str:
    """The same connection as libpq takes it in one string, for other drivers; may hold a password."""
    return conninfo.make_conninfo("", **_settings(url, application))


def _settings(url: str, application: str) -> dict[str, Any]:
    parts = _parts(url)
    options = f"{parts.pop('options', None) or ''} {_OPTIONS}".strip()
    return {**_SETTINGS, "application_name": application, **parts, "options": options}


def _why_not(error: psycopg.OperationalError, where: str) -> CdrError:
    """Why there is no connection. libpq keeps no SQLSTATE of that, and the server's words are in its own language:
    whether it asked for a password, and whether it was the server that spoke, is all that can be told apart."""
    attempt = error.pgconn
    if attempt is not None and attempt.needs_password:
        return DatabaseRefused(
            f"database {where} wants a password: put it into database.url, or the URL into the file that"
            " database.url_file names"
        )
    if attempt is not None and attempt.used_password:
        return DatabaseRefused(f"database {where} refused the connection: {_said(error)}; check user and password")
    if "FATAL:" in str(error):  # starting, stopping, too many connections; or no such database or user
        return DatabaseUnavailable(f"database {where} takes no connection: {_said(error)}")
    return DatabaseUnavailable(f"database {where} is out of reach: {_said(error)}; will work again once it is back")


def _said(error: Exception) -> str:
    """The first line, without the address that libpq repeats."""
    return str(error).split("\n")[0].rpartition(" failed: ")[2].strip()


def name_of(connection: Connection) -> str:
    """The database behind a connection as it may be shown."""
    info = connection.info
    return f"{info.user}@{info.host}:{info.port}/{info.dbname}"


def run(connection: Connection, statement: ClauseElement) -> Cursor:
    """Execute a statement of SQLAlchemy Core on the driver's connection."""
    compiled = statement.compile(dialect=_dialect, compile_kwargs={"render_postcompile": True})
    with translate(name_of(connection)):
        return connection.execute(str(compiled).encode(), compiled.params)


def revision(connection: Connection) -> str | None:
    """The schema's revision; None where there is no schema yet. Ends the transaction."""
    with translate(name_of(connection)), connection.transaction():
        if connection.execute("SELECT to_regclass('cdr.alembic_version')").fetchone() == (None,):
            return None
        row = connection.execute("SELECT version_num FROM cdr.alembic_version").fetchone()
    return None if row is None else str(row[0])


def require_schema(connection: Connection) -> None:
    """Raise `SchemaMismatch` unless the schema is at least the one this version writes to."""
    found = revision(connection)
    if found is None or found < NEEDED:
        raise SchemaMismatch(
            f"database {name_of(connection)}: its schema is {found or 'missing'}, needed is {NEEDED} or newer:"
            " run 'cdr db upgrade'"
        )
