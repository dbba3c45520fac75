"""What `cdr verify` needs of the database: rows as they stand and as their facts have them, and a record of each run.

What the history showed and what was found lies in temporary tables of the connection, so that memory stays flat.
Values of calls stand only there: what is stored for good names fields, no values.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeAlias
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb

from etl.calls.history import widened
from etl.calls.ids import UNTIMED
from etl.calls.verify import Plain, Row
from etl.fields import FIELDS, FieldType
from etl.model import Interval, Json, Kind, State
from etl.store import audit, merge
from etl.store.audit import Author
from etl.store.database import Connection, name_of
from etl.store.elements import unpack
from etl.store.errors import translate
from etl.store.staging import Key

What: TypeAlias = Literal["missing", "extra", "different", "underived"]
Result: TypeAlias = Literal["done", "failed", "interrupted"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is amiss. `told` holds, for each field, what is archived and what is expected. `mended`: a
    repair has put it right."""

    call_id: str
    kind: What
    recorder: str | None
    fields: tuple[str, ...] = ()
    told: Mapping[str, Json] | None = None
    mended: bool = False


# Runs -----------------------------------------------------------------------------------------------------------

_BEGIN = """
INSERT INTO cdr.verify_run (id, from_time, to_time, source, repaired) VALUES (%s, %s, %s, %s, %s)
"""

_FINISH = """
UPDATE cdr.verify_run SET result = %s, told = %s, counts = %s, finished_at = clock_timestamp() WHERE id = %s
"""

_EFFECT = "UPDATE cdr.audit SET effect = %s WHERE action = 'verify --repair' AND target->>'run' = %s"

_TEMPORARY = """
DROP TABLE IF EXISTS pg_temp.verify_shown, pg_temp.verify_found, pg_temp.verify_scope;
CREATE TEMPORARY TABLE verify_shown (
    call_id text COLLATE "C", id_time timestamptz, part text NOT NULL, observed_at timestamptz NOT NULL,
    PRIMARY KEY (call_id, id_time));
CREATE TEMPORARY TABLE verify_found (
    call_id text COLLATE "C", kind text COLLATE "C", recorder text, fields text[] NOT NULL, told jsonb,
    mended boolean NOT NULL, PRIMARY KEY (call_id, kind));
CREATE TEMPORARY TABLE verify_scope (
    call_id text COLLATE "C", id_time timestamptz, PRIMARY KEY (call_id, id_time));
"""


def begin(connection: Connection, span: Interval, source: Kind, repair: Author | None) -> UUID:
    """Note that a run has begun, and make room for what it finds; a repair leaves its audit row at once."""
    run = uuid4()
    scope: dict[str, Json] = {"run": str(run), "from": span.start.isoformat(), "to": span.end.isoformat()}
    with translate(name_of(connection)), connection.transaction():
        connection.execute(_TEMPORARY)
        connection.execute(_BEGIN, [run, span.start, span.end, source.value, repair is not None])
        if repair is not None:
            with connection.cursor() as cursor:
                audit.note(cursor, repair, "verify --repair", scope)
    return run


def finish(
    connection: Connection, run: UUID, result: Result, counts: Mapping[str, int], told: str | None = None
) -> None:
    """Note how a run ended; `told` says why it failed."""
    with translate(name_of(connection)), connection.transaction():
        connection.execute(_FINISH, [result, told, Jsonb(dict(counts)), run])
        connection.execute(_EFFECT, [Jsonb(dict(counts)), str(run)])


# Rows, as they stand and as they follow from their facts ----------------------------------------------------------

_KEYS = "unnest(%(ids)s::text[], %(times)s::timestamptz[]) k (call_id, id_time)"


def _values(keys: Iterable[Key]) -> dict[str, object]:
    ids, times = zip(*keys, strict=True)
    return {"ids": list(ids), "times": list(times)}


_STANDING = f"""
SELECT k.call_id, k.id_time, to_jsonb(c), extract(epoch FROM c.recorder_duration)::float8, e.call_id IS NOT NULL,
    statement_timestamp()
FROM {_KEYS}
LEFT JOIN LATERAL (
    SELECT * FROM cdr.call WHERE call_id = k.call_id AND id_time = k.id_time OFFSET 0
) c ON true
LEFT JOIN cdr.erased_call e ON e.call_id = k.call_id
"""

