"""Runs that read the history: what they were asked for, how far they are, how they ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb

from etl.model import Json
from etl.store.database import Connection, name_of
from etl.store.errors import translate

Command: TypeAlias = Literal["files", "http", "gaps"]
Trigger: TypeAlias = Literal["command", "worker"]
Result: TypeAlias = Literal["done", "failed", "interrupted"]


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it stands. `position`: up to where the history over HTTP was read. `counts`: what was done so far."""

    id: UUID
    command: str
    started_at: datetime
    position: datetime | None = None
    counts: Mapping[str, int] = field(default_factory=dict)


_BEGIN = """
INSERT INTO cdr.backfill_run (id, command, trigger, scope) VALUES (%s, %s, %s, %s) RETURNING started_at
"""

_RESUMABLE = """
SELECT id, command, started_at, position, counts FROM cdr.backfill_run
WHERE command = %s AND scope = %s AND trigger = 'command'
ORDER BY started_at DESC LIMIT 1
"""

_RESUME = """
UPDATE cdr.backfill_run SET result = NULL, finished_at = NULL, told = NULL, updated_at = clock_timestamp()
WHERE id = %s AND result IS DISTINCT FROM 'done'
"""

_PROGRESS = """
UPDATE cdr.backfill_run SET position = %s, counts = %s, updated_at = clock_timestamp() WHERE id = %s
"""

_FINISH = """
UPDATE cdr.backfill_run
SET result = %s, told = %s, counts = coalesce(%s, counts),
    finished_at = clock_timestamp(), updated_at = clock_timestamp()
WHERE id = %s
"""


def begin(connection: Connection, command: Command, scope: Mapping[str, Json], trigger: Trigger = "command") -> Run:
    """Note that a run has begun. `scope` says what was asked for, without secrets."""
    number = uuid4()
    with translate(name_of(connection)), connection.transaction():
        row = connection.execute(_BEGIN, [number, command, trigger, Jsonb(dict(scope))]).fetchone()
    assert row is not None
    return Run(number, command, row[0])


def resume(connection: Connection, command: Command, scope: Mapping[str, Json]) -> Run | None:
    """The newest run of this scope, if it has not finished: it goes on from where it was."""
    with translate(name_of(connection)), connection.transaction():
        row = connection.execute(_RESUMABLE, [command, Jsonb(dict(scope))]).fetchone()
        if row is None or not connection.execute(_RESUME, [row[0]]).rowcount:
            return None
    return Run(*row)


def progress(connection: Connection, run: UUID, counts: Mapping[str, int], position: datetime | None = None) -> None:
    """Note how far a run is."""
    with translate(name_of(connection)), connection.transaction():
        connection.execute(_PROGRESS, [position, Jsonb(dict(counts)), run])


def finish(
    connection: Connection, run: UUID, result: Result, counts: Mapping[str, int] | None, told: str | None = None
) -> None:
    """Note how a run ended; `told` says why it failed. `counts` None: as they were noted last."""
    with translate(name_of(connection)), connection.transaction():
        connection.execute(_FINISH, [result, told, None if counts is None else Jsonb(dict(counts)), run])
