"""How far each journal has reached the database. A checkpoint moves with the data it speaks of, and never back."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from etl.store.database import Connection, Cursor, name_of
from etl.store.errors import CheckpointMoved


def read(connection: Connection, journal: UUID) -> int:
    """The sequence up to which a journal is stored; 0 for one that never was."""
    row = connection.execute("SELECT sequence FROM cdr.checkpoint WHERE journal = %s", [journal]).fetchone()
    return 0 if row is None else int(row[0])


_MOVE = """
INSERT INTO cdr.checkpoint AS c (journal, sequence, observed_at) VALUES (%(journal)s, %(to)s, %(observed_at)s)
ON CONFLICT (journal) DO UPDATE
SET sequence = excluded.sequence, observed_at = coalesce(excluded.observed_at, c.observed_at), updated_at = now()
WHERE c.sequence = %(known)s
RETURNING sequence
"""


def move(cursor: Cursor, journal: UUID, known: int, to: int, observed_at: datetime | None) -> None:
    """Move a journal's checkpoint from where we know it to be; raises `CheckpointMoved` where it is elsewhere."""
    if to < known:
        raise CheckpointMoved(f"journal {journal}: its checkpoint {known} cannot go back to {to}; this is a bug")
    values = {"journal": journal, "known": known, "to": to, "observed_at": observed_at}
    if cursor.execute(_MOVE, values).fetchone() is None:
        raise CheckpointMoved(
            f"journal {journal}: its checkpoint in database {name_of(cursor.connection)} is no longer at {known}:"
            " another process writes from the same journal; stop one of them"
        )
