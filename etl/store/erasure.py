"""Erasure of a party (GDPR article 17): the calls archived at this moment lose what tells who spoke, for good.

Each call leaves a tombstone, `cdr.erased_call`. Whatever arrives of it later is cleared on its way in (`gate.admit`),
so nothing has to be found again. What is done is known by the tombstones: a run that was interrupted is repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias
from uuid import UUID
from zlib import decompress

import psycopg

from etl.calls.erasure import cleared
from etl.calls.ids import canonical, id_time
from etl.calls.parties import Mentions, forms, said, words
from etl.fields import FIELDS, HIDDEN
from etl.model import Fact, Kind
from etl.store import gate, merge, staging
from etl.store.database import Connection, Cursor, name_of
from etl.store.elements import unpack
from etl.store.errors import translate
from etl.store.holds import HELD, Guard, mentions
from etl.store.quarantine import ABOUT
from etl.store.retention import FORGET_DOCUMENTS, FORGET_LISTS
from etl.store.staging import Key

PAGE = 500
"""Calls that are erased in one transaction: writers wait for it."""
DOCUMENTS = 20
"""Documents, which can be large, that are read in one transaction."""


# Which calls ------------------------------------------------------------------------------------------------------

_MAKE = """
DROP TABLE IF EXISTS pg_temp.erasing;
CREATE TEMPORARY TABLE erasing (call_id text COLLATE "C", id_time timestamptz, PRIMARY KEY (call_id, id_time))
"""

_FIND = f"""
INSERT INTO pg_temp.erasing
SELECT c.call_id, c.id_time FROM cdr.call c WHERE {mentions("c", "%(forms)s::text[]")}
UNION SELECT f.call_id, f.id_time FROM cdr.fact f WHERE {mentions("f", "%(forms)s::text[]")}
"""

_HELD = f"""
SELECT count(*) FROM pg_temp.erasing e JOIN cdr.call c ON c.call_id = e.call_id AND c.id_time = e.id_time WHERE {HELD}
"""

_NEXT = """
SELECT call_id, id_time FROM pg_temp.erasing WHERE (call_id, id_time) > (%s, %s) ORDER BY call_id, id_time LIMIT %s
"""


def find(connection: Connection, party: str) -> int:
    """Note in a temporary table which calls have this party, in their row or in any fact; how many. Reads them all."""
    with translate(name_of(connection)), connection.transaction():
        connection.execute(_MAKE)
        return connection.execute(_FIND, {"forms": list(_lowered(connection, party))}).rowcount


def _lowered(connection: Connection, party: str) -> Sequence[str]:
    """The party's spellings in lower case, as this database has it."""
    query = "SELECT ARRAY(SELECT DISTINCT lower(form) FROM unnest(%s::text[]) form ORDER BY 1)"
    row = connection.execute(query, [list(forms(party))]).fetchone()
    assert row is not None
    found: Sequence[str] = row[0]
    return found


def held(connection: Connection) -> int:
    """How many of the calls that were found a hold covers now."""
    with translate(name_of(connection)), connection.transaction():
        row = connection.execute(_HELD).fetchone()
    return int(row[0]) if row else 0


# Erasing them -----------------------------------------------------------------------------------------------------

_KEYS = "unnest(%(ids)s::text[], %(times)s::timestamptz[]) k (call_id, id_time)"

_LOCK = f"""
SELECT c.call_id FROM {_KEYS} CROSS JOIN LATERAL (
    SELECT call_id FROM cdr.call c WHERE c.call_id = k.call_id AND c.id_time = k.id_time AND within(c)
    OFFSET 0 FOR UPDATE
) c
"""
"""The gate keeps writers out; this keeps `cdr rebuild` out."""

_FREE = f"""
SELECT k.call_id, k.id_time FROM {_KEYS} LEFT JOIN LATERAL (
    SELECT * FROM cdr.call c WHERE c.call_id = k.call_id AND c.id_time = k.id_time AND within(c) OFFSET 0
) c ON true WHERE NOT {HELD}
"""

