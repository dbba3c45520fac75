"""The ledger of a file backfill: how far it is in each folder. A row per folder, and none for a file."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from etl.store.database import Connection, name_of
from etl.store.errors import translate

_RELAX = "SET synchronous_commit = off"

_FIND = "SELECT entries, digest FROM cdr.backfill_folder WHERE run = %s AND path = %s"

_MARK = """
INSERT INTO cdr.backfill_folder (run, path, entries, digest) VALUES (%s, %s, %s, %s)
ON CONFLICT (run, path) DO UPDATE SET entries = excluded.entries, digest = excluded.digest
"""

_FORGET = """
DELETE FROM cdr.backfill_folder f USING cdr.backfill_run r WHERE r.id = f.run AND r.result = 'done'
"""


@dataclass(frozen=True, slots=True)
class Mark:
    """The first `entries` entries of a folder are done; `digest` is that of their names, in the folder's order."""

    folder: str
    entries: int
    digest: bytes


def relax(connection: Connection) -> None:
    """Let commits over this connection return before they are on disk: only for what the ledger tells of.

    The ledger's own commit comes later and waits for all before it, so it never tells of what a power cut took.
    """
    with translate(name_of(connection)), connection.transaction():
        connection.execute(_RELAX)


def find(connection: Connection, run: UUID, folder: str) -> Mark | None:
    """How far a run is in a folder; None where it has not been."""
    with translate(name_of(connection)), connection.transaction():
        row = connection.execute(_FIND, [run, os.fsencode(folder)]).fetchone()
    return None if row is None else Mark(folder, row[0], bytes(row[1]))


def mark(connection: Connection, run: UUID, marks: Iterable[Mark]) -> None:
    """Note how far a run is; of several marks of a folder the last one counts."""
    rows = [(run, os.fsencode(each.folder), each.entries, each.digest) for each in marks]
    with translate(name_of(connection)), connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(_MARK, rows)


def forget_finished(connection: Connection) -> None:
    """Empty the ledger of runs that are done: nobody goes on from there."""
    with translate(name_of(connection)), connection.transaction():
        connection.execute(_FORGET)