_FACTS = f"""(SELECT f.* FROM {_KEYS} CROSS JOIN LATERAL (
    SELECT * FROM cdr.fact WHERE call_id = k.call_id AND id_time = k.id_time OFFSET 0) f) known"""

_DERIVED = f"SELECT d.call_id, d.id_time, to_jsonb(d) FROM ({merge.derive(_FACTS)}) d"

_TIMED = tuple(field.name for field in FIELDS if field.type is FieldType.TIME)


@dataclass(frozen=True, slots=True)
class Standing:
    """A call as it stands: its row, None without one, and what its facts say the row should be, None without any."""

    call_id: str
    id_time: datetime
    row: Plain | None
    derived: Plain | None
    erased: bool
    seconds: float | None
    """The reported duration of the row."""
    at: datetime
    """When that was, by the database's clock."""

    @property
    def recorder(self) -> str | None:
        """Its recorder, by its facts if it has any."""
        known = self.derived or self.row or {}
        return str(known["recorder"]) if known.get("recorder") is not None else None

    def typed(self) -> Row | None:
        """The row with times and the reported duration as such."""
        if self.row is None:
            return None
        times = {name: _moment(self.row[name]) for name in _TIMED}
        return {**self.row, **times, "recorder_duration": _span(self.seconds)}


def _moment(value: Json) -> datetime | Json:
    """A time as such, where Python can hold it."""
    try:
        return datetime.fromisoformat(str(value)) if value is not None else None
    except ValueError:
        return value


def _span(seconds: float | None) -> timedelta | Json:
    try:
        return None if seconds is None else timedelta(seconds=seconds)
    except (OverflowError, ValueError):
        return str(seconds)


def standing(connection: Connection, keys: Sequence[Key]) -> list[Standing]:
    """How these calls stand, rows and facts as of one moment, in the order of the keys."""
    with translate(name_of(connection)), connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        rows = {(row[0], row[1]): row[2:] for row in connection.execute(_STANDING, _values(keys))}
        derived = {(row[0], row[1]): _columns(row[2]) for row in connection.execute(_DERIVED, _values(keys))}
    return [_standing(key, rows[key], derived.get(key)) for key in keys]


def _columns(derived: dict[str, Json]) -> Plain:
    """What follows from facts: all but the key itself."""
    return {name: value for name, value in derived.items() if name not in ("call_id", "id_time")}


def _standing(key: Key, found: tuple[Any, ...], derived: Plain | None) -> Standing:
    row, seconds, erased, at = found
    return Standing(*key, row=row, derived=derived, erased=erased, seconds=seconds, at=at)


@dataclass(frozen=True, slots=True)
class Provider:
    """The fact from which a row takes one of its times: whose it is, and its element as received."""

    kind: Kind
    recorder: str | None
    element: bytes


_PROVIDERS = f"""
SELECT DISTINCT ON (f.call_id) f.call_id, f.kind, f.recorder, f.history, f.element FROM (
    SELECT *, {merge.RANK} AS rank FROM {_FACTS}) f
WHERE f.{{time}} IS NOT NULL ORDER BY f.call_id, f.rank
"""


def providers(connection: Connection, keys: Sequence[Key], time: str) -> dict[str, Provider]:
    """The fact that each of these calls takes its `time` (start_time or end_time) from, by call id."""
    with translate(name_of(connection)), connection.transaction():
        rows = connection.execute(_PROVIDERS.format(time=time).encode(), _values(keys)).fetchall()
    return {row[0]: Provider(Kind(row[3] or row[1]), row[2], unpack(row[4])) for row in rows}


# What was shown and what was found --------------------------------------------------------------------------------

_BOTH = "ARRAY(SELECT DISTINCT unnest(v.fields || excluded.fields) ORDER BY 1)"

