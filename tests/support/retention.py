"""An archive with a few calls of known ages and parties, and questions to ask it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

from etl.fields import HIDDEN
from etl.model import Fact, Json, Kind, Value
from etl.store.audit import Author
from etl.store.database import Connection
from etl.store.write import Batch, Writer, Written

OLD = datetime(2015, 3, 10, 12, tzinfo=UTC)
CUTOFF = datetime(2017, 6, 1, tzinfo=UTC)
YOUNG = datetime(2024, 5, 1, 12, tzinfo=UTC)
CLERK = Author("clerk@desk", "the rule")


def make(
    call_id: str = "a",
    start: datetime | None = YOUNG,
    kind: Kind = Kind.DETAIL,
    *,
    seen: datetime | None = None,
    id_time: datetime | None = None,
    recorder: str | None = "ny-1",
    attributes: Mapping[str, Json] | None = None,
    element: bytes = b"<Call/>",
    **values: Value,
) -> Fact:
    """A fact of a call that began at `start` (None: it does not say) and was seen a minute later."""
    told = {**values, **({"start_time": start} if start else {})}
    content = repr((recorder, sorted(told.items()), attributes, element))
    return Fact(
        call_id=call_id,
        id_time=id_time or start or YOUNG,
        kind=kind,
        observed_at=seen or (start or YOUNG) + timedelta(minutes=1),
        recorder=recorder,
        located=None,
        digest=blake2b(content.encode(), digest_size=16).digest(),
        element=element,
        values=told,
        attributes=attributes or {},
        quality=(),
    )


@dataclass
class Archive:
    """An archive, who writes to it, and who maintains it."""

    url: str
    conn: Connection
    writer: Writer

    def store(self, *facts: Fact) -> Written:
        return self.writer.write(Batch(facts=facts))

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self.conn.transaction():
            return self.conn.execute(query.encode(), values or None).fetchall()

    def change(self, statement: str, *values: object) -> None:
        with self.conn.transaction():
            self.conn.execute(statement.encode(), values or None)

    @property
    def calls(self) -> list[str]:
        return [row[0] for row in self.rows("SELECT call_id FROM cdr.call ORDER BY 1")]

    def personal(self, call_id: str) -> list[str]:
        """What is left of a call that tells who spoke: in its row, its facts, and the elements that are kept."""
        names = ", ".join(f"{name}::text" for name in sorted(HIDDEN))
        found = [
            value
            for table in ("call", "fact")
            for row in self.rows(
                f"SELECT {names}, nullif(attributes::text, '{{}}') FROM cdr.{table} WHERE call_id = %s", call_id
            )
            for value in row
            if value is not None
        ]
        kept = self.rows("SELECT element::text FROM cdr.fact WHERE call_id = %s AND element <> '\\x02'", call_id)
        return found + [row[0] for row in kept]


def wait_until_blocked(observer: Connection, other: Connection) -> None:
    """Return when another connection waits for a lock."""
    while True:
        with observer.transaction():
            query = "SELECT cardinality(pg_blocking_pids(%s)) > 0"
            if observer.execute(query, [other.info.backend_pid]).fetchone() == (True,):
                return
