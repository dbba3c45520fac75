"""Derives calls again from the evidence: each kept element is read once more under today's settings.

Works through the calls in the order of their key, one transaction per page, in bounded memory; it can run beside
workers and be repeated at any time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

import psycopg

from etl.errors import CdrError
from etl.model import Fact, Kind
from etl.store import merge, staging
from etl.store.database import Connection, Cursor, name_of
from etl.store.elements import ERASED, unpack
from etl.store.errors import translate

_PAGE = 1_000


class Reread(Protocol):
    """Reads an element again; raises `CdrError` where it cannot be understood any more."""

    def __call__(
        self, kind: Kind, recorder: str | None, call_id: str, observed_at: datetime, element: bytes
    ) -> Fact: ...


@dataclass(frozen=True, slots=True)
class Scope:
    """Which calls: of one recorder, and by the call's start (else its first observation) in `[start, end)`."""

    recorder: str | None = None
    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """How many calls and facts were looked at, how many differ, and how many elements could not be read again
    (their facts stay as they are)."""

    calls: int = 0
    facts: int = 0
    facts_changed: int = 0
    calls_changed: int = 0
    unreadable: int = 0

    def __add__(self, other: Rebuilt) -> Rebuilt:
        return Rebuilt(
            self.calls + other.calls,
            self.facts + other.facts,
            self.facts_changed + other.facts_changed,
            self.calls_changed + other.calls_changed,
            self.unreadable + other.unreadable,
        )


_KEYS = """
SELECT c.call_id, c.id_time FROM cdr.call c
WHERE (c.call_id, c.id_time) > (%(call_id)s, %(id_time)s)
  AND (%(recorder)s::text IS NULL OR c.recorder = %(recorder)s OR EXISTS (
      SELECT FROM cdr.fact f WHERE f.call_id = c.call_id AND f.id_time = c.id_time AND f.recorder = %(recorder)s))
  AND (%(start)s::timestamptz IS NULL OR coalesce(c.start_time, c.first_seen_at) >= %(start)s)
  AND (%(end)s::timestamptz IS NULL OR coalesce(c.start_time, c.first_seen_at) < %(end)s)
ORDER BY c.call_id, c.id_time LIMIT %(page)s FOR UPDATE OF c
"""
"""The next calls, locked in the order of their key: from here on their facts stand still."""

_EVIDENCE = """
SELECT f.call_id, f.id_time, f.kind, f.recorder, f.observed_at, f.first_observed_at, f.digest,
    f.history, f.element
FROM unnest(%s::text[], %s::timestamptz[]) k (call_id, id_time)
CROSS JOIN LATERAL (SELECT * FROM cdr.fact WHERE call_id = k.call_id AND id_time = k.id_time OFFSET 0) f
WHERE f.kind <> 'absent' AND f.element <> %s
"""
"""But for absences, which say nothing that could be read, and for what was erased."""

_BEGINNING = ("", datetime.min.replace(tzinfo=UTC))


def rebuild(
    connection: Connection,
    reread: Reread,
    scope: Scope = Scope(),
    *,
    dry_run: bool = False,
    page: int = _PAGE,
) -> Iterator[Rebuilt]:
    """Rebuild page by page, yielding what has been done so far; `dry_run` does it all and takes it back.

    Rows that come out the same are not written, `recorded_at` included.
    """
    with translate(name_of(connection)):
        staging.prepare(connection)
        done, after = Rebuilt(), _BEGINNING
        while True:
            with connection.transaction() as transaction, connection.cursor() as cursor:
                cursor.execute(merge.SETTINGS)
                keys = _keys(cursor, scope, after, page)
                if keys:
                    done += _page(cursor, keys, reread)
                if dry_run:
                    raise psycopg.Rollback(transaction)
            if not keys:
                return
            after = keys[-1]
            yield done


_LOCK = """
SELECT c.call_id FROM unnest(%s::text[], %s::timestamptz[]) k (call_id, id_time)
CROSS JOIN LATERAL (
    SELECT call_id FROM cdr.call WHERE call_id = k.call_id AND id_time = k.id_time OFFSET 0 FOR UPDATE
) c
"""


