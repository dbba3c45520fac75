"""What `cdr doctor` asks the database. Read only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from etl.store.database import Connection, name_of
from etl.store.errors import translate

_SERVER = "SELECT current_setting('server_version_num')::int, clock_timestamp()"

_ROLES = "SELECT name FROM unnest(%s::text[]) name WHERE to_regrole(name) IS NULL"

_ABSURD = "SELECT count(*) FROM cdr.call_default"

_ZONES = """
SELECT recorder, count(*) FILTER (WHERE 'zone_suspect' = ANY (quality)), count(*)
FROM cdr.call
WHERE id_time > now() - interval '7 days' AND start_time IS NOT NULL AND recorder = ANY (%s)
GROUP BY recorder
"""

_CLOCKS = """
SELECT recorder, percentile_disc(0.5) WITHIN GROUP (ORDER BY observed_at - id_time)
FROM cdr.fact
WHERE kind = 'start' AND id_time BETWEEN now() - interval '1 day' AND now() + interval '1 day' AND recorder = ANY (%s)
GROUP BY recorder
"""


@dataclass(frozen=True, slots=True)
class Server:
    """The server: `version` as a number such as 150004; `ahead` is how far its clock is ahead of ours."""

    version: int
    ahead: timedelta


def server(connection: Connection) -> Server:
    """Version and clock; the time of the round trip is halved."""
    with translate(name_of(connection)), connection.transaction():
        before = datetime.now(UTC)
        row = connection.execute(_SERVER).fetchone()
        after = datetime.now(UTC)
    assert row is not None
    return Server(row[0], row[1] - (before + (after - before) / 2))


def missing_roles(connection: Connection, roles: Sequence[str]) -> list[str]:
    """Those of these roles that the server does not have."""
    with translate(name_of(connection)), connection.transaction():
        return [row[0] for row in connection.execute(_ROLES, [list(roles)])]


def absurd_times(connection: Connection) -> int:
    """Calls in the default partition, which is for ids with a time that cannot be."""
    with translate(name_of(connection)), connection.transaction():
        row = connection.execute(_ABSURD).fetchone()
    return int(row[0]) if row else 0


def suspect_zones(connection: Connection, recorders: Sequence[str]) -> dict[str, tuple[int, int]]:
    """By recorder, of the calls of the last seven days: how many suggest a wrong zone, and how many there are."""
    with translate(name_of(connection)), connection.transaction():
        return {name: (suspect, all_) for name, suspect, all_ in connection.execute(_ZONES, [list(recorders)])}


def late_starts(connection: Connection, recorders: Sequence[str]) -> dict[str, timedelta]:
    """By recorder, of the last day: how long after the time in its id a start is usually received."""
    with translate(name_of(connection)), connection.transaction():
        return {row[0]: row[1] for row in connection.execute(_CLOCKS, [list(recorders)])}
