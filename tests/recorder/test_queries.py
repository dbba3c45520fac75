"""Lists and details over the second connection: who gets which answer, and what is journaled about it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import uuid4

import pytest
from support.recorders import CALL, Puppet, StillClock, detail, document, failed, listed, soon, until

from etl.errors import RecorderUnavailable
from etl.model import What
from etl.protocol.answers import DetailAnswer, Failed, ListAnswer, NotUnderstood, UnknownCall
from etl.recorder.clock import SystemClock

MakeDesk = Callable[..., Any]


async def test_a_list_is_journaled_with_what_was_asked_and_when(server: Puppet, desk: MakeDesk) -> None:
    clock = StillClock()
    own = desk(clock)
    asking = asyncio.create_task(own.queries.call_list(own.session))
    peer = await server.peer()
    request = await peer.request()
    requested_at = clock.now()
    clock.advance(2)
    peer.send(listed(request.id, "a", "b"))
    answer = await soon(asking)
    assert isinstance(answer, ListAnswer)
    assert [record.call_id for record in answer.records] == ["a", "b"]
    [draft] = own.tape.documents
    assert draft.note == {"channel": "query", "asked": "list", "requested_at": requested_at.isoformat()}
    assert draft.observed_at == clock.now()
    assert draft.session == own.session


async def test_overlapping_details_are_matched_by_id_alone(server: Puppet, desk: MakeDesk) -> None:
    own = desk()
    asking = [asyncio.create_task(own.queries.call_detail(own.session, f"call-{n}", "end")) for n in range(5)]
    peer = await server.peer()
    requests = [await peer.request() for _ in asking]
    for request in reversed(requests):
        peer.send(detail(request.id, str(request.call_id)))
    answers = await soon(asyncio.gather(*asking))
    assert [answer.record.call_id for answer in answers] == [f"call-{n}" for n in range(5)]
    assert [draft.note["call_id"] for draft in own.tape.documents] == [f"call-{n}" for n in (4, 3, 2, 1, 0)]
    assert {draft.note["purpose"] for draft in own.tape.documents} == {"end"}


async def test_no_answer_in_time_fails_and_gives_the_connection_up(server: Puppet, desk: MakeDesk) -> None:
    own = desk(SystemClock(), request_timeout="50ms")
    asking = asyncio.create_task(own.queries.call_detail(own.session, CALL, "end"))
    peer = await server.peer()
    await peer.request()
    with pytest.raises(RecorderUnavailable, match=r"ny-1: no answer to detail within 0\.05 s"):
        await soon(asking)
    await peer.closed()


async def test_an_answer_that_comes_too_late_is_still_journaled_for_what_it_is(server: Puppet, desk: MakeDesk) -> None:
    clock = StillClock()
    own = desk(clock, request_timeout="200ms")
    late = asyncio.create_task(own.queries.call_detail(own.session, "late", "end"))
    peer = await server.peer()
    first = await peer.request()
    clock.advance(0.15)
    prompt = asyncio.create_task(own.queries.call_detail(own.session, "prompt", "end"))
    second = await peer.request()
    peer.send(detail(second.id, "prompt"))
    await soon(prompt)
    clock.advance(0.1)
    peer.send(document("<Surprise/>"))  # the line lives, so it is not given up
    await until(own.tape.count(What.DOCUMENT, 2))
    await _fails(late)
    peer.send(detail(first.id, "late"))
    await until(own.tape.count(What.DOCUMENT, 3))
    note = own.tape.documents[-1].note
    assert (note["asked"], note["call_id"], note["purpose"]) == ("detail", "late", "end")


async def _fails(task: asyncio.Task[Any]) -> None:
    with pytest.raises(RecorderUnavailable):
        await soon(task)


async def test_a_server_that_closes_after_each_response_is_asked_for_all_without_a_pause(
    server: Puppet, desk: MakeDesk
) -> None:
    own = desk()
    asking = [asyncio.create_task(own.queries.call_detail(own.session, f"call-{n}", "end")) for n in range(10)]
    serving = asyncio.create_task(_close_after_each(server))
    answers = await soon(asyncio.gather(*asking))
    assert [answer.record.call_id for answer in answers] == [f"call-{n}" for n in range(10)]
    assert len(server.accepted) <= 12  # one is lost to finding out, one to whoever was on its way meanwhile
    before = len(server.accepted)
    more = [own.queries.call_detail(own.session, f"more-{n}", "end") for n in range(5)]
    await soon(asyncio.gather(*more))
    assert len(server.accepted) == before + 5
    serving.cancel()


async def _close_after_each(server: Puppet) -> None:
    async def serve(peer: Any) -> None:
        request = await peer.request()
        peer.send(detail(request.id, str(request.call_id)))
        peer.close()

    async with asyncio.TaskGroup() as serving:
        while True:
            serving.create_task(serve(await server.peer()))


async def test_a_reset_makes_no_habit_for_the_next_session(server: Puppet, desk: MakeDesk) -> None:
    own = desk()
    asking = [asyncio.create_task(own.queries.call_detail(own.session, each, "end")) for each in ("a", "b")]
    peer = await server.peer()
    await peer.request()
    await peer.request()
    peer.reset()
    for each in (await server.peer(), await server.peer()):
        request = await each.request()
        each.send(detail(request.id, str(request.call_id)))
    assert [answer.record.call_id for answer in await soon(asyncio.gather(*asking))] == ["a", "b"]
    asking = [asyncio.create_task(own.queries.call_detail(uuid4(), each, "end")) for each in ("c", "d")]
    peer = await server.peer()
    for request in (await peer.request(), await peer.request()):
        peer.send(detail(request.id, str(request.call_id)))
    await soon(asyncio.gather(*asking))


async def test_a_server_that_closes_idle_connections_is_simply_connected_to_again(
    server: Puppet, desk: MakeDesk
) -> None:
    own = desk()
    for number in range(3):
        asking = asyncio.create_task(own.queries.call_list(own.session))
        peer = await server.peer()
        peer.send(listed((await peer.request()).id))
        assert isinstance(await soon(asking), ListAnswer)
        peer.close()
        await peer.closed()
        assert len(server.accepted) == number + 1


async def test_a_server_that_closes_without_an_answer_is_out_of_reach(server: Puppet, desk: MakeDesk) -> None:
    own = desk()
    asking = asyncio.create_task(own.queries.call_list(own.session))
    peer = await server.peer()
    await peer.request()
    peer.close()
    with pytest.raises(RecorderUnavailable, match="closed the connection before it answered"):
        await soon(asking)


async def test_a_response_to_nothing_asked_answers_nobody_and_is_journaled_so(server: Puppet, desk: MakeDesk) -> None:
    own = desk()
    asking = asyncio.create_task(own.queries.call_list(own.session))
    peer = await server.peer()
    request = await peer.request()
    peer.send(listed("4711", "x"))
    await until(own.tape.count(What.DOCUMENT))
    assert own.tape.documents[0].note == {"channel": "query"}
    assert not asking.done()
    peer.send(listed(request.id))
    await soon(asking)


@pytest.mark.slow
async def test_a_list_of_a_hundred_thousand_calls_is_one_answer(server: Puppet, desk: MakeDesk) -> None:
    own = desk(limit=64_000_000)
    asking = asyncio.create_task(own.queries.call_list(own.session))
    peer = await server.peer()
    request = await peer.request()
    whole = listed(request.id, *(f"{number:08d}-561f-11e0-b752-005056c00008{'x' * 130}" for number in range(100_000)))
    assert len(whole) > 20_000_000
    peer.send(whole)
    answer = await soon(asking)
    assert len(answer.records) == 100_000
    assert own.tape.documents[0].body == whole


async def test_half_a_list_is_no_list_and_its_bytes_are_kept(server: Puppet, desk: MakeDesk) -> None:
    own = desk()
    asking = asyncio.create_task(own.queries.call_list(own.session))
    peer = await server.peer()
    half = listed((await peer.request()).id, "a", "b")[:-30]
    peer.send(half)
    peer.close()
    with pytest.raises(RecorderUnavailable):
        await soon(asking)
    [cut] = own.tape.of(What.REJECTED)
    assert (cut.body, cut.note["reason"], cut.note["channel"]) == (half, "cut_off", "query")


async def test_an_answer_that_arrives_slowly_is_waited_for(server: Puppet, desk: MakeDesk) -> None:
    clock = StillClock()
    own = desk(clock, request_timeout="100ms")
    asking = asyncio.create_task(own.queries.call_list(own.session))
    peer = await server.peer()
    whole = listed((await peer.request()).id, "a")
    for piece in (whole[:50], whole[50:90], whole[90:]):
        peer.send(piece)
        await asyncio.sleep(0.07)
        clock.advance(0.09)
    assert isinstance(await soon(asking), ListAnswer)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (lambda id_: failed(id_, "Database error"), Failed),
        (lambda id_: failed(id_, "Call cannot be found: x"), UnknownCall),
        (lambda id_: document(f'<Response code="0"><Request id="{id_}"/><Odd/></Response>'), NotUnderstood),
        (lambda id_: detail(id_, "another-call"), NotUnderstood),
        (lambda id_: document(f'<Response code="0" id="{id_}"/>'), NotUnderstood),
        (lambda id_: detail(id_, CALL.upper()), DetailAnswer),
    ],
)
async def test_each_answer_is_told_apart(
    server: Puppet, desk: MakeDesk, body: Callable[[str], bytes], expected: type[object]
) -> None:
    own = desk()
    asking = asyncio.create_task(own.queries.call_detail(own.session, CALL, "end"))
    peer = await server.peer()
    peer.send(body((await peer.request()).id))
    assert isinstance(await soon(asking), expected)
    assert own.tape.documents[0].note["asked"] == "detail"


async def test_garbage_between_answers_costs_no_answer(server: Puppet, desk: MakeDesk) -> None:
    own = desk()
    asking = [asyncio.create_task(own.queries.call_detail(own.session, each, "end")) for each in ("a", "b")]
    peer = await server.peer()
    first, second = await peer.request(), await peer.request()
    peer.send(b"ERROR 17\r\n", detail(first.id, "a"), b"<VerbaApi><Response>", detail(second.id, "b"))
    assert [answer.record.call_id for answer in await soon(asyncio.gather(*asking))] == ["a", "b"]
    assert [draft.note["reason"] for draft in own.tape.of(What.REJECTED)] == ["garbage", "cut_off"]


async def test_requests_and_receipts_are_stamped_by_the_journals_clock(server: Puppet, desk: MakeDesk) -> None:
    own = desk()
    asking = asyncio.create_task(own.queries.call_list(own.session))
    peer = await server.peer()
    peer.send(listed((await peer.request()).id))
    await soon(asking)
    [draft] = own.tape.documents
    assert datetime.fromisoformat(draft.note["requested_at"]) <= draft.observed_at


async def test_closing_fails_what_is_unanswered(server: Puppet, desk: MakeDesk) -> None:
    own = desk()
    asking = asyncio.create_task(own.queries.call_list(own.session))
    await (await server.peer()).request()
    await own.queries.close()
    await _fails(asking)
