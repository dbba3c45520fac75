"""Facts on their way into PostgreSQL: one COPY into staging, then the statements of `etl.store.merge`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, TypeAlias

import psycopg
from psycopg.types.json import Jsonb

from etl.fields import FIELDS, FieldType
from etl.model import Fact
from etl.store import merge
from etl.store.database import Connection, Cursor
from etl.store.elements import pack

Key: TypeAlias = tuple[str, datetime]

_NAMES = tuple(field.name for field in FIELDS)
_INTEGERS = tuple(field.name for field in FIELDS if field.type is FieldType.INTEGER)


def row(fact: Fact) -> tuple[Any, ...]:
    """A fact as a row of staging, in the order of `merge.STAGED_COLUMNS`.

    Raises `psycopg.DataError` for a number that PostgreSQL would not take: the driver would cut it down in silence.
    """
    get = fact.values.get
    for name in _INTEGERS:
        if isinstance(number := get(name), int) and not -(2**31) <= number < 2**31:
            raise psycopg.DataError(f"{name} is out of the range of an integer")
    return (
        fact.call_id,
        fact.id_time,
        str(fact.kind),
        fact.observed_at,
        fact.recorder,
        fact.located,
        fact.digest,
        fact.history and str(fact.history),
        *map(get, _NAMES),
        Jsonb({key: value for key, value in fact.attributes.items() if value is not None}),
        list(fact.quality),
        pack(fact.element),
    )


def prepare(connection: Connection) -> None:
    """Make the staging table of this connection; call it once, outside a transaction."""
    with connection.transaction():
        connection.execute(merge.CREATE_STAGED)


def stage(cursor: Cursor, facts: Sequence[Fact]) -> None:
    """Step 0: COPY. Staging is emptied here and not only by the commit: a savepoint may have come before."""
    cursor.execute(merge.EMPTY_STAGED)
    with cursor.copy(merge.COPY) as copy:
        copy.set_types(merge.STAGED_TYPES)
        for fact in facts:
            copy.write_row(row(fact))


class Merge:
    """One merge of facts inside the transaction of a cursor.

    `steps` does the work and pauses between any two statements: that is how the tests drive two merges against each
    other. `run` does all of it. Afterwards `before` and `after` hold, for each call whose row was written or locked,
    its state before (None: it is new) and, where its row was written, its recorder and state now.
    """

    def __init__(self, cursor: Cursor, facts: Sequence[Fact]) -> None:
        self._cursor = cursor
        self._facts = facts
        self._times = {fact.id_time for fact in facts}
        self.before: dict[Key, str | None] = {}
        self.after: dict[Key, tuple[str | None, str]] = {}

    def run(self) -> None:
        for _ in self.steps():
            pass

    def steps(self) -> Iterator[str]:
        """Steps 0 to 5 of docs/store.md; yields the name of each step once it is done."""
        self._cursor.execute(merge.SETTINGS)
        stage(self._cursor, self._facts)
        yield "staged"
        staged = len(self._facts) - self._within(merge.FORGET_KNOWN).rowcount
        yield "known forgotten"
        if not staged:
            return
        inserted = self._insert_calls()
        yield "calls inserted"
        if inserted < staged:
            self._lock_calls()
            yield "calls locked"
        added = self._cursor.execute(merge.INSERT_FACTS).rowcount
        yield "facts inserted"
        if added < staged:
            self._cursor.execute(merge.KEEP_FIRST_OBSERVED)
            yield "first observations kept"
        if inserted < staged:
            self._update_calls()
            yield "calls updated"

    def _within(self, statement: str) -> Cursor:
        """Run a statement over the partitions of these facts; not prepared, since a plan must not outlive its batch:
        made for a small table it would be a bad one for the large table that this becomes."""
        return self._cursor.execute(merge.within(statement, self._times).encode(), prepare=False)

    def _insert_calls(self) -> int:
        for call_id, id_time, recorder, state in self._cursor.execute(merge.INSERT_CALLS, binary=True):
            self.before[call_id, id_time] = None
            self.after[call_id, id_time] = (recorder, state)
        return self._cursor.rowcount

    def _lock_calls(self) -> None:
        for call_id, id_time, state in self._within(merge.LOCK_CALLS):
            self.before.setdefault((call_id, id_time), state)

    def _update_calls(self) -> None:
        for call_id, id_time, recorder, state in self._within(merge.UPDATE_CALLS):
            self.after[call_id, id_time] = (recorder, state)