def rebuild_these(connection: Connection, reread: Reread, keys: Sequence[staging.Key]) -> Rebuilt:
    """The same for some calls, no more than a page, also where a call's row is gone.

    The connection must have its staging table: that of a `Writer` has.
    """
    ordered = sorted(keys)
    ids, times = zip(*ordered, strict=True)
    with translate(name_of(connection)), connection.transaction(), connection.cursor() as cursor:
        cursor.execute(merge.SETTINGS)
        locked = len(cursor.execute(_LOCK, [list(ids), list(times)]).fetchall())
        done = _page(cursor, ordered, reread)
        if locked < len(ordered):  # rows made just now are locked only now: another writer may have come before
            _derive(cursor, ordered)
    return done


@dataclass(frozen=True, slots=True)
class _Stored:
    """A fact as it stands in the database, as far as reading it again needs it."""

    call_id: str
    id_time: datetime
    kind: Kind
    recorder: str | None
    observed_at: datetime
    first_observed_at: datetime
    digest: bytes
    history: str | None
    element: bytes

    def read_again(self, reread: Reread) -> Fact | None:
        """The fact under today's settings; None where its element cannot be understood any more."""
        kind = Kind(self.history) if self.history is not None else self.kind
        try:
            fact = reread(kind, self.recorder, self.call_id, self.observed_at, unpack(self.element))
        except CdrError:
            return None
        return replace(
            fact,
            call_id=self.call_id,
            id_time=self.id_time,
            observed_at=self.observed_at,
            recorder=self.recorder,
            digest=self.digest,
            history=None if self.history is None else Kind(self.history),
        )


def _keys(cursor: Cursor, scope: Scope, after: staging.Key, page: int) -> list[staging.Key]:
    values = {
        "call_id": after[0],
        "id_time": after[1],
        "recorder": scope.recorder,
        "start": scope.start,
        "end": scope.end,
        "page": page,
    }
    return cursor.execute(_KEYS, values).fetchall()


def _page(cursor: Cursor, keys: Sequence[staging.Key], reread: Reread) -> Rebuilt:
    ids, times = zip(*keys, strict=True)
    rows = cursor.execute(_EVIDENCE, [list(ids), list(times), ERASED]).fetchall()
    stored = [_Stored(row[0], row[1], Kind(row[2]), *row[3:]) for row in rows]
    again = [(each, each.read_again(reread)) for each in stored]
    read = [(each, fact) for each, fact in again if fact is not None]
    moved = [(each, fact) for each, fact in read if each.kind is not fact.kind]
    if moved:
        _move(cursor, moved)
    staging.stage(cursor, [fact for _, fact in read])
    replaced = cursor.execute(merge.within(merge.REPLACE_FACTS, times).encode(), prepare=False).fetchall()
    changed = len({*replaced, *((each.call_id, each.id_time, fact.kind.value) for each, fact in moved)})
    return Rebuilt(len(keys), len(stored), changed, _derive(cursor, keys), len(stored) - len(read))


def _derive(cursor: Cursor, keys: Sequence[staging.Key]) -> int:
    """Write the rows that do not follow from their facts, those included that could not be read again."""
    ids, times = zip(*keys, strict=True)
    values = [list(ids), list(times)]
    return cursor.execute(merge.within(merge.UPDATE_THESE, times).encode(), values, prepare=False).rowcount


_MOVE = "SELECT cdr.move_facts(%s::text[], %s::timestamptz[], %s::text[], %s::text[])"


def _move(cursor: Cursor, moved: Sequence[tuple[_Stored, Fact]]) -> None:
    """Facts that today count as another kind (finished or not) leave the old one and meet what is there already."""
    keys = [(each.call_id, each.id_time, each.kind.value, fact.kind.value) for each, fact in moved]
    cursor.execute(_MOVE, [list(column) for column in zip(*keys, strict=True)])
