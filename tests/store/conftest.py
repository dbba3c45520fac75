"""Facts to store, and what the tables hold of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

import pytest
from support.merge_oracle import Row

from etl.fields import FIELDS
from etl.model import Fact, Json, Kind, State, Value
from etl.store.database import Connection
from etl.store.write import Writer

START = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def start() -> datetime:
    return START


@pytest.fixture
def writer(conn: Connection) -> Writer:
    return Writer(conn)


@pytest.fixture
def make_fact() -> Callable[..., Fact]:
    """Makes a fact; its digest follows from its content, as that of a real one does."""

    def make(
        kind: Kind = Kind.START,
        second: float = 0,
        *,
        call_id: str = "a",
        id_time: datetime = START,
        recorder: str | None = "ny-1",
        located: str | None = None,
        values: Mapping[str, Value] | None = None,
        attributes: Mapping[str, Json] | None = None,
        quality: tuple[str, ...] = (),
        element: bytes = b"<Call/>",
    ) -> Fact:
        content = repr((recorder, located, sorted((values or {}).items()), attributes, quality, element))
        return Fact(
            call_id=call_id,
            id_time=id_time,
            kind=kind,
            observed_at=START + timedelta(seconds=second),
            recorder=recorder,
            located=located,
            digest=blake2b(content.encode(errors="surrogatepass"), digest_size=16).digest(),
            element=element,
            values=values or {},
            attributes=attributes or {},
            quality=quality,
        )

    return make


@pytest.fixture
def read_rows() -> Callable[[Connection], dict[str, Row]]:
    """Reads `cdr.call` as the oracle's rows, by call id."""

    def read(connection: Connection) -> dict[str, Row]:
        names = [field.name for field in FIELDS]
        columns = ", ".join(["call_id", "id_time", "recorder", "state", "source", *names])
        with connection.transaction():
            rows = connection.execute(f"SELECT {columns}, attributes, quality, first_seen_at FROM cdr.call").fetchall()
        return {row[0]: _row(row, names) for row in rows}

    return read


def _row(row: tuple[Any, ...], names: list[str]) -> Row:
    call_id, id_time, recorder, state, source, *values, attributes, quality, first_seen_at = row
    return Row(
        call_id=call_id,
        id_time=id_time,
        recorder=recorder,
        state=State(state),
        source=Kind(source),
        values=dict(zip(names, values, strict=True)),
        attributes=attributes,
        quality=tuple(quality),
        first_seen_at=first_seen_at,
    )


@pytest.fixture
def tables(conn: Connection) -> Callable[..., list[tuple[Any, ...]]]:
    """Runs a query in a transaction of its own."""

    def query(statement: str, *values: object) -> list[tuple[Any, ...]]:
        with conn.transaction():
            return conn.execute(statement.encode(), values or None).fetchall()

    return query
