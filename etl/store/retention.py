"""Deletion by age: whole months where nothing in them is younger or held, everything else row by row.

First `cdr.expiry` moves, then calls go: a writer that comes later brings back nothing that went. Each step is a short
transaction, so whatever ends a run leaves an archive from which the next one goes on. What takes something away is a
function of the owner, in sql/retention.sql: it looks at holds itself, and a user who may only write can call it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from uuid import UUID
from zlib import decompress

import psycopg

from etl.store import gate, merge
from etl.store.database import Connection, Cursor, name_of
from etl.store.errors import DatabaseConflict, translate
from etl.store.holds import BEGAN, HELD, Guard
from etl.store.quarantine import ABOUT
from etl.store.staging import Key

PAGE = 1_000
"""Calls that are deleted in one transaction: writers wait for it."""
DOCUMENTS = 20
"""Documents, which can be large, that are read in one transaction."""

_EXPIRED = f"""
(c.start_time < %(before)s OR (c.start_time IS NULL AND {BEGAN.format("c")} < %(before)s))
"""
"""SQL: whether the call `c` is as old: `etl.store.holds.BEGAN` in words that the index on start_time understands. The
functions of sql/retention.sql have the same."""

_GOES_ON = "EXISTS (SELECT FROM cdr.listed_call l WHERE l.call_id = c.call_id AND l.id_time = c.id_time)"
"""SQL: whether its recorder still lists the call `c`: then it stays however old it is."""


_TOO_YOUNG = """
SELECT m.age::text FROM cdr.minimum_age m WHERE %s > cdr.youngest_to_expire()
"""


def kept_by_owner(connection: Connection, before: datetime) -> str | None:
    """How long the archive's owner has calls kept at least, if some that began before this moment are younger."""
    with translate(name_of(connection)), connection.transaction():
        row = connection.execute(_TOO_YOUNG, [before]).fetchone()
    return None if row is None else str(row[0])


def move(connection: Connection, before: datetime) -> datetime:
    """From now on no call that began before and is not stored is stored any more. Returns the moment as it stands: it
    never goes back."""

    def work(cursor: Cursor) -> datetime:
        row = cursor.execute("SELECT cdr.expire(%s)", [before]).fetchone()
        assert row is not None
        moment: datetime = row[0]
        return moment

    return gate.closed(connection, work)


# Whole months -----------------------------------------------------------------------------------------------------

_MONTHS = """
SELECT to_date(right(c.relname, 7), 'YYYY_MM') FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'cdr.call'::regclass AND c.relname ~ '^call_[0-9]{4}_[0-9]{2}$'
  AND (to_date(right(c.relname, 7), 'YYYY_MM') + interval '1 month') AT TIME ZONE 'UTC' <= %s
ORDER BY 1
"""

_TRIES = 3
_LOOK = "5s"
"""So long writers may wait while a month is looked through: one that takes longer is deleted row by row."""


class _TooMuch(Exception):
    """A month cannot be looked through while others wait."""


@dataclass(frozen=True, slots=True)
class Month:
    """A month all of whose calls have expired, as far as its partition tells; `calls` in it."""

    first: date
    calls: int

    @property
    def name(self) -> str:
        return f"{self.first:%Y-%m}"


def months(connection: Connection, before: datetime) -> Iterator[Month]:
    """The months before this moment of which nothing has to stay, looked through one by one."""
    with translate(name_of(connection)), connection.transaction():
        found = [row[0] for row in connection.execute(_MONTHS, [before])]
    for first in found:
        with translate(name_of(connection)), connection.transaction(), connection.cursor() as cursor:
            calls = _bigint(cursor.execute("SELECT cdr.expired_calls(%s, %s)", [first, before]))
        if calls is not None:
            yield Month(first, calls)


