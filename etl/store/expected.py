"""The calls that a read of the history has to show, until it has shown them.

They lie in a temporary table of the connection, so that memory stays flat: a gap may be months long.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from etl.model import Interval
from etl.store.database import Connection, name_of
from etl.store.errors import translate
from etl.store.history_reads import WITNESSES, Held

PAGE = 1_000
"""Calls that were shown are taken off the table so many at a time: files come one by one."""

_CREATE = """
CREATE TEMPORARY TABLE IF NOT EXISTS expected_call (
    call_id TEXT COLLATE "C" NOT NULL,
    reader INTEGER NOT NULL,
    PRIMARY KEY (call_id, reader)
)
"""
_EMPTY = "TRUNCATE pg_temp.expected_call"

_ADD = f"""
WITH found (call_id, witness) AS ({WITNESSES}),
added AS (
    INSERT INTO pg_temp.expected_call SELECT call_id, %(reader)s FROM found ON CONFLICT DO NOTHING
)
SELECT count(DISTINCT call_id) FROM found WHERE witness
"""

_SHOWN = "DELETE FROM pg_temp.expected_call WHERE call_id = ANY(%s)"

_LEFT = "SELECT reader, count(*) FROM pg_temp.expected_call GROUP BY reader"


class Expected:
    """What several readers of one source expect to see, each known by a number. One at a time for a connection."""

    def __init__(self, connection: Connection) -> None:
        """Nothing, yet."""
        self._connection = connection
        self._waiting: set[str] = set()
        with translate(name_of(connection)), connection.transaction():
            connection.execute(_CREATE)
            connection.execute(_EMPTY)

    def add(self, reader: int, recorder: str, window: Interval, held: Held) -> int:
        """Expect the calls of a recorder that start in the window and that the history must show.

        Returns how many of them bear witness, see `history_reads.WITNESSES`.
        """
        connection = self._connection
        with translate(name_of(connection)), connection.transaction():
            ((witnesses,),) = connection.execute(_ADD, {**held.values(recorder, window), "reader": reader})
        return int(witnesses)

    def shown(self, call_ids: Iterable[str]) -> None:
        """These calls were shown; nobody expects them any more."""
        self._waiting.update(call_ids)
        if len(self._waiting) >= PAGE:
            self._take_off()

    def left(self) -> Mapping[int, int]:
        """By reader, how many calls were not shown; who has seen all is missing."""
        self._take_off()
        connection = self._connection
        with translate(name_of(connection)), connection.transaction():
            return dict(connection.execute(_LEFT).fetchall())

    def _take_off(self) -> None:
        connection, waiting = self._connection, list(self._waiting)
        self._waiting.clear()
        with translate(name_of(connection)), connection.transaction():
            connection.execute(_SHOWN, [waiting])
