"""One recorder, supervised by itself: sessions with back-off, the list after each, and the details."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from support.recorders import (
    Asking,
    Lobby,
    Peer,
    Puppet,
    StillClock,
    detail,
    ended,
    failed,
    keepalive,
    listed,
    started,
    subscribed,
    until,
)

from etl.model import What
from etl.simulator.config import SimulatorConfig
from etl.simulator.faults import parse_faults
from etl.simulator.simulator import Simulator
from etl.simulator.truth import ConnectionLine, Line, ServedLine

Watch = Callable[..., Awaitable[Any]]


def asked(watched: Any, what: str) -> list[Any]:
    """The answers to one kind of request, as journaled."""
    return [draft for draft in watched.tape.documents if draft.note.get("asked") == what]


# Lists


async def test_the_list_is_asked_for_after_the_confirmation_and_never_before(server: Puppet, watch: Watch) -> None:
    await watch(server.port)
    peer = await server.peer()
    request = await peer.request()
    await asyncio.sleep(0.05)
    assert len(server.accepted) == 1
    peer.send(subscribed(request.id))
    query = await server.peer()
    assert (await query.request()).type == "GetCallList"


async def test_a_list_that_fails_is_asked_for_again_in_the_same_session(
    lobby: Lobby, watch: Watch, confirm: Watch
) -> None:
    watched = await watch(lobby.port)
    await confirm(watched)
    query, request = await lobby.query()
    query.send(failed(request.id, "Database error"))
    told = "it refused the list (code 2): Processing Error: Database error"
    await until(lambda: told in watched.task.standing.last_error)
    query.send(listed((await query.request()).id))
    await until(lambda: len(asked(watched, "list")) == 2)
    assert watched.task.standing.sessions == 1


async def test_an_interruption_while_a_list_is_under_way_makes_one_more_list_and_no_flood(
    lobby: Lobby, watch: Watch, confirm: Watch, still: StillClock
) -> None:
    watched = await watch(lobby.port, clock=still)
    await confirm(watched)
    query, first = await lobby.query()
    still.set_by(60)
    await until(watched.tape.count(What.STEPPED))
    query.send(listed(first.id))
    query.send(listed((await query.request()).id))
    await until(lambda: len(asked(watched, "list")) == 2)
    third = asyncio.ensure_future(query.request())
    await asyncio.sleep(0.1)
    assert not third.done()
    third.cancel()


async def test_an_interruption_later_on_asks_for_a_list(
    lobby: Lobby, watch: Watch, confirm: Watch, still: StillClock
) -> None:
    watched = await watch(lobby.port, clock=still)
    await confirm(watched)
    query, request = await lobby.query()
    query.send(listed(request.id))
    await until(lambda: bool(asked(watched, "list")))
    still.set_by(-60)
    assert (await query.request()).type == "GetCallList"


async def test_a_clock_that_is_set_back_between_two_sessions_is_noticed_by_the_next(
    lobby: Lobby, watch: Watch, confirm: Watch, still: StillClock
) -> None:
    """No session lived when it was set, so what earlier ones covered was not taken back; its moments came again."""
    watched = await watch(lobby.port, clock=still)
    await confirm(watched)
    watched.task.hold("backlog", "the journal is full")
    await until(watched.tape.count(What.CLOSED))
    before = still.now()
    still.set_by(-60)
    watched.task.release()
    await confirm(watched)
    first, second = watched.tape.of(What.OPENED)
    [stepped] = watched.tape.of(What.STEPPED)
    assert first.session != second.session == stepped.session
    assert stepped.note["from"] == before.isoformat()
    assert stepped.note["to"] == still.now().isoformat()


# Sessions and back-off


async def test_a_session_that_ends_is_followed_by_another(lobby: Lobby, watch: Watch, confirm: Watch) -> None:
    watched = await watch(lobby.port)
    (await confirm(watched)).close()
    await until(lambda: watched.task.standing.sessions == 2)
    assert watched.task.standing.last_error == "the recorder closed the connection"
    await confirm(watched)
    assert watched.metric("cdr_reconnects_total") == 1
    assert watched.metric("cdr_recorder_connected") == 1
    assert len({draft.session for draft in watched.tape.of(What.OPENED)}) == 2


async def test_a_recorder_that_accepts_and_drops_gets_twenty_attempts_a_minute(server: Puppet, watch: Watch) -> None:
    """Even with dice that always say "now": the twenty-first attempt waits for the minute to pass."""
    watched = await watch(server.port)
    for _ in range(20):
        peer = await server.peer()
        peer.send(subscribed((await peer.request()).id))
        peer.close()
    await asyncio.sleep(0.1)
    assert watched.task.standing.sessions <= 20


async def test_the_back_off_grows_until_a_whole_list_and_one_proof_of_life(
    lobby: Lobby, watch: Watch, confirm: Watch
) -> None:
    watched = await watch(lobby.port)
    backoff = watched.task._backoff
    (await confirm(watched)).close()
    await until(lambda: watched.task.standing.sessions == 2)
    peer = await confirm(watched)
    peer.send(keepalive(3600))
    await until(watched.tape.count(What.DOCUMENT, 3))
    assert backoff._range > 0.5  # neither a confirmation nor a sign of life without a list proves anything
    query, request = await lobby.query()
    answering = asyncio.create_task(_answer_lists(query, request))
    await until(lambda: watched.task._listed)
    assert backoff._range > 0.5
    peer.send(keepalive(3600))
    await until(lambda: backoff._range == 0.5)
    answering.cancel()


async def _answer_lists(query: Peer, request: Asking) -> None:
    while True:
        query.send(listed(request.id))
        request = await query.request()


async def test_it_opens_no_session_while_held_and_one_after_the_release(
    lobby: Lobby, watch: Watch, confirm: Watch
) -> None:
    watched = await watch(lobby.port)
    await confirm(watched)
    watched.task.hold("backlog", "the journal is full")
    await until(watched.tape.count(What.CLOSED))
    assert watched.tape.of(What.CLOSED)[0].note["reason"] == "backlog"
    await asyncio.sleep(0.05)
    assert watched.task.standing.sessions == 1
    watched.task.release()
    await until(lambda: watched.task.standing.sessions == 2)


async def test_a_stop_closes_the_session_and_says_so(lobby: Lobby, watch: Watch, confirm: Watch) -> None:
    watched = await watch(lobby.port)
    peer = await confirm(watched)
    watched.task.stop()
    await watched.running
    assert [draft.note["reason"] for draft in watched.tape.of(What.CLOSED)] == ["stop"]
    await peer.closed()


# Details


async def test_a_detail_is_asked_for_on_the_end_notification_itself(lobby: Lobby, watch: Watch, confirm: Watch) -> None:
    watched = await watch(lobby.port)
    peer = await confirm(watched)
    query, request = await lobby.query()
    query.send(listed(request.id))
    peer.send(started("a"), ended("a"))
    request = await query.request()
    assert (request.type, request.call_id) == ("GetCallDetails", "a")
    query.send(detail(request.id, "a"))
    await until(lambda: bool(asked(watched, "detail")))
    assert asked(watched, "detail")[0].note["purpose"] == "end"
    await until(lambda: watched.metric("cdr_detail_requests_total", result="finished") == 1)


async def test_a_detail_that_fails_is_asked_for_again_and_for_the_last_time_in_the_end(
    lobby: Lobby, watch: Watch, confirm: Watch, still: StillClock
) -> None:
    watched = await watch(lobby.port, clock=still, worker={"detail_give_up": "10s", "margin": "1h"})
    peer = await confirm(watched)
    query, request = await lobby.query()
    query.send(listed(request.id))
    peer.send(ended("a"))
    purposes: list[Any] = []
    for pause in (1, 2, 4, 3):
        request = await query.request()
        query.send(failed(request.id, "Call cannot be found: a"))
        count = len(purposes) + 1
        await until(lambda: len(asked(watched, "detail")) == count)  # noqa: B023 - awaited here
        purposes.append(asked(watched, "detail")[-1].note["purpose"])
        await until(lambda: not watched.task._fetches)
        still.advance(pause)
        watched.task._work.set()
    last = await query.request()
    query.send(failed(last.id, "Call cannot be found: a"))
    await until(lambda: len(asked(watched, "detail")) == 5)
    assert purposes == ["end"] * 4
    assert asked(watched, "detail")[-1].note["purpose"] == "last"
    await until(lambda: len(watched.task._details) == 0)


async def test_a_first_record_is_asked_for_once_more_after_the_pause(
    lobby: Lobby, watch: Watch, confirm: Watch, still: StillClock
) -> None:
    watched = await watch(lobby.port, clock=still, worker={"refetch_after": "60s", "margin": "1h"})
    peer = await confirm(watched)
    query, request = await lobby.query()
    query.send(listed(request.id))
    peer.send(ended("a"))
    query.send(detail((await query.request()).id, "a"))
    await until(lambda: bool(asked(watched, "detail")) and not watched.task._fetches)
    still.advance(60)
    watched.task._work.set()
    query.send(detail((await query.request()).id, "a"))
    await until(lambda: len(asked(watched, "detail")) == 2)
    assert asked(watched, "detail")[1].note["purpose"] == "refetch"
    await until(lambda: len(watched.task._details) == 0)


async def test_details_that_an_earlier_process_left_are_taken_up(lobby: Lobby, watch: Watch, confirm: Watch) -> None:
    watched = await watch(lobby.port)
    watched.task.resume_detail("left", 30.0, refetch=False)
    watched.task.resume_detail("provisional", 300.0, refetch=True)
    await confirm(watched)
    query, request = await lobby.query()
    for number in range(3):
        if request.type == "GetCallDetails":
            query.send(detail(request.id, str(request.call_id)))
        if number < 2:
            request = await query.request()
    await until(lambda: len(asked(watched, "detail")) == 2)
    purposes = {draft.note["call_id"]: draft.note["purpose"] for draft in asked(watched, "detail")}
    assert purposes == {"left": "end", "provisional": "refetch"}


@pytest.mark.slow
async def test_no_more_than_the_allowed_number_of_details_is_in_flight(watch: Watch) -> None:
    config = SimulatorConfig(rate=0, faults=parse_faults("slow-details:200ms"), provisional=0, detail_delay=0)
    async with Simulator(config) as simulator:
        served: list[Line] = []
        simulator.truth.listen(served.append)
        watched = await watch(simulator.port, detail_concurrency=3)
        await simulator.until_subscribed()
        for _ in range(12):
            simulator.end_call(simulator.begin_call())
        await until(lambda: watched.metric("cdr_detail_requests_total", result="finished") == 12)
        details = [line for line in served if isinstance(line, ServedLine) and line.service == "detail"]
        assert len(details) == 12
        for first, fourth in zip(details, details[3:], strict=False):
            assert (fourth.at - first.at).total_seconds() > 0.15  # it was asked for after the first was answered


@pytest.mark.slow
async def test_a_recorder_that_closes_after_each_response_gives_all_details_at_once(watch: Watch) -> None:
    config = SimulatorConfig(rate=0, faults=parse_faults("close-after-response"), provisional=0, detail_delay=0)
    async with Simulator(config) as simulator:
        lines: list[Line] = []
        simulator.truth.listen(lines.append)
        watched = await watch(simulator.port)
        await simulator.until_subscribed()
        begun = asyncio.get_running_loop().time()
        for _ in range(40):
            simulator.end_call(simulator.begin_call())
        await until(lambda: watched.metric("cdr_detail_requests_total", result="finished") == 40)
        assert asyncio.get_running_loop().time() - begun < 1.0  # a failed try would be repeated after a second
        assert watched.metric("cdr_detail_requests_total", result="failed") == 0
        opened = [line for line in lines if isinstance(line, ConnectionLine) and line.phase == "opened"]
        assert len(opened) <= 40 + 5
