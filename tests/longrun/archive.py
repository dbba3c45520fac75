"""Holds the archive against the truth, call by call and field by field, in the database itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from longrun import calls
from longrun.calls import EPOCH, Call, Times

from etl.store.database import Connection

BLOCK = 50_000
"""Calls that are compared at a time."""
SHOWN = 5
_FIELDS = tuple(calls.fields(0, 0))
_COLUMNS = ("recorder", "start_time", "end_time", *_FIELDS)

_TRUTH = f"""
CREATE TEMP TABLE truth ON COMMIT DROP AS
SELECT call_id, id_time, {", ".join(_COLUMNS)}, ''::text AS title FROM cdr.call WHERE false
"""
_COPY = "COPY truth FROM STDIN"
_DIFFERING = ", ".join(f"CASE WHEN c.{name} IS DISTINCT FROM t.{name} THEN '{name}' END" for name in _COLUMNS)
_COMPARED = f"""
SELECT t.call_id, c.state, array_remove(ARRAY[{_DIFFERING},
         CASE WHEN c.attributes #>> '{{shared_item,title}}' IS DISTINCT FROM t.title THEN 'attributes' END,
         CASE WHEN c.quality <> '{{}}' THEN 'quality' END], NULL) AS differing,
       c.call_id IS NULL AND gap_at(t.recorder, t.start_time) AND gap_at(t.recorder, t.end_time) AS in_gap
FROM truth t LEFT JOIN cdr.call c ON c.call_id = t.call_id AND c.id_time = t.id_time
"""
_AMISS = f"""
SELECT call_id, state, differing, in_gap FROM ({_COMPARED}) AS compared
WHERE state IS DISTINCT FROM 'complete' OR differing <> '{{}}'
"""
# All time before a recorder's first subscription is nobody's promise either.
_GAP_AT = """
CREATE FUNCTION pg_temp.gap_at(name text, at timestamptz) RETURNS boolean STABLE LANGUAGE sql AS $$
    SELECT EXISTS (SELECT FROM cdr.gap g WHERE g.recorder = name AND g.from_time <= at
                   AND (g.to_time IS NULL OR at < g.to_time))
        OR at < (SELECT min(subscribed_at) FROM cdr.session s WHERE s.recorder = name)
$$
"""


@dataclass(slots=True)
class Compared:
    """`happened`: all calls of the truth. `in_gaps`: not archived, began and ended in listed gaps. `broken`: a line for
    each call that is unaccounted for, not complete, or differs."""

    happened: int = 0
    complete: int = 0
    in_gaps: int = 0
    broken: list[str] = field(default_factory=list)


def compare(connection: Connection, folder: Path) -> Compared:
    """All calls of a run whose times lie in `folder`."""
    found = Compared()
    with connection.transaction():
        connection.execute(_GAP_AT.encode())
        for index, path in enumerate(sorted(folder.glob("*.times"))):
            times = Times.load(path)
            for first in range(0, len(times.starts), BLOCK):
                _block(connection, index, times, first, found)
        ((archived,),) = connection.execute(b"SELECT count(*) FROM cdr.call")
    if archived != found.happened - found.in_gaps:
        found.broken.append(f"{archived:,} calls are archived, and {found.happened:,} happened")
    return found


def _block(connection: Connection, recorder: int, times: Times, first: int, found: Compared) -> None:
    numbers = range(first, min(first + BLOCK, len(times.starts)))
    connection.execute(b"DROP TABLE IF EXISTS truth")
    connection.execute(_TRUTH.encode())
    with connection.cursor().copy(_COPY) as copy:
        for number in numbers:
            copy.write_row(_row(Call(recorder, number, times.starts[number], times.ends[number])))
    connection.execute(b"ANALYZE truth")
    amiss = connection.execute(_AMISS.replace("gap_at", "pg_temp.gap_at").encode()).fetchall()
    excused = sum(in_gap for *_, in_gap in amiss)
    found.happened += len(numbers)
    found.in_gaps += excused
    found.complete += len(numbers) - sum(state != "complete" for _, state, _, _ in amiss)
    found.broken += _told(amiss)


def _told(amiss: Sequence[Sequence[Any]]) -> Iterator[str]:
    for call_id, state, differing, in_gap in amiss:
        if not in_gap:
            yield f"{call_id} is {state or 'not archived'}" + (f", differs in {', '.join(differing)}" if state else "")


def _row(call: Call) -> tuple[str, ...]:
    start, end = (f"{EPOCH + timedelta(milliseconds=at):%Y-%m-%d %H:%M:%S.%f}+00" for at in (call.start, call.end))
    known = calls.fields(call.recorder, call.number)
    return (call.id, start, calls.name_of(call.recorder), start, end, *known.values(), calls.title(call.number))


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes of a table with its indexes: as it is, and copied afresh."""

    table: str
    rows: int
    bytes: int
    fresh: int


_TABLES = """
SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'cdr' AND c.relkind = 'r' AND pg_table_size(c.oid) > 65536 ORDER BY 1
"""
_PLAIN_COLUMNS = """
SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
WHERE attrelid = format('cdr.%%I', %s::text)::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
"""


def sizes(connection: Connection) -> list[Size]:
    """Every table of the archive that is larger than 64 kB, beside a fresh copy of its rows with the same indexes."""
    tables = [name for (name,) in connection.execute(_TABLES.encode()).fetchall()]
    connection.commit()
    return [_size(connection, name) for name in tables]


def _size(connection: Connection, name: str) -> Size:
    ((columns,),) = connection.execute(_PLAIN_COLUMNS.encode(), [name])
    connection.execute(f'CREATE TABLE public.fresh (LIKE cdr."{name}" INCLUDING ALL)'.encode())
    copied = f'INSERT INTO public.fresh ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM cdr."{name}"'
    rows = connection.execute(copied.encode()).rowcount
    ((size, fresh),) = connection.execute(
        f"SELECT pg_total_relation_size('cdr.\"{name}\"'), pg_total_relation_size('public.fresh')".encode()
    )
    connection.rollback()
    return Size(name, rows, size, fresh)
