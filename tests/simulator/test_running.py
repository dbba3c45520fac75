"""A simulator left to its dice, and its history: HTTP and files."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

import pytest
from lxml import etree

from etl.simulator.clock import ManualClock
from etl.simulator.config import HttpConfig, SimulatorConfig
from etl.simulator.faults import parse_faults
from etl.simulator.main import serve
from etl.simulator.simulator import Simulator
from etl.simulator.traffic import Saboteur, Traffic
from etl.simulator.truth import FaultLine, Truth, TruthWriter, load

NOON = datetime(2024, 6, 3, 12, 0, tzinfo=UTC)
HTTP = HttpConfig(api_key="key", username="auditor", password="secret", timezone="Europe/Budapest", page_limit=3)
WINDOW = {"start": "2024-06-03 14:00:00", "end": "2024-06-03 15:00:00.000"}
"""One hour from noon UTC, as Budapest reads it."""


class Frozen(ManualClock):
    """A manual clock on which the timeline's own naps move nothing."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0.001)


class Api:
    """A client of the history, and the simulator behind it."""

    def __init__(self, simulator: Simulator, clock: ManualClock) -> None:
        self.simulator, self.clock = simulator, clock

    async def raw(self, request: str, body: str = "") -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.simulator.http_port)
        writer.write(f"{request}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        answer = await reader.read()
        writer.close()
        return answer

    async def get(self, headers: str = "", **parameters: str) -> etree._Element:
        answer = await self.raw(f"GET /verba/api?{urlencode(parameters)} HTTP/1.1\r\n{headers}")
        return etree.fromstring(answer.partition(b"\r\n\r\n")[2])[0]

    async def token(self) -> str:
        got = await self.get(action="RequestToken", apiKey="key", userName="auditor", password="secret")
        return str(got.get("token"))

    async def search(self, **parameters: str) -> etree._Element:
        token = await self.token()
        return await self.get(**{"action": "SearchCalls", "apiKey": "key", "token": token, **WINDOW, **parameters})

    async def ids(self, **parameters: str) -> list[str | None]:
        return [row.findtext("ccdr_id") for row in (await self.search(**parameters)).iter("verbacdr")]

    def call(self, seconds: float = 1.0, **fields: str) -> str:
        call = self.simulator.begin_call(dict(fields))
        self.clock.advance(seconds)
        self.simulator.end_call(call)
        return call.call_id


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    clock = Frozen(NOON)
    async with Simulator(SimulatorConfig(rate=0, http=HTTP), TruthWriter(), clock) as simulator:
        yield Api(simulator, clock)


async def test_a_search_pages_in_order_of_start(api: Api) -> None:
    calls = [api.call() for _ in range(7)]
    assert await api.ids(pagefirst="1") == calls[:3]
    assert await api.ids(pagefirst="3", pagelen="2") == calls[2:4]
    assert await api.ids(pagefirst="7", pagelen="100") == calls[6:]
    assert await api.ids(pagefirst="8") == []
    assert await api.ids(order="desc", pagelen="1") == calls[-1:]


async def test_a_row_is_the_record_in_the_zone_of_the_user(api: Api) -> None:
    api.call(65.5, source_caller_id="1000", source_name="A & B")
    (row,) = list((await api.search()).iter("verbacdr"))
    shown = [row.findtext(name) for name in ("start_time", "end_time", "duration", "source_name", "location")]
    assert shown == ["2024-06-03 14:00:00.000", "2024-06-03 14:01:05.500", "00:01:05", "A & B", "RECORDER-1"]
    assert row.get("state") == "1"


async def test_the_window_selects_by_start_and_ongoing_calls_on_request(api: Api) -> None:
    first = api.call(1800)
    ongoing = api.simulator.begin_call().call_id
    assert await api.ids(end="2024-06-03 14:30") == [first]
    assert await api.ids(start="2024-06-03 14:00:00.001") == []
    assert await api.ids(status="ongoing") == [ongoing]


async def test_filters_and_secondary_copies(api: Api) -> None:
    copy = api.call(secondary="true", source_caller_id="1000")
    plain = api.call(source_caller_id="1001", destination_name="Zoë")
    assert await api.ids() == [plain]
    assert await api.ids(secondary="1") == [copy, plain]
    assert await api.ids(secondary="1", anynum="1000") == [copy]
    assert await api.ids(anyname="Zoë") == [plain]


async def test_each_kind_of_refusal_has_its_code(api: Api) -> None:
    search = {"action": "SearchCalls", "apiKey": "key", **WINDOW}
    token = await api.token()
    codes = [
        (await api.get(action="RequestToken", apiKey="key", userName="auditor", password="no")).get("code"),
        (await api.get(**{**search, "apiKey": "no"})).get("code"),
        (await api.get(**search)).get("code"),
        (await api.get(**{**search, "token": token, "start": "yesterday"})).get("code"),
        (await api.get(**{**search, "token": token, "pagefirst": "0"})).get("code"),
        (await api.get(action="Dance")).get("code"),
    ]
    assert codes == ["-40", "-41", "-42", "-20", "-20", "-20"]


async def test_a_token_expires(api: Api) -> None:
    token = await api.token()
    api.clock.advance(3599)
    assert (await api.get(action="SearchCalls", apiKey="key", token=token, **WINDOW)).get("code") == "0"
    api.clock.advance(1)
    assert (await api.get(action="SearchCalls", apiKey="key", token=token, **WINDOW)).get("code") == "-43"


async def test_http_basic_and_post_work_too(api: Api) -> None:
    basic = base64.b64encode(b"auditor:secret").decode()
    got = await api.get(f"Authorization: Basic {basic}\r\n", action="RequestToken", apiKey="key")
    call = api.call()
    body = urlencode({"action": "SearchCalls", "apiKey": "key", "token": got.get("token"), **WINDOW})
    assert call.encode() in await api.raw("POST /verba/api HTTP/1.1\r\n", body)
    assert (await api.raw("GET /other HTTP/1.1\r\n")).startswith(b"HTTP/1.1 404")


async def test_rows_can_appear_late_and_lost_records_are_there() -> None:
    clock = Frozen(NOON)
    http = replace(HTTP, delay=900.0)
    config = SimulatorConfig(rate=0, http=http, faults=parse_faults("forgotten-details"))
    async with Simulator(config, TruthWriter(), clock) as simulator:
        api = Api(simulator, clock)
        call = api.call()
        clock.advance(899)
        assert await api.ids() == []
        clock.advance(1)
        assert await api.ids() == [call]


async def test_a_file_appears_whole_in_the_folder_of_its_day_once_the_record_has_settled(tmp_path: Path) -> None:
    clock = Frozen(NOON)
    config = SimulatorConfig(rate=0, provisional=1.0, settle_after=5.0, timezone="America/New_York", files=tmp_path)
    async with Simulator(config, TruthWriter(), clock) as simulator:
        api = Api(simulator, clock)
        settled, waiting = api.call(), api.call()
        clock.advance(4.0)
        await simulator.timeline.run_due()
        found = sorted(tmp_path.rglob("*"))
        path = tmp_path / f"2024/06/03/RECORDER-1_{settled}.xml"
        assert [item for item in found if item.is_file()] == [path]
        root = etree.fromstring(path.read_bytes())
        shown = [root.get("state"), root.findtext("id"), root.findtext("start_time"), root.findtext("end_time")]
        assert shown == ["1", settled, "2024-06-03 08:00:00.000", "2024-06-03 08:00:01.000"]
        assert root.findtext("cause_id") != "500"
    assert (path.parent / f"RECORDER-1_{waiting}.xml").is_file()


# traffic


async def _run(seed: int, faults: str = "", **options: object) -> Truth:
    """A run in virtual time: the timeline's naps move the clock."""
    clock, truth = ManualClock(NOON), Truth()
    config = SimulatorConfig(seed=seed, faults=parse_faults(faults), **options)  # type: ignore[arg-type]
    writer = TruthWriter()
    writer.listen(truth.add)
    async with Simulator(config, writer, clock) as simulator:
        traffic = Traffic(simulator)
        traffic.start()
        Saboteur(simulator).start()
        await traffic.finished.wait()
    return truth


async def test_the_same_seed_on_the_same_schedule_gives_the_same_truth() -> None:
    one, same, other = [await _run(seed, rate=5.0, max_calls=30, duration_mean=3.0) for seed in (1, 1, 2)]
    assert one.calls == same.calls != other.calls
    assert len(one.calls) == 30
    assert all(call.ended for call in one.calls.values())


async def test_traffic_has_its_rate_and_stops_after_its_seconds() -> None:
    truth = await _run(3, rate=10.0, seconds=60.0, duration_mean=4.0)
    begins = [call.began for call in truth.calls.values()]
    assert 500 < len(begins) < 700
    assert max(begins) <= NOON + timedelta(seconds=60.1)
    assert all(call.ended for call in truth.calls.values())


async def test_faults_happen_at_their_moments_and_end() -> None:
    text = "silence@5s:3s,refuse@10s:2s,restart@20s:1s,garbage=10/min,cut-off@3s,malformed@4s,drop@1s"
    truth = await _run(1, text, rate=2.0, seconds=60.0, duration_mean=5.0)
    lasting = {fault.kind: fault for fault in truth.faults}
    for kind, begin, length in (("silence", 5, 3), ("refuse", 10, 2), ("restart", 20, 1)):
        fault = lasting[kind]
        assert fault.end is not None
        assert timedelta() <= fault.begin - NOON - timedelta(seconds=begin) < timedelta(seconds=0.1)
        assert abs(fault.end - fault.begin - timedelta(seconds=length)) < timedelta(seconds=0.1)
    assert sum(fault.kind == "garbage" for fault in truth.faults) > 3
    assert {"cut-off", "malformed"} <= lasting.keys()
    assert "drop" not in lasting, "nobody was connected, so nothing could be dropped"
    assert any(call.forgotten for call in truth.calls.values())


async def test_faults_do_not_change_the_calls() -> None:
    plain = await _run(1, rate=5.0, max_calls=30)
    troubled = await _run(1, "garbage=600/min,duplicates=50%,reordering=50%", rate=5.0, max_calls=30)
    assert plain.calls == troubled.calls


async def test_serve_runs_a_bounded_traffic_and_writes_the_truth(tmp_path: Path) -> None:
    ports: list[int] = []
    config = SimulatorConfig(rate=500.0, max_calls=20, duration_min=0.0, duration_mean=0.01)
    with TruthWriter(tmp_path / "truth.jsonl") as writer:
        await serve(config, asyncio.Event(), writer, lambda simulator: ports.append(simulator.port))
    truth = load(tmp_path / "truth.jsonl")
    assert len(truth.calls) == 20
    assert truth.recorder is not None
    assert ports == [truth.recorder.port] != [0]


async def test_serve_stops_when_told() -> None:
    stop = asyncio.Event()
    await serve(SimulatorConfig(), stop, ready=lambda _: stop.set())


async def test_serve_says_what_has_stopped_it(tmp_path: Path) -> None:
    """A folder that cannot be written ends the simulation with the reason, not with silence."""
    (tmp_path / "taken").write_text("a file, no folder")
    config = SimulatorConfig(rate=100.0, duration_min=0, duration_mean=0, detail_delay=0, settle_after=0,
                             files=tmp_path / "taken")  # fmt: skip
    with pytest.raises(NotADirectoryError):
        await serve(config, asyncio.Event())


async def test_a_seeded_drop_strikes_a_connection_that_is_there() -> None:
    truth, writer = Truth(), TruthWriter()
    writer.listen(truth.add)
    config = SimulatorConfig(rate=0, faults=parse_faults("reset@0s"))
    async with Simulator(config, writer) as simulator:
        reader, client = await asyncio.open_connection("127.0.0.1", simulator.port)
        while not simulator.connections:
            await asyncio.sleep(0)
        Saboteur(simulator).start()
        await simulator.seen(lambda line: isinstance(line, FaultLine) and line.kind == "reset")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        client.close()
    assert truth.connections[1].reason == "reset"