_SEEN = f"""
SELECT s.call_id, s.id_time, s.observed_at FROM {_KEYS}
CROSS JOIN LATERAL (
    SELECT * FROM pg_temp.verify_shown WHERE call_id = k.call_id AND id_time = k.id_time OFFSET 0) s
WHERE s.part <> 'unfinished'
"""


def seen(connection: Connection, keys: Collection[Key]) -> dict[Key, datetime]:
    """Which of these calls the history has shown before, and when that record was observed."""
    with translate(name_of(connection)), connection.transaction():
        return {(row[0], row[1]): row[2] for row in connection.execute(_SEEN, _values(keys))}


_SHOWN = """
INSERT INTO pg_temp.verify_shown
SELECT * FROM unnest(%(ids)s::text[], %(times)s::timestamptz[], %(parts)s::text[], %(observed)s::timestamptz[])
ON CONFLICT (call_id, id_time) DO UPDATE SET part = excluded.part, observed_at = excluded.observed_at
"""

_FORGET = """
WITH outdated AS (
    DELETE FROM pg_temp.verify_found
    WHERE call_id = ANY (%(ids)s) AND kind IN ('missing', 'different') AND NOT mended RETURNING call_id, kind
)
DELETE FROM cdr.verify_finding f USING outdated o
WHERE f.run = %(run)s AND f.call_id = o.call_id AND f.kind = o.kind
"""
"""The history has shown these calls before, and shows something newer now."""

_FOUND = f"""
INSERT INTO pg_temp.verify_found AS v VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (call_id, kind) DO UPDATE SET fields = {_BOTH}, mended = excluded.mended,
    told = coalesce(v.told, '{{}}') || coalesce(excluded.told, '{{}}')
"""

_STORED = f"""
INSERT INTO cdr.verify_finding AS v (run, call_id, kind, recorder, fields) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (run, call_id, kind) DO UPDATE SET fields = {_BOTH}
"""


def keep(
    connection: Connection, run: UUID, shown: Mapping[Key, tuple[str, datetime]], found: Iterable[Finding]
) -> None:
    """Keep what was found, and what the history showed: of each call the part it plays, and when it was observed."""
    with translate(name_of(connection)), connection.transaction(), connection.cursor() as cursor:
        if shown:
            parts, observed = zip(*shown.values(), strict=True)
            cursor.execute(_FORGET, {"run": run, "ids": [key[0] for key in shown]})
            cursor.execute(_SHOWN, {**_values(shown), "parts": list(parts), "observed": list(observed)})
        for each in found:
            told = None if each.told is None else Jsonb(each.told)
            row = [each.call_id, each.kind, each.recorder, list(each.fields)]
            cursor.execute(_FOUND, [*row, told, each.mended])
            cursor.execute(_STORED, [run, *row])


def shown(connection: Connection) -> dict[str, int]:
    """How many calls the history showed, by the part they play."""
    with translate(name_of(connection)), connection.transaction():
        rows = connection.execute("SELECT part, count(*) FROM pg_temp.verify_shown GROUP BY part ORDER BY part")
        return {row[0]: row[1] for row in rows}


def found(connection: Connection) -> tuple[dict[What, int], int]:
    """How many findings there are of each kind, and how many of all are not mended."""
    query = "SELECT kind, count(*), count(*) FILTER (WHERE NOT mended) FROM pg_temp.verify_found GROUP BY kind"
    with translate(name_of(connection)), connection.transaction():
        rows = connection.execute(query).fetchall()
    return {row[0]: row[1] for row in rows}, sum(row[2] for row in rows)


def findings(connection: Connection, limit: int | None = None) -> Iterator[Finding]:
    """What this connection's last run found, in the order of kind and id, however much it is."""
    query = (
        "SELECT call_id, kind, recorder, fields, told, mended FROM pg_temp.verify_found ORDER BY kind, call_id LIMIT %s"
    )
    with translate(name_of(connection)), connection.transaction(), connection.cursor("findings") as cursor:
        for row in cursor.execute(query, [limit]):
            yield Finding(row[0], row[1], row[2], tuple(row[3]), row[4], row[5])


