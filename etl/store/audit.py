"""Who ran which maintenance command, on what, and what it came to: `cdr.audit`. Without personal data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from psycopg.types.json import Jsonb

from etl.model import Json
from etl.store.database import Cursor


@dataclass(frozen=True, slots=True)
class Author:
    """Who does it, and why, in their own words; None where no reason was asked for."""

    who: str
    reason: str | None


_NOTE = "INSERT INTO cdr.audit (who, action, target, reason, effect) VALUES (%s, %s, %s, %s, %s)"


def note(
    cursor: Cursor, author: Author, action: str, target: Mapping[str, Json], effect: Mapping[str, Json] | None = None
) -> None:
    """Leave a row, in the transaction of what it tells about. `action` is the command without `cdr`; neither `target`
    (which rows) nor `effect` (counts) holds personal data."""
    cursor.execute(_NOTE, [author.who, action, Jsonb(dict(target)), author.reason, Jsonb(dict(effect or {}))])
