"""Who ran which maintenance command, on what, and what it came to: `cdr.audit`. Without personal data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from psycopg.types.json import Jsonb

from etl.model import Json
from etl.store.database import Connection, Cursor, name_of
from etl.store.errors import translate


@dataclass(frozen=True, slots=True)
class Author:
    """Who does it, and why, in their own words; None where no reason was asked for."""

    who: str
    reason: str | None


_NOTE = "INSERT INTO cdr.audit (who, action, target, reason, effect) VALUES (%s, %s, %s, %s, %s) RETURNING id"
_EFFECT = "UPDATE cdr.audit SET effect = %s WHERE id = %s"


def note(
    cursor: Cursor, author: Author, action: str, target: Mapping[str, Json], effect: Mapping[str, Json] | None = None
) -> int:
    """Leave a row, in the transaction of what it tells about; its id. `action` is the command without `cdr`; neither
    `target` (which rows) nor `effect` (counts) holds personal data."""
    values = [author.who, action, Jsonb(dict(target)), author.reason, Jsonb(dict(effect or {}))]
    row = cursor.execute(_NOTE, values).fetchone()
    assert row is not None
    return int(row[0])


def begin(connection: Connection, author: Author, action: str, target: Mapping[str, Json]) -> int:
    """Leave the row of something that takes several transactions, before the first of them; its id."""
    with translate(name_of(connection)), connection.transaction(), connection.cursor() as cursor:
        return note(cursor, author, action, target)


def effect(connection: Connection, number: int, effect: Mapping[str, Json]) -> None:
    """Say what it has come to so far."""
    with translate(name_of(connection)), connection.transaction():
        connection.execute(_EFFECT, [Jsonb(dict(effect)), number])
