"""The recorders that were ever configured."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta

from etl.errors import UsageError
from etl.store import gaps
from etl.store.database import Connection, name_of
from etl.store.errors import translate

_UPSERT = """
INSERT INTO cdr.recorder AS r (name, location, timezone, extensions) VALUES (%s, %s, %s, %s)
ON CONFLICT (name) DO UPDATE
SET location = excluded.location, timezone = excluded.timezone, extensions = excluded.extensions, retired_at = NULL
WHERE (r.location, r.timezone, r.extensions, r.retired_at IS NULL)
    IS DISTINCT FROM (excluded.location, excluded.timezone, excluded.extensions, true)
"""

_RETIRED = "SELECT name FROM cdr.recorder WHERE retired_at IS NOT NULL AND name = ANY(%s) ORDER BY name FOR UPDATE"


@dataclass(frozen=True, slots=True)
class Recorder:
    """A recorder as configured; no `extensions` means all calls."""

    name: str
    location: str
    timezone: str
    extensions: tuple[str, ...] = ()


def register(connection: Connection, recorders: Sequence[Recorder], margin: timedelta) -> None:
    """Note the configured recorders; one that was retired and is configured again is in use again, and the time
    between is a gap."""
    rows = [(each.name, each.location, each.timezone, list(each.extensions)) for each in recorders]
    with translate(name_of(connection)), connection.transaction(), connection.cursor() as cursor:
        returning = cursor.execute(_RETIRED, [[each.name for each in recorders]]).fetchall()
        cursor.executemany(_UPSERT, sorted(rows))
        for (name,) in returning:
            gaps.rebuild(cursor, name, margin)


_NAMES = "SELECT name FROM cdr.recorder ORDER BY name"
_OF_A_CALL = "SELECT EXISTS (SELECT FROM cdr.call WHERE recorder = %s)"
"""Reads all calls where there is none: only after a name that is nowhere else."""


def require_known(connection: Connection, name: str, configured: Collection[str]) -> None:
    """Raise UsageError, which lists the known ones, unless a recorder is or was configured under this name, or a call
    has it: a call of a recorder that nobody configured has its location there."""
    if name in configured:
        return
    with translate(name_of(connection)), connection.transaction():
        names = [row[0] for row in connection.execute(_NAMES)]
        if name in names or connection.execute(_OF_A_CALL, [name]).fetchone() == (True,):
            return
    known = ", ".join(sorted({*names, *configured})) or "none"
    raise UsageError(f'no recorder is called "{name}", and no call is of one; known: {known}')
