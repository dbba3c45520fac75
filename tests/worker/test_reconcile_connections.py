"""A reconciliation that is stopped while it connects leaves no connection behind."""

from __future__ import annotations

import asyncio
import threading

import pytest
from support.postgres import connection
from support.recorders import until

from etl.errors import DatabaseUnavailable
from etl.jobs.reconcile import opened
from etl.store.database import Connection


async def test_a_connection_that_nobody_waits_for_any_more_is_closed_when_it_comes(embedded_url: str) -> None:
    made: list[Connection] = []
    go = threading.Event()

    def connect() -> Connection:
        go.wait(10)
        made.append(connection(embedded_url))
        return made[0]

    opening = asyncio.create_task(opened(connect))
    await asyncio.sleep(0.01)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    go.set()
    await until(lambda: bool(made) and made[0].closed)


async def test_a_failure_that_nobody_waits_for_any_more_disturbs_nobody() -> None:
    go = threading.Event()

    def connect() -> Connection:
        go.wait(10)
        raise DatabaseUnavailable("away")

    opening = asyncio.create_task(opened(connect))
    await asyncio.sleep(0.01)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    go.set()
    await asyncio.sleep(0.05)
