"""What an export reads, in one snapshot: which calls there are, and the statement that streams a month of them.

A call belongs to the UTC month in which it started (was first seen, where no start is known), as in the views.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from psycopg import sql

from etl.errors import DatabaseRefused, UsageError
from etl.fields import FIELDS, FieldType
from etl.model import Interval, Json
from etl.store import audit
from etl.store.audit import Author
from etl.store.database import Connection, name_of
from etl.store.errors import translate

MASKED = "cdr_analyst"
"""The role as which a masked export reads."""

_CODES = {"cause_id", "direction_id", "audio_codec_id", "signaling_id", "modality_id"}
"""Columns that report.calls shows by name as well."""


@dataclass(frozen=True, slots=True)
class Portion:
    """The calls of one recorder (None: of none that is known) that began in one month, `YYYY-MM` in UTC.

    `fingerprint` is equal as long as they are the same calls and none of their rows has changed.
    """

    month: str
    recorder: str | None
    rows: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The archive as one transaction sees it, at `taken_at`.

    `name` lets other connections see the same while that transaction lasts; `schema` is its revision; `view` identifies
    how report.calls shows a row: its definition and the names of codes.
    """

    name: str
    taken_at: datetime
    schema: str
    view: str
    portions: Sequence[Portion]


_SNAPSHOT = b"""
SELECT pg_export_snapshot(), now(), (SELECT version_num FROM cdr.alembic_version), md5(concat_ws(chr(10),
    pg_get_viewdef('report.calls'::regclass),
    (SELECT string_agg(c::text, ',' ORDER BY c.id) FROM cdr.cause c),
    (SELECT string_agg(c::text, ',' ORDER BY c.id) FROM cdr.direction c),
    (SELECT string_agg(c::text, ',' ORDER BY c.id) FROM cdr.audio_codec c),
    (SELECT string_agg(c::text, ',' ORDER BY c.id) FROM cdr.signaling c),
    (SELECT string_agg(c::text, ',' ORDER BY c.id) FROM cdr.modality c)))
"""

# The order of rows does not matter to bit_xor, and each row counts with its id and its last change.
_PORTIONS = b"""
SELECT to_char(c.month AT TIME ZONE 'UTC', 'YYYY-MM'), c.recorder, c.rows, c.fingerprint
FROM (
    SELECT date_trunc('month', coalesce(start_time, first_seen_at), 'UTC') AS month, recorder, count(*) AS rows,
        bit_xor(hashtextextended(call_id, (extract(epoch FROM recorded_at) * 1000000)::bigint)) AS fingerprint
    FROM cdr.call
    WHERE (start_time >= %(start)s AND start_time < %(end)s)
        OR (start_time IS NULL AND first_seen_at >= %(start)s AND first_seen_at < %(end)s)
    GROUP BY 1, 2
) c
ORDER BY 1, c.recorder COLLATE "C" NULLS LAST
"""


@contextmanager
def snapshot(connection: Connection, span: Interval) -> Iterator[Snapshot]:
    """What began in `span`, by month and recorder, in a snapshot that lasts as long as the block."""
    with translate(name_of(connection)), connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        taken = connection.execute(_SNAPSHOT).fetchone()
        assert taken is not None
        rows = connection.execute(_PORTIONS, {"start": span.start, "end": span.end}).fetchall()
        portions = [Portion(month, recorder, count, str(fingerprint)) for month, recorder, count, fingerprint in rows]
        name, taken_at, schema, view = taken
        yield Snapshot(name, taken_at, schema, view, portions)


def _columns() -> Iterator[str]:
    """The columns of a file, as expressions over report.calls: spans of time in seconds, documents as text."""
    yield from ("call_id", "state", "evidence", "start_time", "end_time", _seconds("duration"))
    for each in FIELDS:
        if each.name in _CODES:
            yield each.name.removesuffix("_id")
        if each.name not in ("start_time", "end_time"):
            yield _seconds(each.name) if each.type is FieldType.INTERVAL else each.name
    yield from ("attributes::text AS attributes", "quality", "first_seen_at", "recorded_at")


def _seconds(name: str) -> str:
    return f"extract(epoch FROM {name})::double precision AS {name}_seconds"


COLUMNS: Mapping[str, str] = {each.rpartition(" AS ")[2]: each for each in _columns()}
"""The columns of a file, in order, each with its expression over report.calls."""

RECORDER = "recorder"
"""The first column of the stream, which the files do not have: their folder tells."""

_CALLS = """
SELECT recorder, {columns}
FROM report.calls
WHERE ((start_time >= {start} AND start_time < {end})
    OR (start_time IS NULL AND first_seen_at >= {start} AND first_seen_at < {end}))
    AND (recorder = ANY ({named}) OR (recorder IS NULL AND {unnamed}))
ORDER BY recorder COLLATE "C" NULLS LAST, start_time NULLS LAST, call_id
"""