_TOMBSTONE = "INSERT INTO cdr.erased_call (call_id) SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING"

_NAMES = tuple(field.name for field in FIELDS)

_FACTS = f"""
SELECT f.call_id, f.id_time, f.kind, f.observed_at, f.recorder, f.located, f.history, f.quality, f.element,
    {", ".join(f"f.{name}" for name in _NAMES)}
FROM {_KEYS} CROSS JOIN LATERAL (
    SELECT * FROM cdr.fact f WHERE f.call_id = k.call_id AND f.id_time = k.id_time AND within(f) OFFSET 0
) f
"""

_CLEARED = (*sorted(HIDDEN), "attributes", "element", "digest")

_CLEAR_FACTS = f"""
INSERT INTO cdr.fact AS f ({", ".join(merge.STAGED_COLUMNS)}, first_observed_at)
SELECT {", ".join(merge.STAGED_COLUMNS)}, observed_at FROM {merge.STAGED}
ON CONFLICT ({merge.KEY}, kind) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _CLEARED)}
"""
"""The facts are there; it is written as an insert because that finds each by its key."""

_CLEAR_CALLS = f"""
UPDATE cdr.call c SET {", ".join(f"{name} = NULL" for name in sorted(HIDDEN))}, attributes = '{{}}',
    recorded_at = statement_timestamp()
FROM {_KEYS} WHERE c.call_id = k.call_id AND c.id_time = k.id_time AND within(c)
"""

_CHANGED = f"""
SELECT c.call_id, c.id_time FROM {_KEYS} CROSS JOIN LATERAL (
    SELECT * FROM cdr.call c WHERE c.call_id = k.call_id AND c.id_time = k.id_time AND within(c) OFFSET 0
) c WHERE c.attributes <> '{{}}' OR num_nonnulls({", ".join(f"c.{name}" for name in sorted(HIDDEN))}) > 0
"""
"""What is personal still, though it follows from no fact: somebody changed a row by hand."""


def erase(connection: Connection, page: int = PAGE) -> Iterator[int]:
    """Erase the calls that were found, but for those that a hold covers by then; how many on each page.

    Raises `DatabaseConflict`, `CdrError`.
    """
    with translate(name_of(connection)):
        staging.prepare(connection)
    after: Key = ("", datetime.min.replace(tzinfo=UTC))
    while True:
        with translate(name_of(connection)), connection.transaction():
            keys: list[Key] = connection.execute(_NEXT, [*after, page]).fetchall()
        if not keys:
            return
        after = keys[-1]
        yield gate.closed(connection, _Page(keys))


@dataclass(frozen=True, slots=True)
class _Page:
    """The erasure of some calls, in the order of their key."""

    keys: list[Key]

    def __call__(self, cursor: Cursor) -> int:
        cursor.execute(merge.SETTINGS)
        _run(cursor, _LOCK, self.keys)
        free: list[Key] = sorted(_run(cursor, _FREE, self.keys).fetchall())
        if not free:
            return 0
        cursor.execute(_TOMBSTONE, [[key[0] for key in free]])
        staging.stage(cursor, [cleared(_fact(row)) for row in _run(cursor, _FACTS, free).fetchall()])
        times = [key[1] for key in free]
        cursor.execute(_CLEAR_FACTS)
        values = [[key[0] for key in free], times]
        cursor.execute(merge.within(merge.UPDATE_THESE, times).encode(), values, prepare=False)
        if changed := _run(cursor, _CHANGED, free).fetchall():
            _run(cursor, _CLEAR_CALLS, changed)
        return len(free)


def _run(cursor: Cursor, statement: str, keys: Sequence[Key]) -> Cursor:
    """Run a statement about calls over their partitions."""
    ids, times = zip(*keys, strict=True)
    values = {"ids": list(ids), "times": list(times)}
    return cursor.execute(merge.within(statement, times).encode(), values, prepare=False)


