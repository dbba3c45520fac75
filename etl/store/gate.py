"""The gate between those who write facts and those who delete or erase calls.

Who writes passes it for the length of a transaction, together with others; who deletes or erases closes it for one of
theirs. So a writer sees, from its first statement to its commit, the same answer to what was deleted by age and what
was erased, and nothing that was deleted comes back from a batch that was under way.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from etl.calls.erasure import cleared
from etl.calls.ids import canonical
from etl.calls.parties import said, words
from etl.calls.retention import old
from etl.model import Fact
from etl.store.database import Connection, Cursor, name_of
from etl.store.errors import DatabaseConflict, translate

_T = TypeVar("_T")

_KEY = "hashtextextended('cdr.retention', 0)"

PASS = f"SELECT pg_advisory_xact_lock_shared({_KEY})"
"""Pass the gate until the end of the transaction."""

_PASS = f"{PASS}; SELECT (SELECT before FROM cdr.expiry), EXISTS (SELECT FROM cdr.erased_call)"
"""Two statements on one way: the second must see what was committed while the first waited."""

_PATIENCE = "1s"
_CLOSE = f"SET LOCAL lock_timeout = '{_PATIENCE}'; SELECT pg_advisory_xact_lock({_KEY})"
_ATTEMPTS = 10
"""Whoever waits behind us is let through after each."""

_ERASED = "SELECT call_id FROM cdr.erased_call WHERE call_id = ANY(%s)"


@dataclass(frozen=True, slots=True)
class Admitted:
    """What may be stored of some facts; `expired`: how many may not, being of calls as old as those deleted by age."""

    facts: list[Fact]
    expired: int


def admit(cursor: Cursor, facts: Sequence[Fact]) -> Admitted:
    """Pass the gate with facts: what is too old and not stored stays outside, what was erased comes in cleared."""
    before, erased = _passed(cursor)
    kept = _unexpired(cursor, facts, before) if before is not None else list(facts)
    return Admitted(_cleared(cursor, kept) if erased else kept, len(facts) - len(kept))


def _passed(cursor: Cursor) -> tuple[datetime | None, bool]:
    cursor.execute(_PASS, prepare=False)
    cursor.nextset()
    return cursor.fetchone() or (None, False)


def _unexpired(cursor: Cursor, facts: Sequence[Fact], before: datetime) -> list[Fact]:
    aged = old(facts, before)
    if not aged:
        return list(facts)
    left = {id(fact) for fact in aged} - {id(fact) for fact in of_known_calls(cursor, aged, ())}
    return [fact for fact in facts if id(fact) not in left]


def _cleared(cursor: Cursor, facts: Sequence[Fact]) -> list[Fact]:
    erased = {row[0] for row in cursor.execute(_ERASED, [list({fact.call_id for fact in facts})])}
    return [cleared(fact) if fact.call_id in erased else fact for fact in facts]


_KNOWN = """
SELECT k.number FROM unnest(%s::text[], %s::timestamptz[]) WITH ORDINALITY k (call_id, id_time, number)
CROSS JOIN LATERAL (SELECT FROM cdr.call WHERE call_id = k.call_id AND id_time = k.id_time OFFSET 0) known
"""


def of_known_calls(cursor: Cursor, strangers: Sequence[Fact], at_hand: Collection[tuple[str, datetime]]) -> list[Fact]:
    """Those facts whose calls are stored, or are `at_hand` to be stored beside them."""
    if not strangers:
        return []
    rows = cursor.execute(_KNOWN, [[fact.call_id for fact in strangers], [fact.id_time for fact in strangers]])
    known = {row[0] for row in rows}
    return [
        fact for number, fact in enumerate(strangers, 1) if number in known or (fact.call_id, fact.id_time) in at_hand
    ]


def any_erased(cursor: Cursor) -> bool:
    """Pass the gate with documents that are no facts: whether any call was erased, so that they must be looked into."""
    return _passed(cursor)[1]


def names_erased(cursor: Cursor, document: bytes, about: str | None = None) -> bool:
    """Whether a document names an erased call, or is known to be about one. Reads all of it."""
    text = said(document).replace("\0", " ")  # PostgreSQL has no text with a NUL byte
    ids = [canonical(each) for each in words(text)] + ([] if about is None else [canonical(about.replace("\0", ""))])
    return cursor.execute(_ERASED, [ids]).fetchone() is not None


def unexpired(connection: Connection, facts: Sequence[Fact]) -> list[Fact]:
    """What of these facts would not be left out, for whoever stores nothing."""
    before = expired_before(connection)
    with translate(name_of(connection)), connection.transaction(), connection.cursor() as cursor:
        return _unexpired(cursor, facts, before) if before is not None else list(facts)


def expired_before(connection: Connection) -> datetime | None:
    """Calls that began before were deleted by age; None where none ever was."""
    with translate(name_of(connection)), connection.transaction():
        row = connection.execute("SELECT before FROM cdr.expiry").fetchone()
    return row[0] if row else None


def kept_from(connection: Connection, configured: datetime | None) -> datetime | None:
    """Calls that began before need not be stored: by `retention.keep` as it is (None: all are kept), or since calls as
    old were deleted when it was shorter."""
    limits = (configured, expired_before(connection))
    return max((each for each in limits if each is not None), default=None)


def closed(connection: Connection, work: Callable[[Cursor], _T], attempts: int = _ATTEMPTS) -> _T:
    """Do some work in a transaction of its own while nobody writes facts or sets a hold.

    Who writes waits for the work, and up to a second for each lock that it waits for; several such waits, of this
    work and of tries that follow each other, can add up to a few seconds. Raises `DatabaseConflict`
    where others stand in the way that long, time and again.
    """
    for attempt in range(1, attempts + 1):
        try:
            with translate(name_of(connection)), connection.transaction(), connection.cursor() as cursor:
                cursor.execute(_CLOSE, prepare=False)
                return work(cursor)
        except DatabaseConflict:
            if attempt == attempts:
                raise
    raise AssertionError("unreachable")