_EXTRA = f"""
WITH absent AS (
    SELECT c.call_id, c.recorder, CASE
        WHEN e.call_id IS NOT NULL THEN 'erased'
        WHEN c.start_time < %(kept_from)s THEN 'expired'
        WHEN coalesce(c.end_time, c.start_time) > %(settled)s THEN 'late'
        ELSE 'extra' END AS part
    FROM cdr.call c LEFT JOIN cdr.erased_call e ON e.call_id = c.call_id
    WHERE c.start_time >= %(start)s AND c.start_time < %(end)s AND c.state = '{State.COMPLETE}'
      AND NOT EXISTS (SELECT FROM pg_temp.verify_shown s WHERE s.call_id = c.call_id)
), kept AS (
    INSERT INTO pg_temp.verify_found SELECT call_id, part, recorder, '{{}}', NULL, false FROM absent
    WHERE part = 'extra' ON CONFLICT DO NOTHING
), stored AS (
    INSERT INTO cdr.verify_finding (run, call_id, kind, recorder)
    SELECT %(run)s, call_id, part, recorder FROM absent WHERE part = 'extra' ON CONFLICT DO NOTHING
)
SELECT part, count(*) FROM absent WHERE part <> 'extra' GROUP BY part
"""


def find_extra(
    connection: Connection, run: UUID, span: Interval, settled: datetime, kept_from: datetime | None
) -> dict[str, int]:
    """Find the complete calls of a span that the history did not show, and keep them.

    Returns how many of those it did not show are none of its omissions: `late` ones ended after `settled`, `expired`
    ones began before `kept_from`, `erased` ones were erased here.
    """
    values = {"run": run, "start": span.start, "end": span.end, "settled": settled, "kept_from": kept_from}
    with translate(name_of(connection)), connection.transaction():
        connection.execute("ANALYZE pg_temp.verify_shown")
        return {row[0]: row[1] for row in connection.execute(_EXTRA, values)}


# Which rows are held against their facts ----------------------------------------------------------------------------

_SCOPE = f"""
INSERT INTO pg_temp.verify_scope
SELECT call_id, id_time FROM (
    SELECT call_id, id_time FROM cdr.call WHERE start_time >= %(start)s AND start_time < %(end)s
    UNION SELECT call_id, id_time FROM cdr.call WHERE id_time >= %(near)s AND id_time < %(far)s
    UNION SELECT call_id, id_time FROM cdr.fact WHERE id_time >= %(near)s AND id_time < %(far)s
    UNION SELECT call_id, id_time FROM cdr.call
    WHERE id_time = '{UNTIMED}' AND first_seen_at >= %(start)s AND first_seen_at < %(end)s
    UNION SELECT call_id, id_time FROM cdr.fact
    WHERE id_time = '{UNTIMED}' AND coalesce(start_time, first_observed_at) >= %(start)s
      AND coalesce(start_time, first_observed_at) < %(end)s
) k
WHERE NOT EXISTS (SELECT FROM pg_temp.verify_shown s WHERE s.call_id = k.call_id AND s.id_time = k.id_time)
"""
"""A call belongs to a span by its start, or by its id's time, which is near it, or where the id has none by its facts:
no single column, changed by hand, takes a row out of sight. What the history showed was looked at already."""

_PAGE = """
SELECT call_id, id_time FROM pg_temp.verify_scope WHERE (call_id, id_time) > (%s, %s)
ORDER BY call_id, id_time LIMIT %s
"""


def scope(connection: Connection, span: Interval, page: int) -> Iterator[list[Key]]:
    """The calls of a span that the history did not show, page by page in the order of their key."""
    near = widened(span)
    values = {"start": span.start, "end": span.end, "near": near.start, "far": near.end}
    with translate(name_of(connection)), connection.transaction():
        connection.execute(_SCOPE, values)
        connection.execute("ANALYZE pg_temp.verify_scope")
    after: Key = ("", datetime.min.replace(tzinfo=UTC))
    while True:
        with translate(name_of(connection)), connection.transaction():
            keys = connection.execute(_PAGE, [*after, page]).fetchall()
        if not keys:
            return
        yield keys
        after = keys[-1]
