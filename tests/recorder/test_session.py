"""A session on a real socket: what it journals, whom it tells, and why it ends."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from support.recorders import (
    CALL,
    Ear,
    StillClock,
    Tape,
    document,
    ended,
    failed,
    keepalive,
    listed,
    puppet,
    recorder,
    soon,
    started,
    subscribed,
    until,
)

from etl.model import What
from etl.protocol.dialect import Dialect
from etl.recorder.link import Link
from etl.recorder.session import Session
from etl.recorder.sink import Scribe

Connect = Callable[..., Awaitable[Any]]

HALF = b'<?xml version="1.0"?><VerbaApi><Notification type="CallStart"><Call id="half"><source_caller_id>10'
VENDOR_SUBSCRIBED = b'<VerbaApi><Response code="0""><Request id="1"/><Keepalive time="10"/></Response></VerbaApi>'
VENDOR_ERROR = (
    b'<VerbaApi><Response code="2" id="9"/><ErrorMessage description="Processing Error">Escaped</ErrorMessage>'
    b"</Response></VerbaApi>"
)


async def test_it_asks_for_its_extensions_and_journals_who_asked(connect: Connect) -> None:
    line = await connect(extensions=("1001", "1000"))
    request = await line.peer.request()
    assert (request.type, request.extensions) == ("SubscribeOnCallEvent", ("1001", "1000"))
    [opened] = line.tape.of(What.OPENED)
    assert opened.session == line.session.id
    assert opened.note == {
        "worker": "worker-1",
        "extensions": ["1000", "1001"],
        "boot": "a boot",
        "booted_at": "2024-05-01T11:43:20+00:00",
        "now": "2024-05-01T12:00:00+00:00",
    }


async def test_documents_are_journaled_byte_for_byte_in_order_and_answers_say_what_was_asked(connect: Connect) -> None:
    line = await connect()
    request = await line.peer.request()
    sent = [subscribed(request.id), started(), keepalive(), ended()]
    line.peer.send(*sent)
    await until(line.tape.count(What.DOCUMENT, 4))
    assert [draft.body for draft in line.tape.documents] == sent
    assert [draft.note for draft in line.tape.documents] == [{"asked": "subscribe"}, {}, {}, {}]
    assert line.ear.ends == [CALL]


async def test_a_message_behind_which_more_waits_is_journaled_as_read_late(connect: Connect) -> None:
    """Thousands at once: until the last few have been read nobody knows for how long they have waited."""
    line = await connect()
    request = await line.peer.request()
    line.peer.send(subscribed(request.id), *[started()] * 2000)
    await until(line.tape.count(What.DOCUMENT, 2001))
    notes = [draft.note.get("behind", False) for draft in line.tape.documents]
    assert notes[1]
    assert not notes[-1]


async def test_only_the_response_to_the_subscription_confirms_it(connect: Connect) -> None:
    line = await connect()
    request = await line.peer.request()
    line.peer.send(started(), keepalive(), subscribed("77"))
    await until(line.tape.count(What.DOCUMENT, 3))
    assert line.ear.confirmations == []
    line.peer.send(subscribed(request.id))
    await until(lambda: bool(line.ear.confirmations))


async def test_notifications_that_come_before_the_confirmation_are_kept(connect: Connect) -> None:
    line = await connect()
    await line.peer.request()
    line.peer.send(ended("early"))
    await until(lambda: bool(line.ear.ends))
    assert line.ear.ends == ["early"]


async def test_silence_for_more_than_one_and_a_half_announced_intervals_ends_the_session(subscribe: Connect) -> None:
    clock = StillClock()
    line = await subscribe(clock, keepalive=10)
    clock.advance(14.9)
    line.peer.send(started())  # other messages are no keep-alive
    await until(line.tape.count(What.DOCUMENT, 2))
    await asyncio.sleep(0.02)
    assert not line.task.done()
    clock.advance(0.2)
    ending = await line.ending()
    assert ending.reason == "silence"
    assert "10 s" in ending.told
    assert line.reasons == ["silence"]


async def test_each_keepalive_announces_the_next_interval(subscribe: Connect) -> None:
    clock = StillClock()
    line = await subscribe(clock, keepalive=10)
    line.peer.send(keepalive(100))
    await until(line.tape.count(What.DOCUMENT, 2))
    clock.advance(149)
    await asyncio.sleep(0.02)
    assert not line.task.done()
    clock.advance(2)
    assert (await line.ending()).reason == "silence"


async def test_without_an_announced_keepalive_it_probes_and_journals_the_answer_as_one(subscribe: Connect) -> None:
    clock = StillClock()
    line = await subscribe(clock, keepalive=None, probe_every="30s")
    clock.advance(31)
    request = await line.peer.request()
    assert request.type == "GetCallList"
    line.peer.send(listed(request.id))
    await until(line.tape.count(What.DOCUMENT, 2))
    assert line.tape.documents[-1].note == {"asked": "probe"}
    clock.advance(31)
    assert (await line.peer.request()).id != request.id


async def test_an_unanswered_probe_is_silence(subscribe: Connect) -> None:
    clock = StillClock()
    line = await subscribe(clock, keepalive=None, probe_every="30s", request_timeout="5s")
    clock.advance(31)
    await line.peer.request()
    clock.advance(5.1)
    assert (await line.ending()).reason == "silence"


async def test_an_unanswered_subscription_is_silence(connect: Connect) -> None:
    clock = StillClock()
    line = await connect(clock, request_timeout="5s")
    await line.peer.request()
    clock.advance(5.1)
    ending = await line.ending()
    assert ending.reason == "silence"
    assert "subscription" in ending.told


async def test_a_recorder_that_closes_drops_and_one_that_tears_down_resets(subscribe: Connect) -> None:
    dropped, torn = await subscribe(), await subscribe()
    dropped.peer.close()
    torn.peer.reset()
    assert (await dropped.ending()).reason == "drop"
    ending = await torn.ending()
    assert ending.reason == "reset"
    assert "ny-1" in ending.told


async def test_a_close_before_the_confirmation_hints_at_tls(connect: Connect) -> None:
    line = await connect()
    await line.peer.request()
    line.peer.close()
    assert "if it expects TLS, set tls" in (await line.ending()).told


async def test_a_tls_recorder_that_closes_so_hints_at_the_client_certificate(connect: Connect, keys: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(keys / "server.pem", keys / "server.key")
    async with puppet(context) as secure:
        line = await connect(to=secure, tls={"ca": keys / "authority.pem"})
        await line.peer.request()
        line.peer.close()
        assert "if it expects a client certificate, set tls.certificate" in (await line.ending()).told


async def test_a_message_that_stops_half_way_ends_the_session_and_its_bytes_are_kept(subscribe: Connect) -> None:
    clock = StillClock()
    line = await subscribe(clock, keepalive=3600, request_timeout="5s")
    line.peer.send(started(), HALF)
    await until(line.tape.count(What.DOCUMENT, 2))
    await until(lambda: line.ear.kinds == ["response", "notification"])
    clock.advance(5.1)
    assert (await line.ending()).reason == "stall"
    [cut] = line.tape.of(What.REJECTED)
    assert (cut.body, cut.note["reason"]) == (HALF, "cut_off")
    assert line.tape.drafts[-1].what is What.CLOSED


async def test_a_message_that_goes_on_slowly_is_no_stall(subscribe: Connect) -> None:
    clock = StillClock()
    line = await subscribe(clock, keepalive=3600, request_timeout="5s")
    whole = started()
    for byte in (whole[:30], whole[30:60], whole[60:]):
        line.peer.send(byte)
        await asyncio.sleep(0.02)
        clock.advance(4)
    await until(line.tape.count(What.DOCUMENT, 2))
    assert line.tape.documents[-1].body == whole


async def test_a_confirmation_that_arrives_slowly_is_waited_for(connect: Connect) -> None:
    clock = StillClock()
    line = await connect(clock, request_timeout="5s")
    whole = subscribed((await line.peer.request()).id)
    for cut in range(0, len(whole), 60):
        line.peer.send(whole[cut : cut + 60])
        await asyncio.sleep(0.02)
        clock.advance(4)
    await until(lambda: bool(line.ear.confirmations))


async def test_a_refused_subscription_ends_with_the_recorders_own_words(connect: Connect) -> None:
    line = await connect()
    request = await line.peer.request()
    line.peer.send(failed(request.id, "No such extension"))
    ending = await line.ending()
    assert ending.reason == "refused"
    assert "No such extension" in ending.told
    assert "code 2" in ending.told


async def test_what_is_no_document_is_kept_and_the_connection_lives_on(subscribe: Connect) -> None:
    line = await subscribe()
    garbage = b"ERROR 17: queue overflow\r\n"
    line.peer.send(started("a"), garbage, started("b"), VENDOR_SUBSCRIBED, started("c"), VENDOR_ERROR, started("d"))
    await until(line.tape.count(What.DOCUMENT, 5))
    assert [draft.body for draft in line.tape.documents[1:]] == [started(each) for each in "abcd"]
    rejected = b"".join(draft.body for draft in line.tape.of(What.REJECTED))
    assert rejected == garbage + VENDOR_SUBSCRIBED + VENDOR_ERROR
    assert not line.task.done()


async def test_a_response_to_nothing_is_journaled_without_saying_what_was_asked(subscribe: Connect) -> None:
    line = await subscribe()
    line.peer.send(listed("99", CALL), document("<Surprise/>"))
    await until(line.tape.count(What.DOCUMENT, 3))
    assert [draft.note for draft in line.tape.documents[1:]] == [{}, {}]
    assert not line.task.done()


async def test_a_document_of_several_reads_is_one(subscribe: Connect) -> None:
    line = await subscribe()
    large = document(f'<Notification type="CallStart"><Call id="x"><n>{"y" * 200_000}</n></Call></Notification>')
    line.peer.send(large, started())
    await until(line.tape.count(What.DOCUMENT, 3))
    assert line.tape.documents[1].body == large


async def test_a_document_above_the_limit_is_an_excerpt_and_the_next_is_found(subscribe: Connect) -> None:
    line = await subscribe()
    huge = document(f'<Notification type="CallStart"><Call id="x"><n>{"y" * 1_500_000}</n></Call></Notification>')
    line.peer.send(huge, started())
    await until(line.tape.count(What.DOCUMENT, 2))
    [excerpt] = line.tape.of(What.REJECTED)
    assert excerpt.note["reason"] == "too_large"
    assert f"{len(huge)} bytes" in str(excerpt.note["detail"])
    assert excerpt.body == huge[:65536] + huge[-65536:]
    assert line.tape.documents[-1].body == started()


async def test_we_end_the_session_with_our_own_reason_and_close_the_socket(subscribe: Connect) -> None:
    line = await subscribe()
    line.session.close("backlog", "the journal is full")
    line.session.close("stop", "too late")
    assert (await line.ending()).reason == "backlog"
    assert line.reasons == ["backlog"]
    await line.peer.closed()


# Pauses, steps, and a slow disk


async def test_a_pause_longer_than_the_margin_is_journaled_before_what_was_waiting(subscribe: Connect) -> None:
    clock = StillClock()
    line = await subscribe(clock, margin=1)
    before = clock.now()
    clock.advance(3)  # the process stood still: the next look finds out
    line.peer.send(started())
    await until(line.tape.count(What.DOCUMENT, 2))
    [paused] = line.tape.of(What.PAUSED)
    assert paused.note == {"from": before.isoformat()}
    assert paused.observed_at == clock.now()
    assert line.tape.drafts.index(paused) < line.tape.drafts.index(line.tape.documents[-1])
    assert line.ear.interruptions == [line.session.id]


async def test_after_a_pause_what_is_waiting_is_read_before_the_silence_is_judged(subscribe: Connect) -> None:
    clock = StillClock()
    line = await subscribe(clock, margin=1, keepalive=2)
    clock.advance(60)
    await asyncio.sleep(0.03)  # looked at several times, and nothing read yet
    line.peer.send(keepalive(2))
    await until(line.tape.count(What.DOCUMENT, 2))
    await asyncio.sleep(0.03)
    assert line.reasons == []


async def test_after_a_pause_silence_is_still_noticed(subscribe: Connect) -> None:
    clock = StillClock()
    line = await subscribe(clock, margin=1, keepalive=2)
    clock.advance(60)
    await until(line.tape.count(What.PAUSED))
    clock.advance(0.9)
    await asyncio.sleep(0.02)
    clock.advance(0.9)
    await asyncio.sleep(0.02)
    assert not line.task.done()
    clock.advance(0.9)
    await asyncio.sleep(0.02)
    clock.advance(0.9)
    assert (await line.ending()).reason == "silence"


@pytest.mark.parametrize("seconds", [5.0, -5.0])
async def test_a_clock_that_is_set_is_journaled_with_both_times(subscribe: Connect, seconds: float) -> None:
    clock = StillClock()
    line = await subscribe(clock)
    before = clock.now()
    clock.set_by(seconds)
    await until(line.tape.count(What.STEPPED))
    [stepped] = line.tape.of(What.STEPPED)
    assert stepped.note["from"] == before.isoformat()
    assert stepped.note["to"] == clock.now().isoformat()
    [opened] = line.tape.of(What.OPENED)
    assert stepped.note["boot"] == opened.note["boot"] == clock.boot
    first, second = (datetime.fromisoformat(str(each.note["booted_at"])) for each in (opened, stepped))
    set_by = second - first
    assert set_by == clock.now() - before
    assert line.ear.interruptions == [line.session.id]


async def test_a_clock_that_is_set_by_a_second_or_less_changes_nothing(subscribe: Connect) -> None:
    clock = StillClock()
    line = await subscribe(clock)
    clock.set_by(1.0)
    await asyncio.sleep(0.02)
    assert line.tape.of(What.STEPPED) == []


async def test_a_disk_that_keeps_us_waiting_is_a_pause_and_no_silence(subscribe: Connect) -> None:
    clock = StillClock()
    line = await subscribe(clock, margin=1, keepalive=2)
    line.tape.hold()
    line.peer.send(started())
    await until(line.tape.count(What.DOCUMENT, 2))
    for _ in range(20):  # 10 s, looked at all the time: the watch alone sees no pause
        clock.advance(0.5)
        await asyncio.sleep(0.005)
    assert not line.task.done()
    line.peer.send(keepalive(2))
    line.tape.release()
    await until(line.tape.count(What.DOCUMENT, 3))
    assert len(line.tape.of(What.PAUSED)) == 1
    assert line.ear.interruptions == [line.session.id]
    assert not line.task.done()


# Many at once


async def test_a_session_that_is_held_holds_no_other(subscribe: Connect) -> None:
    held, free = await subscribe(), await subscribe()
    held.tape.hold()
    held.peer.send(started())
    await until(held.tape.count(What.DOCUMENT, 2))
    for number in range(50):
        free.peer.send(started(f"call-{number}"))
    await until(free.tape.count(What.DOCUMENT, 51))
    assert isinstance(held.tape, Tape)
    assert len(held.tape.documents) == 2


async def test_a_session_that_is_closed_while_it_connects_does_not_wait_for_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried = asyncio.Event()

    async def never(*_: object) -> Link:
        tried.set()
        await asyncio.Event().wait()
        raise AssertionError("nobody answers")

    monkeypatch.setattr(Link, "open", never)
    clock = StillClock()
    tape = Tape(clock)
    settings = recorder(1)
    session = Session(
        uuid4(),
        "worker-1",
        settings,
        Dialect(),
        Scribe(settings.name, tape),
        Ear(),
        clock,
        margin=timedelta(seconds=1),
        limit=1_000_000,
    )
    running = asyncio.create_task(session.run())
    await soon(tried.wait())
    session.close("stop", "the worker was stopped")
    assert (await soon(running)).reason == "stop"
    assert tape.of(What.OPENED) == []