def drop(connection: Connection, month: Month, before: datetime) -> int | None:
    """Drop the partitions of a month, of facts and calls alike; how many calls that were.

    None if it cannot be done now: a call in it must stay after all, somebody reads calls all the time, or there is too
    much to look through while writers wait.
    """

    def work(cursor: Cursor) -> int | None:
        cursor.execute(f"SET LOCAL statement_timeout = '{_LOOK}'")
        try:
            return _bigint(cursor.execute("SELECT cdr.drop_expired_month(%s, %s)", [month.first, before]))
        except psycopg.errors.QueryCanceled:
            raise _TooMuch from None

    try:
        return gate.closed(connection, work, _TRIES)
    except (DatabaseConflict, _TooMuch):
        return None


def _bigint(cursor: Cursor) -> int | None:
    row = cursor.fetchone()
    assert row is not None
    number: int | None = row[0]
    return number


# Row by row -------------------------------------------------------------------------------------------------------

_COLLECT = """
DROP TABLE IF EXISTS pg_temp.expiring;
CREATE TEMPORARY TABLE expiring (id_time timestamptz, call_id text COLLATE "C", PRIMARY KEY (id_time, call_id))
"""

_FILL = f"""
INSERT INTO pg_temp.expiring SELECT c.id_time, c.call_id FROM cdr.call c WHERE {_EXPIRED} AND NOT {_GOES_ON}
"""

_GOING_ON = f"SELECT count(*) FROM cdr.call c WHERE {_EXPIRED} AND {_GOES_ON}"

_NEXT = """
SELECT call_id, id_time FROM pg_temp.expiring WHERE (id_time, call_id) > (%s, %s)
ORDER BY id_time, call_id LIMIT %s
"""

_KEYS = "unnest(%(ids)s::text[], %(times)s::timestamptz[]) k (call_id, id_time)"

_DELETE = "SELECT call_id, id_time FROM cdr.delete_expired(%(ids)s::text[], %(times)s::timestamptz[], %(before)s)"

_DONE = f"DELETE FROM pg_temp.expiring e USING {_KEYS} WHERE e.call_id = k.call_id AND e.id_time = k.id_time"


def collect(connection: Connection, before: datetime) -> int:
    """Note in a temporary table which calls have expired; how many."""
    with translate(name_of(connection)), connection.transaction():
        connection.execute(_COLLECT)
        return connection.execute(_FILL, {"before": before}).rowcount


def going_on(connection: Connection, before: datetime) -> int:
    """How many calls are as old, and stay because they go on."""
    with translate(name_of(connection)), connection.transaction():
        return _bigint(connection.execute(_GOING_ON, {"before": before})) or 0


def delete(connection: Connection, before: datetime, page: int = PAGE) -> Iterator[int]:
    """Delete the calls that were collected, but for those that a hold covers by then; how many on each page.

    Afterwards those that are left stand in the temporary table: they are held.
    """
    after = (datetime.min.replace(tzinfo=UTC), "")
    while True:
        with translate(name_of(connection)), connection.transaction():
            keys: list[Key] = connection.execute(_NEXT, [*after, page]).fetchall()
        if not keys:
            return
        after = (keys[-1][1], keys[-1][0])
        yield gate.closed(connection, _Page(sorted(keys), before))


@dataclass(frozen=True, slots=True)
class _Page:
    """The deletion of some calls."""

    keys: list[Key]
    before: datetime

    def __call__(self, cursor: Cursor) -> int:
        ids, times = zip(*self.keys, strict=True)
        values = {"ids": list(ids), "times": list(times), "before": self.before}
        cursor.execute(merge.SETTINGS)
        gone = cursor.execute(_DELETE, values, prepare=False).fetchall()
        cursor.execute(_DONE, {"ids": [row[0] for row in gone], "times": [row[1] for row in gone]})
        return len(gone)


_UNHELD = f"""
DELETE FROM pg_temp.expiring e USING cdr.call c
WHERE c.call_id = e.call_id AND c.id_time = e.id_time AND NOT {HELD}
"""


def set_aside(connection: Connection) -> int:
    """For a dry run, in place of `delete`: leave in the temporary table what is held; how many calls are not."""
    with translate(name_of(connection)), connection.transaction():
        return connection.execute(_UNHELD).rowcount


