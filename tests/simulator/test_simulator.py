"""The simulator on real sockets: what a plain client receives, and whether the truth says the same."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from lxml import etree

from etl.simulator.clock import ManualClock
from etl.simulator.config import ALL_STYLES, SimulatorConfig, TlsFiles
from etl.simulator.faults import FaultKind, parse_faults
from etl.simulator.simulator import Simulator
from etl.simulator.truth import ConnectionLine, DeliveryLine, FaultLine, Line, ServedLine, Truth, TruthWriter

NOON = datetime(2024, 6, 3, 12, 0, tzinfo=UTC)
END = re.compile(rb"</VerbaApi\s*>")
AGENT = {"source_caller_id": "1000", "destination_caller_id": "9999"}


class Client:
    """A client that knows no more than that a document ends with its closing tag."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.waiting = b""

    async def ask(self, kind: str, inner: str = "", number: int = 1) -> None:
        self.writer.write(f'<VerbaApi><Request type="{kind}" id="{number}">{inner}</Request></VerbaApi>'.encode())
        await self.writer.drain()

    async def raw(self) -> bytes:
        while not (end := END.search(self.waiting)):
            piece = await self.reader.read(65536)
            if not piece:
                raise EOFError(self.waiting)
            self.waiting += piece
        raw, self.waiting = self.waiting[: end.end()], self.waiting[end.end() :]
        return raw

    async def document(self) -> etree._Element:
        return etree.fromstring((await self.raw()).strip())

    async def events(self, count: int) -> list[tuple[str, str]]:
        return [_event(await self.document()) for _ in range(count)]

    async def rest(self) -> bytes:
        try:
            while piece := await self.reader.read(65536):
                self.waiting += piece
        except ConnectionError:
            pass
        return self.waiting

    async def detail(self, call_id: str) -> etree._Element:
        await self.ask("GetCallDetails", f'<Call id="{call_id}"/>', 8)
        return await self.document()


def _event(document: etree._Element) -> tuple[str, str]:
    notification = document.find("Notification")
    call = document.find("Notification/Call")
    assert notification is not None
    assert call is not None
    return str(call.get("id")), {"CallStart": "start", "CallEnd": "end"}[str(notification.get("type"))]


class Rehearsal:
    """A simulator on a clock that stands still, its truth, and its clients."""

    def __init__(self, simulator: Simulator, clock: ManualClock) -> None:
        self.simulator, self.clock = simulator, clock
        self.truth = Truth()
        self.lines: list[Line] = []
        self.clients: list[Client] = []
        simulator.truth.listen(self.truth.add)
        simulator.truth.listen(self.lines.append)

    async def client(self, **tls: ssl.SSLContext | str) -> Client:
        pair = await asyncio.open_connection("127.0.0.1", self.simulator.port, **tls)  # type: ignore[arg-type]
        self.clients.append(Client(*pair))
        return self.clients[-1]

    async def subscriber(self, *extensions: str) -> Client:
        client = await self.client()
        await client.ask("SubscribeOnCallEvent", "".join(f'<Extension number="{item}"/>' for item in extensions))
        await client.document()
        return client

    def reached(self) -> list[tuple[str, str]]:
        return [(item.call, item.event) for item in self.truth.deliveries if item.reached]


Rehearse = Callable[..., Awaitable[Rehearsal]]


