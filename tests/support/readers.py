"""Calls of people who must not be seen, and users who look at them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from etl.fields import FIELDS, HIDDEN, FieldType
from etl.store.database import Connection

START = datetime(2024, 5, 1, 12, tzinfo=UTC)
USERS = {
    "alice": "cdr_analyst",
    "ivan": "cdr_investigator",
    "walter": "cdr_writer",
    "olga": "cdr_owner",
    "nobody": None,
}
"""Login roles, and which role each of them was granted."""

As = Callable[[str], Connection]


def plain(field: str) -> str:
    """The value of a field that nobody but an investigator may see."""
    return f"plain-{field}"


PLAIN = frozenset(map(plain, HIDDEN)) | {"plain-attribute"}


def fill(conn: Connection) -> None:
    """Three calls: all hidden fields with values, empty, and null. The second shares its caller with the first."""
    texts = {name: plain(name) if name in HIDDEN else f"shown-{name}" for name in _of(FieldType.TEXT)}
    insert(conn, "full", texts | {"attributes": Jsonb({"note": "plain-attribute"})})
    insert(conn, "empty", dict.fromkeys(HIDDEN, "") | {"source_caller_id": plain("source_caller_id")})
    insert(conn, "null", {})


def _of(kind: FieldType) -> list[str]:
    return [field.name for field in FIELDS if field.type is kind]


def insert(conn: Connection, call_id: str, values: dict[str, Any]) -> None:
    """A call of a minute, with these values and no others."""
    times = {"start_time": START, "end_time": START + timedelta(minutes=1)}
    known = {
        "call_id": call_id,
        "id_time": "1970-01-01 00:00+00",
        "recorder": "ny-1",
        "state": "ended",
        "source": "end",
    }
    row = known | times | {"first_seen_at": START, "recorded_at": START} | values
    statement = sql.SQL("INSERT INTO cdr.call ({}) VALUES ({})").format(
        sql.SQL(", ").join(map(sql.Identifier, row)), sql.SQL(", ").join(sql.Placeholder() * len(row))
    )
    with conn.transaction():
        conn.execute(statement, list(row.values()))


def make_user(conn: Connection, user: str, role: str | None = None, options: str = "") -> None:
    """A user who may log in. Users belong to the whole server: other tests have made them before, or do so now."""
    with conn.transaction():
        try:
            with conn.transaction():
                conn.execute(f"CREATE ROLE {user} LOGIN {options}".encode())
        except (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
            pass
        if role:
            conn.execute(f"GRANT {role} TO {user}".encode())


def url_of(url: str, user: str) -> str:
    """The same database for another user."""
    return url.replace("postgres@", f"{user}@", 1)


@contextmanager
def listened(conn: Connection) -> Iterator[list[str]]:
    """All that the server says beside rows: notices, with their details and hints."""
    said: list[str] = []

    def note(diagnostic: psycopg.errors.Diagnostic) -> None:
        said.append(
            " ".join(map(str, (diagnostic.message_primary, diagnostic.message_detail, diagnostic.message_hint)))
        )

    conn.add_notice_handler(note)
    try:
        yield said
    finally:
        conn.remove_notice_handler(note)


def rows(conn: Connection, query: str, *values: object) -> list[tuple[Any, ...]]:
    with conn.transaction():
        return conn.execute(query.encode(), values or None).fetchall()