def calls(connection: Connection, span: Interval, recorders: Collection[str | None]) -> str:
    """The statement that gives the calls of these recorders that began in `span`, by recorder, start and id. It has no
    parameters: COPY, as which it is sent, takes none."""
    return (
        sql.SQL(_CALLS)
        .format(
            columns=sql.SQL(", ".join(COLUMNS.values())),
            start=sql.Literal(span.start),
            end=sql.Literal(span.end),
            named=sql.Literal([recorder for recorder in recorders if recorder is not None]),
            unnamed=sql.Literal(None in recorders),
        )
        .as_string(connection)
    )


# As report.calls asks about its reader, for the role that is to read.
_RIGHTS = b"""
SELECT pg_has_role(reader, 'MEMBER'), has_table_privilege(reader, 'cdr.call'::regclass, 'SELECT')
    OR coalesce(pg_has_role(reader, to_regrole('cdr_investigator')::oid, 'USAGE'), false)
FROM (SELECT to_regrole(coalesce(%s, quote_ident(current_user)))::oid AS reader) r
WHERE reader IS NOT NULL
"""


def require_rights(connection: Connection, *, masked: bool) -> None:
    """Raise `DatabaseRefused` unless this user may read personal data, or where it is to be masked, read as the role
    that sees pseudonyms."""
    with translate(name_of(connection)), connection.transaction():
        row = connection.execute(_RIGHTS, [MASKED if masked else None]).fetchone()
    if why := _why_not_masked(row) if masked else _why_not_plain(row):
        raise DatabaseRefused(f"database {name_of(connection)} {why}")


def _why_not_plain(row: tuple[bool, bool] | None) -> str:
    if row is None or not row[1]:
        return "does not show personal data to this user: add --masked, or connect as one who may see it"
    return ""


def _why_not_masked(row: tuple[bool, bool] | None) -> str:
    if row is None:
        return f"has no role {MASKED}: run 'cdr db upgrade'"
    member, sees = row
    if not member:
        return f"does not let this user read as {MASKED}: an administrator can GRANT {MASKED} to it"
    return f"shows personal data to the role {MASKED}: an administrator must take that right away first" if sees else ""


_BEGIN = (
    "INSERT INTO cdr.export (folder, host, from_time, to_time, masked, who)"
    " VALUES (%s, %s, %s, %s, %s, %s) RETURNING id"
)
_FINISH = "UPDATE cdr.export SET finished_at = now(), rows = %s WHERE id = %s"


@dataclass(frozen=True, slots=True)
class Destination:
    """Where an export goes: a folder of a machine, and what of the archive."""

    folder: str
    host: str
    span: Interval
    masked: bool


@dataclass(frozen=True, slots=True)
class Noted:
    """An export that is noted: its number, and that of its row in the audit."""

    number: int
    audit: int


def begin(connection: Connection, destination: Destination, author: Author) -> Noted:
    """Note that an export has begun, in the audit too, before the first row leaves."""
    span = destination.span
    values = [destination.folder, destination.host, span.start, span.end, destination.masked, author.who]
    with translate(name_of(connection)), connection.transaction(), connection.cursor() as cursor:
        row = cursor.execute(_BEGIN, values).fetchone()
        assert row is not None
        number = int(row[0])
        return Noted(number, audit.note(cursor, author, "export", _target(number, destination)))


def _target(number: int, destination: Destination) -> dict[str, Json]:
    return {
        "id": number,
        "folder": destination.folder,
        "host": destination.host,
        "from": destination.span.start.isoformat(),
        "to": destination.span.end.isoformat(),
        "masked": destination.masked,
    }


def finish(connection: Connection, noted: Noted, effect: Mapping[str, int]) -> None:
    """Note that an export has ended, and what it came to; `effect` has its `rows`."""
    with translate(name_of(connection)), connection.transaction():
        connection.execute(_FINISH, [effect["rows"], noted.number])
        audit.effect(connection, noted.audit, effect)


_DESTROYED = """
UPDATE cdr.export SET destroyed_at = now() WHERE folder = %s AND host = %s AND destroyed_at IS NULL
"""


def destroyed(connection: Connection, folder: str, host: str, author: Author) -> int:
    """Take note that what was exported to a folder up to now is destroyed; how many exports that were. Raises
    UsageError where there was none."""
    target: dict[str, Json] = {"folder": folder, "host": host}
    with translate(name_of(connection)), connection.transaction(), connection.cursor() as cursor:
        count = cursor.execute(_DESTROYED, [folder, host]).rowcount
        if not count:
            raise UsageError(f"the archive knows of no export to {folder} on {host} that is not destroyed already")
        audit.note(cursor, author, "retention destroyed", target, {"exports": count})
    return count
