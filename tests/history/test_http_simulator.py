"""The client and the simulated history, which share no code, understand each other."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from support.history import settings

from etl.config import HistoryHttp
from etl.history.http import HistoryClient
from etl.model import Interval, Record
from etl.simulator.clock import ManualClock
from etl.simulator.config import HttpConfig, SimulatorConfig
from etl.simulator.simulator import Simulator

FIRST_DOUBLED = datetime(2024, 10, 27, 0, 30, tzinfo=UTC)
"""Half past two in Budapest for the first time that night."""
HTTP = HttpConfig(api_key="the-key", username="auditor", password="the-password", timezone="Europe/Budapest")
LOGIN = {"api_key": HTTP.api_key, "username": HTTP.username, "password": HTTP.password}


class Frozen(ManualClock):
    """A manual clock on which the timeline's own naps move nothing."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0.001)


def search(own: HistoryHttp, window: Interval) -> dict[str, Record]:
    with HistoryClient(own, 1_000_000) as client:
        return {record.call_id: record for page in client.search(window) for record in page.found.records}


@pytest.mark.slow
@pytest.mark.parametrize("page_limit", [1, 2, 1000])
async def test_all_calls_of_a_window_come_on_the_night_when_clocks_go_back(page_limit: int) -> None:
    clock = Frozen(FIRST_DOUBLED)
    http = replace(HTTP, page_limit=page_limit)
    async with Simulator(SimulatorConfig(rate=0, http=http), clock=clock) as simulator:
        expected = {}
        for turn in range(6):
            call = simulator.begin_call({"secondary": "true"} if turn == 3 else {})
            clock.advance(1200)
            simulator.end_call(call)
            expected[call.call_id] = call.start
        url = f"http://127.0.0.1:{simulator.http_port}/verba/api"
        own = settings(url, timezone="Europe/Budapest", **LOGIN)
        shown = await asyncio.to_thread(search, own, Interval(FIRST_DOUBLED, FIRST_DOUBLED + timedelta(hours=3)))
    assert shown.keys() == expected.keys()
    for call_id, start in expected.items():
        local = start.astimezone(ZoneInfo("Europe/Budapest")).replace(tzinfo=None)
        assert shown[call_id].fields["start_time"] == local.isoformat(sep=" ", timespec="milliseconds")


async def test_one_call_of_the_doubled_hour_is_found_by_a_window_around_it() -> None:
    """The simulated history reads a doubled time as the first; the window is of the second."""
    clock = Frozen(FIRST_DOUBLED + timedelta(hours=1))
    async with Simulator(
        SimulatorConfig(rate=0, http=HttpConfig(timezone="Europe/Budapest")), clock=clock
    ) as simulator:
        call = simulator.begin_call()
        clock.advance(5)
        simulator.end_call(call)
        own = settings(f"http://127.0.0.1:{simulator.http_port}/verba/api", timezone="Europe/Budapest")
        window = Interval(call.start, call.start + timedelta(minutes=1))
        assert call.call_id in await asyncio.to_thread(search, own, window)