# What else is as old ----------------------------------------------------------------------------------------------

_REST = {
    "actions": """
        FROM cdr.reconcile_action a USING cdr.reconcile_run r
        WHERE r.id = a.run AND r.started_at < %(before)s
          AND NOT EXISTS (SELECT FROM pg_temp.expiring e WHERE e.call_id = a.call_id)
    """,
    "findings": """
        FROM cdr.verify_finding v USING cdr.verify_run r
        WHERE r.id = v.run AND r.started_at < %(before)s
          AND NOT EXISTS (SELECT FROM pg_temp.expiring e WHERE e.call_id = v.call_id)
    """,
    "acceptances": """
        FROM cdr.call_acceptance a
        WHERE a.at < %(before)s AND NOT EXISTS (SELECT FROM pg_temp.expiring e WHERE e.call_id = a.call_id)
    """,
}
"""What was done about calls, in runs as old as these: ids, no personal data. Of calls that are held it stays."""


def delete_rest(connection: Connection, before: datetime, *, dry_run: bool = False) -> dict[str, int]:
    """Delete what was done about calls in runs before this moment, after `delete`; how many rows of each kind."""
    with translate(name_of(connection)), connection.transaction() as transaction:
        counts = {
            name: connection.execute(f"DELETE {rows}".encode(), {"before": before}).rowcount
            for name, rows in _REST.items()
        }
        if dry_run:
            raise psycopg.Rollback(transaction)
    return counts


_QUARANTINED = f"""
SELECT id, observed_at, recorder, CASE WHEN %(bodies)s THEN body END, {ABOUT} FROM cdr.quarantine
WHERE observed_at < %(before)s AND id > %(after)s ORDER BY id LIMIT %(page)s
"""

_LISTS = """
SELECT id, started_at, recorder, CASE WHEN %(bodies)s THEN first_list END, CASE WHEN %(bodies)s THEN second_list END
FROM cdr.reconcile_run
WHERE started_at < %(before)s AND (first_list IS NOT NULL OR second_list IS NOT NULL) AND id > %(after)s
ORDER BY id LIMIT %(page)s
"""

FORGET_DOCUMENTS = "DELETE FROM cdr.quarantine WHERE id = ANY(%s)"
FORGET_LISTS = "UPDATE cdr.reconcile_run SET first_list = NULL, second_list = NULL WHERE id = ANY(%s)"


def delete_documents(connection: Connection, before: datetime, *, dry_run: bool = False) -> int:
    """Delete the documents in quarantine that were received before, but for those that a hold may cover; how many."""
    forget = None if dry_run else FORGET_DOCUMENTS
    return _forget(connection, before, _QUARANTINED, forget, 0, lambda body: body)


def delete_lists(connection: Connection, before: datetime, *, dry_run: bool = False) -> int:
    """Delete the lists that reconciliation runs kept before, but for those that a hold may cover; of how many runs.

    The runs stay.
    """
    forget = None if dry_run else FORGET_LISTS
    return _forget(connection, before, _LISTS, forget, UUID(int=0), decompress)


def _forget(
    connection: Connection,
    before: datetime,
    find: str,
    forget: str | None,
    after: object,
    read: Callable[[bytes], bytes],
) -> int:
    """Page by page; with `forget` None they are only counted."""

    def work(cursor: Cursor) -> tuple[object, int]:
        guard = Guard(cursor)
        values = {"before": before, "after": after, "page": DOCUMENTS, "bodies": guard.reads}
        rows = cursor.execute(find.encode(), values).fetchall()
        free = [row[0] for row in rows if not guard.protects(row[1], row[2], [read(body) for body in row[3:] if body])]
        if forget is not None:
            cursor.execute(forget.encode(), [free])
        return (rows[-1][0] if rows else None), len(free)

    count = 0
    while after is not None:
        after, forgotten = gate.closed(connection, work)
        count += forgotten
    return count