class Frozen(ManualClock):
    """A manual clock on which the timeline's own naps move nothing."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0.001)


@pytest.fixture
async def rehearse() -> AsyncIterator[Rehearse]:
    rehearsals: list[Rehearsal] = []

    async def start(faults: str = "", **options: object) -> Rehearsal:
        clock = Frozen(NOON)
        config = SimulatorConfig(rate=0, provisional=0.0, faults=parse_faults(faults), **options)  # type: ignore[arg-type]
        simulator = Simulator(config, TruthWriter(), clock)
        rehearsals.append(Rehearsal(simulator, clock))
        await simulator.start()
        return rehearsals[-1]

    yield start
    for rehearsal in rehearsals:
        for client in rehearsal.clients:
            client.writer.close()
        await rehearsal.simulator.stop()


def opened(line: Line) -> bool:
    return isinstance(line, ConnectionLine) and line.phase == "opened"


def closed(line: Line) -> bool:
    return isinstance(line, ConnectionLine) and line.phase == "closed"


async def test_a_subscription_is_confirmed_with_its_id_and_the_keepalive(rehearse: Rehearse) -> None:
    client = await (await rehearse(keepalive=7.0)).client()
    await client.ask("SubscribeOnCallEvent", number=42)
    response = (await client.document())[0]
    assert response.get("code") == "0"
    assert [(child.tag, dict(child.attrib)) for child in response] == [
        ("Request", {"type": "SubscribeOnCallEvent", "id": "42"}),
        ("Keepalive", {"time": "7"}),
    ]


async def test_without_an_interval_no_keepalive_is_announced(rehearse: Rehearse) -> None:
    client = await (await rehearse(keepalive=0)).client()
    await client.ask("SubscribeOnCallEvent")
    assert (await client.document()).find(".//Keepalive") is None


async def test_keepalives_come_at_their_interval(rehearse: Rehearse) -> None:
    rehearsal = await rehearse(keepalive=5.0)
    client = await rehearsal.subscriber()
    rehearsal.clock.advance(5.0)
    beat = (await client.document())[0]
    assert [child.tag for child in beat] == ["Keepalive"]


async def test_start_and_end_reach_the_subscriber_and_the_truth_says_so(rehearse: Rehearse) -> None:
    rehearsal = await rehearse()
    client = await rehearsal.subscriber()
    call = rehearsal.simulator.begin_call(AGENT)
    rehearsal.clock.advance(4.5)
    rehearsal.simulator.end_call(call)
    start, end = await client.document(), await client.document()
    assert (_event(start), _event(end)) == ((call.call_id, "start"), (call.call_id, "end"))
    assert start.findtext(".//source_caller_id") == "1000"
    assert start.findtext(".//start_time") == "2024-06-03 12:00:00.000"
    assert end.findtext(".//end_time") == "2024-06-03 12:00:04.500"
    assert rehearsal.reached() == [(call.call_id, "start"), (call.call_id, "end")]
    assert rehearsal.truth.calls[call.call_id].end == call.end


async def test_a_filter_lets_through_calls_of_either_party(rehearse: Rehearse) -> None:
    rehearsal = await rehearse()
    client = await rehearsal.subscriber("1000", "1001")
    calling = rehearsal.simulator.begin_call({"source_caller_id": "1000", "destination_caller_id": "5"})
    rehearsal.simulator.begin_call({"source_caller_id": "1002", "destination_caller_id": "5"})
    called = rehearsal.simulator.begin_call({"source_caller_id": "5", "destination_caller_id": "1001"})
    assert await client.events(2) == [(calling.call_id, "start"), (called.call_id, "start")]
    assert rehearsal.reached() == [(calling.call_id, "start"), (called.call_id, "start")]


async def test_nothing_reaches_anybody_who_has_not_subscribed(rehearse: Rehearse) -> None:
    rehearsal = await rehearse()
    client = await rehearsal.client()
    await client.ask("GetCallList")
    await client.document()
    rehearsal.simulator.begin_call()
    rehearsal.simulator.drop()
    assert await client.rest() == b""
    assert rehearsal.reached() == []


async def test_the_list_holds_what_goes_on(rehearse: Rehearse) -> None:
    rehearsal = await rehearse()
    client = await rehearsal.client()
    over, going = rehearsal.simulator.begin_call(), rehearsal.simulator.begin_call(AGENT)
    rehearsal.simulator.end_call(over)
    await client.ask("GetCallList")
    calls = (await client.document()).findall(".//Call")
    assert [call.get("id") for call in calls] == [going.call_id]
    assert calls[0].findtext("destination_caller_id") == "9999"


async def test_a_short_list_lacks_calls_that_go_on_and_the_truth_says_so(rehearse: Rehearse) -> None:
    rehearsal = await rehearse(faults="short-lists=50%")
    client = await rehearsal.client()
    going = {rehearsal.simulator.begin_call().call_id for _ in range(40)}
    await client.ask("GetCallList")
    listed = {call.get("id") for call in (await client.document()).findall(".//Call")}
    left_out = [line for line in rehearsal.lines if isinstance(line, FaultLine) and line.kind == "short-lists"]
    assert 0 < len(listed) < 40
    assert listed < going
    assert len(left_out) == 40 - len(listed)


async def test_a_detail_is_unfinished_then_finished_then_unknown(rehearse: Rehearse) -> None:
    rehearsal = await rehearse(detail_delay=2.0, settle_after=3.0, forget_after=60.0)
    client = await rehearsal.client()
    call = rehearsal.simulator.begin_call(AGENT)
    states = []
    for step in ("ongoing", "just ended", "finished", "forgotten"):
        if step == "just ended":
            rehearsal.simulator.end_call(call)
        rehearsal.clock.advance({"finished": 2.0, "forgotten": 60.0}.get(step, 0.0))
        record = (await client.detail(call.call_id.upper())).find(".//verbacdr")
        states.append(None if record is None else (record.get("state"), record.findtext("end_time") is not None))
    assert states == [("0", False), ("0", False), ("1", True), None]
    served = [line.outcome for line in rehearsal.truth.served]
    assert served == ["unfinished", "unfinished", "finished", "unknown"]


async def test_a_recorder_can_know_nothing_of_a_record_that_is_not_finished(rehearse: Rehearse) -> None:
    rehearsal = await rehearse(detail_delay=2.0, before_detail="unknown")
    client = await rehearsal.client()
    call = rehearsal.simulator.begin_call()
    rehearsal.simulator.end_call(call)
    response = (await client.detail(call.call_id))[0]
    assert response.get("code") == "2"
    assert response.findtext("ErrorMessage") == f"Call cannot be found: {call.call_id}"


async def test_a_provisional_record_settles_to_what_the_truth_says(rehearse: Rehearse) -> None:
    rehearsal = await rehearse(detail_delay=0.0, settle_after=30.0)
    client = await rehearsal.client()
    call = rehearsal.simulator.begin_call({"cause_id": "1"})
    call.first = {"cause_id": "500", "agent_id": None}
    rehearsal.simulator.end_call(call)
    first = await client.detail(call.call_id)
    rehearsal.clock.advance(30.0)
    final = await client.detail(call.call_id)
    assert (first.findtext(".//cause_id"), first.find(".//agent_id")) == ("500", None)
    truth = rehearsal.truth.calls[call.call_id].fields
    assert (final.findtext(".//cause_id"), final.findtext(".//agent_id")) == ("1", truth["agent_id"])


@pytest.mark.parametrize(("request_text", "code"), [
    (b'<VerbaApi><Request type="Dance" id="3"/></VerbaApi>', "3"),
    (b"<VerbaApi><Request></VerbaApi>", "1"),
    (b"<VerbaApi/>", "1"),
])  # fmt: skip
async def test_what_it_does_not_understand_is_answered_with_a_code(
    rehearse: Rehearse, request_text: bytes, code: str
) -> None:
    client = await (await rehearse()).client()
    client.writer.write(request_text)
    response = (await client.document())[0]
    assert response.get("code") == code
    assert response.findtext("ErrorMessage")


async def test_requests_in_pieces_and_many_at_once_are_all_answered(rehearse: Rehearse) -> None:
    client = await (await rehearse()).client()
    one = b"<?xml version='1.0'?>\n<VerbaApi ><Request type='GetCallList' id='%d'/></VerbaApi >\r\n"
    stream = b"".join(one % number for number in range(5))
    for begin in range(0, len(stream), 7):
        client.writer.write(stream[begin : begin + 7])
        await client.writer.drain()
    ids = [(await client.document()).find(".//Request") for _ in range(5)]
    assert [item.get("id") for item in ids if item is not None] == ["0", "1", "2", "3", "4"]


async def test_a_drop_lets_arrive_what_was_sent_before(rehearse: Rehearse) -> None:
    rehearsal = await rehearse()
    client = await rehearsal.subscriber()
    call = rehearsal.simulator.begin_call()
    rehearsal.simulator.drop()
    rehearsal.simulator.end_call(call)
    assert await client.events(1) == [(call.call_id, "start")]
    assert await client.rest() == b""
    assert rehearsal.reached() == [(call.call_id, "start")]


async def test_a_reset_is_a_reset(rehearse: Rehearse) -> None:
    rehearsal = await rehearse()
    client = await rehearsal.subscriber()
    rehearsal.simulator.reset()
    with pytest.raises(ConnectionResetError):
        await client.reader.read()
    assert rehearsal.truth.connections[1].reason == "reset"


async def test_what_the_peer_never_took_does_not_count_as_delivered(rehearse: Rehearse) -> None:
    """A client that does not read: the kernel takes some, the reset takes back what was not acknowledged."""
    rehearsal = await rehearse()
    await rehearsal.subscriber()
    rehearsal.clients[0].writer.transport.pause_reading()  # type: ignore[attr-defined]
    for _ in range(200):
        rehearsal.simulator.begin_call({"source_name": "x" * 60_000})
    handed = len(rehearsal.truth.deliveries)
    rehearsal.simulator.reset()
    withdrawn = [line for line in rehearsal.lines if isinstance(line, DeliveryLine) and not line.reached]
    assert 0 < handed < 200
    assert withdrawn
    assert len(rehearsal.reached()) == handed - len(withdrawn)


async def test_a_subscriber_that_does_not_read_is_cut(rehearse: Rehearse) -> None:
    rehearsal = await rehearse(send_limit=1_000_000)
    await rehearsal.subscriber()
    rehearsal.clients[0].writer.transport.pause_reading()  # type: ignore[attr-defined]
    for _ in range(300):
        rehearsal.simulator.begin_call({"source_name": "x" * 60_000})
    assert rehearsal.truth.connections[1].reason == "reads too slowly"


async def test_silence_keeps_connections_open_and_loses_what_happens(rehearse: Rehearse) -> None:
    rehearsal = await rehearse(keepalive=5.0)
    client = await rehearsal.subscriber()
    rehearsal.simulator.silence(True)
    late = await rehearsal.client()
    if len(rehearsal.simulator.connections) < 2:
        await rehearsal.simulator.seen(opened)
    assert all(connection.muted for connection in rehearsal.simulator.connections)
    await late.ask("SubscribeOnCallEvent")
    call = rehearsal.simulator.begin_call()
    rehearsal.clock.advance(5.0)
    await rehearsal.simulator.timeline.run_due()
    rehearsal.simulator.silence(False)
    assert await client.rest() == b""
    assert await late.rest() == b""
    assert rehearsal.reached() == []
    assert call.call_id in rehearsal.truth.calls
    assert rehearsal.truth.unheard(NOON, rehearsal.clock.now()) == [(NOON, rehearsal.clock.now())]


async def test_a_shut_port_refuses_and_opens_again_at_the_same_number(rehearse: Rehearse) -> None:
    rehearsal = await rehearse()
    client = await rehearsal.subscriber()
    rehearsal.simulator.refuse()
    assert await client.rest() == b""
    with pytest.raises(ConnectionRefusedError):
        await rehearsal.client()
    await rehearsal.simulator.accept()
    await rehearsal.subscriber()
    assert [(fault.kind, fault.end) for fault in rehearsal.truth.faults] == [("refuse", NOON)]


async def test_after_a_restart_ongoing_calls_never_end(rehearse: Rehearse) -> None:
    rehearsal = await rehearse(detail_delay=0.0)
    await rehearsal.subscriber()
    ended, ongoing = rehearsal.simulator.begin_call(), rehearsal.simulator.begin_call()
    rehearsal.simulator.end_call(ended)
    await rehearsal.simulator.restart()
    client = await rehearsal.subscriber()
    assert not rehearsal.simulator.end_call(ongoing)
    assert (await client.detail(ongoing.call_id)).find(".//verbacdr") is None
    assert (await client.detail(ended.call_id)).find(".//verbacdr") is not None
    true = rehearsal.truth.calls[ongoing.call_id]
    assert (true.forgotten, true.ended) == (NOON, None)


async def test_a_stalled_subscriber_gets_half_a_document_and_nothing_more(rehearse: Rehearse) -> None:
    rehearsal = await rehearse()
    client = await rehearsal.subscriber()
    connection = rehearsal.simulator.subscribers[0]
    rehearsal.simulator.stall(connection)
    rehearsal.simulator.begin_call()
    assert rehearsal.truth.live(NOON.replace(hour=13)) == []
    rehearsal.simulator.unstall(connection)
    rest = await client.rest()
    assert rest.startswith(b"<?xml")
    assert b"</" not in rest.replace(b"</source_caller_id>", b"")
    assert rehearsal.reached() == []


async def test_garbage_stands_between_documents(rehearse: Rehearse) -> None:
    rehearsal = await rehearse()
    client = await rehearsal.subscriber()
    rehearsal.simulator.garbage(b"\xff\x00 oops ")
    call = rehearsal.simulator.begin_call()
    raw = await client.raw()
    assert raw.startswith(b"\xff\x00 oops <?xml")
    assert _event(etree.fromstring(raw[8:])) == (call.call_id, "start")


async def test_a_cut_off_document_is_followed_at_once_by_a_whole_one(rehearse: Rehearse) -> None:
    rehearsal = await rehearse()
    client = await rehearsal.subscriber()
    rehearsal.simulator.cut_off()
    call = rehearsal.simulator.begin_call()
    raw = await client.raw()
    assert raw.count(b"<VerbaApi>") == 2
    assert _event(etree.fromstring(raw[raw.rindex(b"<?xml") :])) == (call.call_id, "start")


async def test_a_malformed_document_is_not_well_formed(rehearse: Rehearse) -> None:
    rehearsal = await rehearse()
    client = await rehearsal.subscriber()
    rehearsal.simulator.malformed()
    with pytest.raises(etree.XMLSyntaxError):
        await client.document()


async def test_duplicates_come_twice_in_the_stream_and_in_the_truth(rehearse: Rehearse) -> None:
    rehearsal = await rehearse()
    client = await rehearsal.subscriber()
    rehearsal.simulator.duplicate_next()
    call = rehearsal.simulator.begin_call()
    assert await client.events(2) == rehearsal.reached() == [(call.call_id, "start")] * 2


async def test_a_reordered_start_comes_behind_its_end(rehearse: Rehearse) -> None:
    rehearsal = await rehearse("reordering=100%")
    client = await rehearsal.subscriber()
    call = rehearsal.simulator.begin_call()
    assert rehearsal.reached() == []
    rehearsal.simulator.end_call(call)
    assert await client.events(2) == rehearsal.reached() == [(call.call_id, "end"), (call.call_id, "start")]


async def test_a_slow_detail_comes_in_its_time(rehearse: Rehearse) -> None:
    rehearsal = await rehearse("slow-details:3s", detail_delay=0.0)
    client = await rehearsal.client()
    call = rehearsal.simulator.begin_call()
    await client.ask("GetCallDetails", f'<Call id="{call.call_id}"/>', 1)
    await client.ask("GetCallList", number=2)
    assert (await client.document()).find(".//Request[@id='2']") is not None
    rehearsal.clock.advance(3.0)
    assert (await client.document()).find(".//Request[@id='1']") is not None


async def test_a_failing_detail_says_database_error(rehearse: Rehearse) -> None:
    rehearsal = await rehearse()
    client = await rehearsal.client()
    rehearsal.simulator.fail_details(1)
    call = rehearsal.simulator.begin_call()
    assert (await client.detail(call.call_id)).findtext(".//ErrorMessage") == "Database error"
    assert (await client.detail(call.call_id)).find(".//verbacdr") is not None


async def test_forgotten_details_are_unknown_and_the_truth_says_so(rehearse: Rehearse) -> None:
    rehearsal = await rehearse("forgotten-details=100%", detail_delay=0.0)
    client = await rehearsal.client()
    call = rehearsal.simulator.begin_call()
    rehearsal.simulator.end_call(call)
    assert "cannot be found" in str((await client.detail(call.call_id)).findtext(".//ErrorMessage"))
    assert rehearsal.truth.calls[call.call_id].record_lost


async def test_it_can_close_after_each_response_but_not_a_subscription(rehearse: Rehearse) -> None:
    rehearsal = await rehearse("close-after-response")
    client, subscriber = await rehearsal.client(), await rehearsal.subscriber()
    await client.ask("GetCallList")
    await client.document()
    assert await client.rest() == b""
    await subscriber.ask("GetCallList")
    await subscriber.document()
    call = rehearsal.simulator.begin_call()
    assert await subscriber.events(1) == [(call.call_id, "start")]


@pytest.mark.parametrize("manner", ["split-writes", "coalesce=100%:20ms"])
async def test_chopped_and_coalesced_writes_carry_the_same_documents(rehearse: Rehearse, manner: str) -> None:
    rehearsal = await rehearse(manner)
    client = await rehearsal.subscriber()
    calls = [rehearsal.simulator.begin_call() for _ in range(20)]
    assert rehearsal.reached() == []
    expected = [(call.call_id, "start") for call in calls]
    assert await client.events(20) == expected
    assert rehearsal.reached() == expected


async def test_a_drop_flushes_what_a_chopped_connection_still_holds(rehearse: Rehearse) -> None:
    rehearsal = await rehearse("split-writes")
    client = await rehearsal.subscriber()
    calls = [rehearsal.simulator.begin_call() for _ in range(20)]
    rehearsal.simulator.drop()
    assert await client.events(20) == rehearsal.reached() == [(call.call_id, "start") for call in calls]


async def test_a_client_that_leaves_is_closed_in_the_truth(rehearse: Rehearse) -> None:
    rehearsal = await rehearse()
    client = await rehearsal.subscriber()
    client.writer.close()
    await rehearsal.simulator.seen(closed)
    assert rehearsal.truth.connections[1].reason == "peer"
    assert rehearsal.simulator.connections == ()


async def test_a_client_that_dies_takes_back_what_it_never_acknowledged(rehearse: Rehearse) -> None:
    """Its machine answers our bytes with a reset: they were handed over, yet nobody has them."""
    rehearsal = await rehearse()
    client = await rehearsal.subscriber()
    raw: socket.socket = client.writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.writer.transport.abort()
    await rehearsal.simulator.seen(closed)
    rehearsal.simulator.begin_call()
    assert rehearsal.truth.connections[1].reason == "lost"
    assert rehearsal.reached() == []


async def test_every_style_tells_the_same(rehearse: Rehearse) -> None:
    rehearsal = await rehearse(styles=tuple(style for style in ALL_STYLES if not style.comments))
    client = await rehearsal.subscriber()
    calls = [rehearsal.simulator.begin_call() for _ in range(60)]
    raws = [await client.raw() for _ in calls]
    assert [_event(etree.fromstring(raw.strip()))[0] for raw in raws] == [call.call_id for call in calls]
    assert len({raw[:9] for raw in raws}) > 2


async def test_waiting_for_a_line_of_truth(rehearse: Rehearse) -> None:
    rehearsal = await rehearse()
    waiting = asyncio.create_task(rehearsal.simulator.seen(lambda line: isinstance(line, ServedLine)))
    client = await rehearsal.client()
    await client.ask("GetCallList")
    line = await waiting
    assert isinstance(line, ServedLine)
    assert line.service == "list"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-keyout", folder / "key.pem", "-out", folder / "cert.pem", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


async def test_tls_delivers_and_asks_for_a_certificate(rehearse: Rehearse, keys: Path) -> None:
    certificate, key = keys / "cert.pem", keys / "key.pem"
    rehearsal = await rehearse(tls=TlsFiles(certificate, key, client_ca=certificate))
    context = ssl.create_default_context(cafile=str(certificate))
    with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
        await (await rehearsal.client(ssl=context, server_hostname="localhost")).raw()
    context.load_cert_chain(certificate, key)
    client = await rehearsal.client(ssl=context, server_hostname="localhost")
    await client.ask("SubscribeOnCallEvent")
    await client.document()
    call = rehearsal.simulator.begin_call()
    assert await client.events(1) == rehearsal.reached() == [(call.call_id, "start")]
    rehearsal.simulator.reset()
    await rehearsal.simulator.seen(closed) if rehearsal.simulator.connections else None
    assert rehearsal.truth.connections[max(rehearsal.truth.connections)].reason == FaultKind.RESET
