"""What several tests of the pure core need."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from etl.model import Json, Record

_UUID_EPOCH = datetime(1582, 10, 15, tzinfo=UTC)

MakeRecord = Callable[..., Record]


@pytest.fixture(scope="session")
def timed_id() -> Callable[[datetime], str]:
    """Makes a version 1 UUID that carries a time."""

    def make(time: datetime) -> str:
        ticks = (time - _UUID_EPOCH) // timedelta(microseconds=1) * 10
        low, mid, high = ticks & 0xFFFFFFFF, (ticks >> 32) & 0xFFFF, (ticks >> 48) & 0x0FFF
        return str(UUID(fields=(low, mid, high | 0x1000, 0x80, 0, 0x005056C00008)))

    return make


@pytest.fixture(scope="session")
def record() -> MakeRecord:
    """Makes a record from its fields."""

    def make(
        call_id: str = "opaque-1",
        state: str | None = "1",
        extras: Mapping[str, Json] | None = None,
        element: bytes = b"<verbacdr/>",
        **fields: str,
    ) -> Record:
        return Record(call_id, state, fields, extras or {}, element)

    return make