def _fact(row: tuple[Any, ...]) -> Fact:
    """A stored fact, but for what is erased of it anyway."""
    call_id, moment, kind, observed_at, recorder, located, history, quality, element, *values = row
    return Fact(
        call_id=call_id,
        id_time=moment,
        kind=Kind(kind),
        observed_at=observed_at,
        recorder=recorder,
        located=located,
        digest=b"",
        element=unpack(element),
        values={name: value for name, value in zip(_NAMES, values, strict=True) if value is not None},
        attributes={},
        quality=tuple(quality),
        history=None if history is None else Kind(history),
    )


# Documents that are no facts --------------------------------------------------------------------------------------

_QUARANTINED = f"""
SELECT id, observed_at, recorder, note->>'call_id', body, {ABOUT} FROM cdr.quarantine WHERE id > %s ORDER BY id LIMIT %s
"""

_LISTS = """
SELECT id, started_at, recorder, NULL, first_list, second_list FROM cdr.reconcile_run
WHERE (first_list IS NOT NULL OR second_list IS NOT NULL) AND id > %s ORDER BY id LIMIT %s
"""

_ERASED = "SELECT EXISTS (SELECT FROM cdr.erased_call WHERE call_id = ANY(%s))"


@dataclass(frozen=True, slots=True)
class Documents:
    """How many documents were of the party or of erased calls: `removed`, and `held` since a hold may cover them."""

    removed: int = 0
    held: int = 0

    def __add__(self, other: Documents) -> Documents:
        return Documents(self.removed + other.removed, self.held + other.held)


@dataclass(frozen=True, slots=True)
class _Found:
    """A document, or two, that were received at one time; `about`: the call that it is known to be of."""

    id: Any
    at: datetime
    recorder: str | None
    about: str | None
    bodies: Sequence[bytes]


def erase_quarantine(connection: Connection, party: str, *, dry_run: bool = False) -> Documents:
    """Remove the documents in quarantine that mention the party or are of an erased call. Reads them all."""
    forget = None if dry_run else FORGET_DOCUMENTS
    return _forget(connection, _Search(party, _QUARANTINED, lambda body: body), forget, 0)


def erase_lists(connection: Connection, party: str, *, dry_run: bool = False) -> Documents:
    """Remove the lists that reconciliation runs kept and that mention the party or show an erased call; counts runs."""
    return _forget(connection, _Search(party, _LISTS, decompress), None if dry_run else FORGET_LISTS, UUID(int=0))


class _Search:
    """Looks through documents page by page, without keeping anybody waiting."""

    def __init__(self, party: str, query: str, read: Callable[[bytes], bytes]) -> None:
        self._mentions = Mentions([party])
        self._query = query
        self._read = read

    def page(self, cursor: Cursor, after: object) -> tuple[object, list[_Found]]:
        """What is found among the next documents, and the last of these; None after the last of all."""
        rows = cursor.execute(self._query.encode(), [after, DOCUMENTS]).fetchall()
        found = [self._found(*row) for row in rows]
        return (rows[-1][0] if rows else None), [each for each in found if self._concerns(cursor, each)]

    def _found(self, number: Any, at: datetime, recorder: str | None, about: str | None, *bodies: bytes) -> _Found:
        return _Found(number, at, recorder, about, [self._read(body) for body in bodies if body is not None])

    def _concerns(self, cursor: Cursor, found: _Found) -> bool:
        texts = [said(body).replace("\0", " ") for body in found.bodies]  # PostgreSQL has no text with a NUL byte
        if any(self._mentions(text) for text in texts):
            return True
        named = {canonical(each) for text in texts for each in words(text)} if found.about is None else {found.about}
        return cursor.execute(_ERASED, [[canonical(each) for each in named]]).fetchone() == (True,)


def _forget(connection: Connection, search: _Search, forget: str | None, after: object) -> Documents:
    done = Documents()
    while after is not None:
        with translate(name_of(connection)), connection.transaction(), connection.cursor() as cursor:
            after, found = search.page(cursor, after)
        if found:
            done += gate.closed(connection, _Removal(found, forget))
    return done


