"""What is still owed: details to ask for after a restart, and how many calls lack a finished record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from etl.model import Kind, State
from etl.store.database import Connection, name_of
from etl.store.errors import translate

_OWED = f"""
SELECT f.recorder, f.call_id, f.first_observed_at, false
FROM cdr.call c JOIN cdr.fact f ON f.call_id = c.call_id AND f.id_time = c.id_time AND f.kind = '{Kind.END}'
WHERE c.state IN ('{State.ENDED}', '{State.LOST}') AND f.recorder IS NOT NULL AND f.first_observed_at >= %(since)s
UNION ALL
SELECT recorder, call_id, observed_at, true FROM cdr.fact
WHERE kind = '{Kind.DETAIL}' AND recorder IS NOT NULL AND observed_at >= %(since)s AND observed_at = first_observed_at
ORDER BY 3, 2
"""


@dataclass(frozen=True, slots=True)
class Owed:
    """A call whose details are to be asked for: `at` is when its end was first heard of, or, for a `refetch`, when
    its only finished record came."""

    recorder: str
    call_id: str
    at: datetime
    refetch: bool


def owed(connection: Connection, since: datetime) -> list[Owed]:
    """Calls heard of since then that ended without a finished record, or whose first one was not asked for a second
    time; the oldest first.

    Those taken for lost among them: whoever did so may not have known yet when they ended, and the recorder may only
    have taken its time to write the record.
    """
    with translate(name_of(connection)), connection.transaction():
        return [Owed(*row) for row in connection.execute(_OWED, {"since": since})]


@dataclass(frozen=True, slots=True)
class Counts:
    """Calls without a finished record, by recorder and state; and calls with absurd times."""

    unresolved: Mapping[tuple[str | None, str], int]
    default_partition_rows: int


_UNRESOLVED = f"SELECT recorder, state, count(*) FROM cdr.call WHERE state <> '{State.COMPLETE}' GROUP BY 1, 2"


def counts(connection: Connection) -> Counts:
    """Count what `cdr_unresolved_calls` and `cdr_default_partition_rows` show."""
    with translate(name_of(connection)), connection.transaction():
        unresolved = {(row[0], row[1]): row[2] for row in connection.execute(_UNRESOLVED)}
        absurd = connection.execute("SELECT count(*) FROM cdr.call_default").fetchone()
    return Counts(unresolved, absurd[0] if absurd else 0)
