"""Archives to export, made without a writer: only their rows matter."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from psycopg import sql

from etl.jobs.export import Report
from etl.model import Interval
from etl.store.audit import Author
from etl.store.database import Connection

MARCH = datetime(2026, 3, 1, tzinfo=UTC)
"""When the calls of these archives begin."""
SPRING = Interval(MARCH, datetime(2026, 6, 1, tzinfo=UTC))
EVER = Interval(datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
AUTHOR = Author("someone@somewhere", None)

Export: TypeAlias = Callable[..., Report]


def add(connection: Connection, call_id: str, day: float = 0, **values: Any) -> None:
    """A row of cdr.call as the merge could have left it, started `day` days after the first of March."""
    start = MARCH + timedelta(days=day)
    row = {
        "call_id": call_id,
        "id_time": datetime(1970, 1, 1, tzinfo=UTC),
        "recorder": "ny-1",
        "state": "complete",
        "source": "detail",
        "start_time": start,
        "end_time": start + timedelta(minutes=1),
        "first_seen_at": start + timedelta(seconds=1),
        "recorded_at": start + timedelta(minutes=2),
        **values,
    }
    names = sql.SQL(", ").join(map(sql.Identifier, row))
    places = sql.SQL(", ").join(sql.Placeholder() * len(row))
    with connection.transaction():
        connection.execute(sql.SQL("INSERT INTO cdr.call ({}) VALUES ({})").format(names, places), list(row.values()))
