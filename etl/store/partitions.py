"""The months that have a partition. Making one is a transaction of its own: it locks more than a batch should."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime

from etl.store.database import Connection, name_of
from etl.store.errors import DatabaseConflict, translate

_PATIENCE = "2s"


def month(time: datetime) -> date:
    """The first day of the month of a UTC time: the name of its partition."""
    return date(time.year, time.month, 1)


class Partitions:
    """Makes the partitions that a batch needs, and remembers for a day which there are.

    Not for longer: `cdr retention apply` drops months, and a younger call with such a month in its id has it made
    again.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._made: set[date] = set()
        self._absurd: set[date] = set()
        self._day: date | None = None

    def ensure(self, times: Iterable[datetime], today: date) -> None:
        """Make what is missing for these times and, once a day, two months ahead.

        Absurd times have no month; they are asked for again the next day, when they may have become credible.
        Where a long query keeps the lock from us, rows go to the default partition, and move when a later batch
        has their month made.
        """
        if today != self._day:
            self._absurd.clear()
            self._made.clear()
        missing = {month(time) for time in times} - self._made - self._absurd
        if not missing and today == self._day:
            return
        try:
            made = self._make(missing)
        except DatabaseConflict:
            return
        self._made |= made
        self._absurd |= missing - made
        self._day = today

    def _make(self, months: set[date]) -> set[date]:
        with translate(name_of(self._connection)), self._connection.transaction():
            self._connection.execute(f"SET LOCAL lock_timeout = '{_PATIENCE}'")
            rows = self._connection.execute("SELECT cdr.ensure_partitions(%s::date[])", [sorted(months)])
            return {row[0] for row in rows}