@dataclass(frozen=True, slots=True)
class _Removal:
    """The removal of some documents, but for those that a hold may cover; `forget` None: they are only counted."""

    found: Sequence[_Found]
    forget: str | None

    def __call__(self, cursor: Cursor) -> Documents:
        guard = Guard(cursor)
        free = [each.id for each in self.found if not guard.protects(each.at, each.recorder, each.bodies)]
        if self.forget is not None:
            cursor.execute(self.forget.encode(), [free])
        return Documents(len(free), len(self.found) - len(free))


# What else has the party's name, and where copies went -------------------------------------------------------------

_FORGET_HOLDS = "SELECT cdr.forget_released_holds(%s::text[])"


def erase_released_holds(connection: Connection, party: str, *, dry_run: bool = False) -> int:
    """Remove the party's name from holds that were released; how many."""
    with translate(name_of(connection)), connection.transaction() as transaction:
        row = connection.execute(_FORGET_HOLDS, [list(_lowered(connection, party))]).fetchone()
        if dry_run:
            raise psycopg.Rollback(transaction)
    return int(row[0]) if row else 0


_FOLDERS = "SELECT DISTINCT path FROM cdr.backfill_folder"

_FORGET_FOLDERS = "DELETE FROM cdr.backfill_folder WHERE path = ANY(%s)"


def erase_folders(connection: Connection, party: str, *, dry_run: bool = False) -> int:
    """Forget how far file backfills that did not end are in folders whose path names the party: these are read again
    from their beginning. How many folders."""
    mentions_party = Mentions([party])
    with translate(name_of(connection)), connection.transaction():
        paths = [row[0] for row in connection.execute(_FOLDERS) if mentions_party(said(row[0]))]
        if not dry_run:
            connection.execute(_FORGET_FOLDERS, [paths])
    return len(paths)


@dataclass(frozen=True, slots=True)
class Export:
    """A folder on a machine that calls were exported to, in one span of time; `finished`: whether the export ended."""

    folder: str
    host: str
    start: datetime
    end: datetime
    started_at: datetime
    finished: bool


_EXPORTS = """
SELECT folder, host, from_time, to_time, started_at, finished_at IS NOT NULL FROM cdr.export
WHERE destroyed_at IS NULL ORDER BY started_at
"""


def exports(connection: Connection) -> list[Export]:
    """Every export that is not known to be destroyed, oldest first."""
    with translate(name_of(connection)), connection.transaction():
        return [Export(*row) for row in connection.execute(_EXPORTS)]


Months: TypeAlias = dict[tuple[str, str | None], datetime]
"""By month (`YYYY-MM`, UTC) and recorder: when a row of it was erased last."""

_TOMBSTONES = "SELECT call_id FROM cdr.erased_call WHERE erased_at > %s AND call_id > %s ORDER BY call_id LIMIT %s"

_ERASED_ROWS = f"""
SELECT to_char(coalesce(c.start_time, c.first_seen_at) AT TIME ZONE 'UTC', 'YYYY-MM'), c.recorder, max(c.recorded_at)
FROM {_KEYS} CROSS JOIN LATERAL (
    SELECT * FROM cdr.call WHERE call_id = k.call_id AND id_time = k.id_time OFFSET 0
) c GROUP BY 1, 2
"""


def erased_months(connection: Connection, since: datetime) -> Months:
    """In which months the calls lie that were erased since then, by whatever run."""
    found: Months = {}
    after = ""
    while True:
        with translate(name_of(connection)), connection.transaction():
            ids = [row[0] for row in connection.execute(_TOMBSTONES, [since, after, PAGE])]
            if not ids:
                return found
            rows = connection.execute(_ERASED_ROWS, {"ids": ids, "times": [id_time(each) for each in ids]})
            for month, recorder, at in rows:
                found[month, recorder] = max(at, found.get((month, recorder), at))
        after = ids[-1]
