"""What could not be understood or stored, kept as it came."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import blake2b
from typing import Any, Literal
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb
from sqlalchemy import Select, func, select, update

from etl.errors import UsageError
from etl.model import Fact, Json, Kind, Quarantined
from etl.store import gate, schema
from etl.store.database import Connection, Cursor, name_of, run
from etl.store.errors import translate

_table = schema.quarantine.c

REFUSED = "refused_by_database"
"""Reason of a fact that PostgreSQL would not take."""

TOO_LARGE = "too_large"
"""Reason of what is longer than `worker.document_limit`: only its first and last bytes are kept."""

_ADD = """
INSERT INTO cdr.quarantine (digest, observed_at, recorder, origin, reason, session, note, body)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (digest) DO NOTHING
"""

_DISCARDED = "SELECT count(*) FROM cdr.quarantine WHERE digest = ANY(%s) AND state = 'discarded'"

_OURS = (
    *("kind", "sqlstate", "error", "detail", "reason", "channel", "asked", "purpose", "run"),
    *("requested_at", "seen_at", "from", "to", "boot", "booted_at", "now", "seen"),
)
ABOUT = f"convert_to(origin, 'UTF8'), convert_to((note - '{{{','.join(_OURS)}}}'::text[])::text, 'UTF8')"
"""SQL: what is kept beside a document and can name somebody, as documents too: the path of a file, and what was noted,
but for our own words, which have years and numbers in them."""

_NAMING = ("kind", "call_id", "sqlstate", "error")

_FILES = "SELECT EXISTS (SELECT FROM cdr.quarantine WHERE state = 'open' AND note->>'kind' = 'file')"

_MENDED = """
UPDATE cdr.quarantine SET state = 'retried', resolved_at = %s
WHERE state = 'open' AND note->>'kind' = 'file' AND origin = ANY(%s)
"""


def digest(found: Quarantined) -> bytes:
    """Identity of what was received: where from, when, and the bytes; not the reason, whose words may change.

    A row of the HTTP history is the same whenever it is read: it comes again with every read of its time.
    """
    content = blake2b(digest_size=16)
    moment = "" if found.origin == Kind.HTTP else found.observed_at.isoformat()
    for part in (found.recorder or "", found.origin, moment):
        content.update(part.encode(errors="surrogatepass") + b"\0")
    content.update(found.body)
    if "erased" in found.note:
        content.update(str(found.note.get("call_id")).encode(errors="surrogatepass"))
    return content.digest()


def refused(fact: Fact, error: Exception) -> Quarantined:
    """A fact that PostgreSQL would not take, with the SQLSTATE (no values: they are personal)."""
    state = error.sqlstate if isinstance(error, psycopg.Error) else None
    note: dict[str, Json] = {
        "kind": fact.kind.value,
        "call_id": _storable(fact.call_id),
        "sqlstate": state,
        "error": type(error).__name__,
    }
    origin = "stream" if fact.recorder else fact.kind.value
    return Quarantined(fact.observed_at, fact.recorder, origin, REFUSED, fact.element, note=note)


def add(cursor: Cursor, found: Sequence[Quarantined]) -> Counter[tuple[str | None, str]]:
    """Store what is new of it, in one order for all writers; the number of rows added by recorder and reason.

    What names an erased call is kept without its document, and its note says `erased`.
    """
    added: Counter[tuple[str | None, str]] = Counter()
    kept = _without_erased(cursor, found)
    for identity, each in sorted({digest(each): each for each in kept}.items(), key=lambda item: item[0]):
        cursor.execute(_ADD, _row(identity, each))
        added[each.recorder, each.reason] += cursor.rowcount
    return +added


def _without_erased(cursor: Cursor, found: Sequence[Quarantined]) -> list[Quarantined]:
    if not found or not gate.any_erased(cursor):
        return list(found)
    return [_cleared(each) if _names_erased(cursor, each) else each for each in found]


def _names_erased(cursor: Cursor, found: Quarantined) -> bool:
    about = found.note.get("call_id")
    return gate.names_erased(cursor, found.body, about if isinstance(about, str) else None)


def _cleared(found: Quarantined) -> Quarantined:
    """Of its note only what it is and of which call; whatever else was noted may come from the document, and the path
    of a file may name somebody."""
    note = {key: value for key, value in found.note.items() if key in _NAMING}
    origin = Kind.FILE.value if note.get("kind") == Kind.FILE else found.origin
    return replace(found, origin=origin, body=b"", note={**note, "erased": True})


def discarded(connection: Connection, found: Sequence[Quarantined]) -> int:
    """How many of these are known and were discarded: somebody has looked at them."""
    if not found:
        return 0
    with translate(name_of(connection)), connection.transaction(), connection.cursor() as cursor:
        known = [digest(each) for each in _without_erased(cursor, found)]
        row = cursor.execute(_DISCARDED, [known]).fetchone()
    return int(row[0]) if row else 0


def mended(connection: Connection, paths: Sequence[str], at: datetime) -> int:
    """Mark the open rows of files that read well by now as retried, such as those that were half written when they
    were first read; how many there were."""
    with translate(name_of(connection)), connection.transaction():
        if connection.execute(_FILES).fetchone() == (False,):
            return 0
        return connection.execute(_MENDED, [at, [_storable(path) for path in paths]]).rowcount


def _row(identity: bytes, found: Quarantined) -> tuple[Any, ...]:
    note = Jsonb({key: _storable(value) for key, value in found.note.items()})
    words = (_storable(found.recorder), _storable(found.origin), _storable(found.reason))
    return (identity, found.observed_at, *words, found.session, note, found.body)


def _storable(value: Json) -> Any:
    """Text without what PostgreSQL cannot hold: here nothing may be refused. The bytes themselves are in `body`."""
    if isinstance(value, str):
        return value.replace("\0", "\\0").encode(errors="backslashreplace").decode()
    return value


@dataclass(frozen=True, slots=True)
class Item:
    """One row of quarantine. `size` is that of the body, which only `show` reads."""

    id: int
    observed_at: datetime
    recorder: str | None
    origin: str
    reason: str
    session: UUID | None
    note: dict[str, Json]
    size: int
    state: str
    recorded_at: datetime
    resolved_at: datetime | None


def _select() -> Select[Any]:
    return select(
        _table.id,
        _table.observed_at,
        _table.recorder,
        _table.origin,
        _table.reason,
        _table.session,
        _table.note,
        func.length(_table.body),
        _table.state,
        _table.recorded_at,
        _table.resolved_at,
    )


def items(connection: Connection, *, state: str | None = "open", limit: int = 100) -> list[Item]:
    """The newest rows, in one state or (None) in any."""
    query = _select().order_by(_table.observed_at.desc(), _table.id.desc()).limit(limit)
    if state is not None:
        query = query.where(_table.state == state)
    return [Item(*row) for row in run(connection, query)]


def about(connection: Connection, call_id: str) -> list[Item]:
    """The rows, in any state, that name a call (canonical id), oldest first."""
    query = _select().where(func.lower(_table.note["call_id"].astext) == call_id.lower())
    return [Item(*row) for row in run(connection, query.order_by(_table.observed_at, _table.id))]


def show(connection: Connection, number: int) -> tuple[Item, bytes]:
    """One row with its bytes. Raises `UsageError` where there is none with this id."""
    row = run(connection, _select().add_columns(_table.body).where(_table.id == number)).fetchone()
    if row is None:
        raise UsageError(f"quarantine holds nothing with id {number}: 'cdr quarantine list' shows what there is")
    return Item(*row[:-1]), bytes(row[-1])


def resolve(connection: Connection, number: int, state: Literal["retried", "discarded"], at: datetime) -> None:
    """Mark an open row as retried or discarded; it stays, with its bytes. Raises `UsageError` for any other row."""
    change = (
        update(schema.quarantine)
        .where(_table.id == number, _table.state == "open")
        .values(state=state, resolved_at=at)
        .returning(_table.id)
    )
    if run(connection, change).fetchone() is None:
        item, _ = show(connection, number)
        raise UsageError(f"quarantine {number} is {item.state} since {item.resolved_at}: nothing to do")
