"""Drills: what a recorder may answer, and what a run makes of it; with a real journal and PostgreSQL."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.postgres import connection
from support.recorders import CALL, Asking, detail, document, ended, failed, listed, soon, started, until

from etl.calls.details import Outcome
from etl.calls.facts import read_fact
from etl.calls.reconcile import Act, Rule
from etl.config import Settings
from etl.errors import DatabaseError, DatabaseUnavailable
from etl.ingest.interpret import Interpreter
from etl.jobs import reconcile_all
from etl.jobs.reconcile import Reconciliation, Report
from etl.model import Kind
from etl.protocol.dialect import Dialect
from etl.protocol.documents import parse
from etl.protocol.framing import Document
from etl.protocol.records import read_record
from etl.simulator.simulator import Simulator
from etl.simulator.truth import ServedLine
from etl.store.elements import unpack
from etl.store.write import Batch, Writer
from etl.worker import recorder_task
from etl.worker.worker import Worker

pytestmark = pytest.mark.slow

OTHER = "54bc7c44-561f-11e0-b752-005056c00008"
ABSENT = (Act.ABSENT, Rule.MISSED_END, CALL)
Open = Callable[..., Any]


def told(report: Report) -> list[tuple[Act, Rule, str]]:
    return [(action.act, action.rule, action.call_id) for action in report.actions]


def ongoing(asking: Asking) -> bytes:
    """A record that says of itself that it goes on."""
    record = f'<verbacdr state="0"><ccdr_id>{asking.call_id}</ccdr_id></verbacdr>'
    return document(f'<Response code="0"><Request type="GetCallDetails" id="{asking.id}"/>{record}</Response>')


def is_list(asking: Asking) -> bool:
    return asking.type == "GetCallList"


def unknown(asking: Asking) -> bytes:
    return failed(asking.id, "Call cannot be found")


# A list that is none


async def test_a_list_that_times_out_half_way_changes_nothing(house: Open, recorder: Any) -> None:
    here = house(recorder.port, request_timeout="0.2s")
    await here.heard(started())
    before = here.versions()
    recorder.answer = lambda asking: listed(asking.id, OTHER)[:-20]
    report = await here.run()
    await here.loaded()
    assert "no answer to list" in report.failure
    assert here.versions() == before
    assert here.ask("SELECT reason FROM cdr.quarantine") == [("cut_off",)]
    assert here.ask("SELECT result, listed FROM cdr.reconcile_run") == [("failed", None)]


async def test_a_list_of_an_unknown_shape_goes_to_quarantine_and_changes_nothing(house: Open, recorder: Any) -> None:
    here = house(recorder.port)
    await here.heard(started())
    before = here.versions()
    recorder.answer = lambda asking: listed(asking.id, OTHER).replace(b"<Call", b"<Line").replace(b"</Call", b"</Line")
    report = await here.run()
    await here.loaded()
    assert "not understood" in report.failure
    assert here.versions() == before
    assert here.ask("SELECT reason FROM cdr.quarantine") == [("strange_list",)]


async def test_a_refused_list_changes_nothing(house: Open, recorder: Any) -> None:
    here = house(recorder.port)
    await here.heard(started())
    recorder.answer = lambda asking: failed(asking.id)
    assert "Database error" in (await here.run()).failure
    assert here.states() == {CALL: "ongoing"}


# A database that goes away


async def test_a_record_that_a_failed_run_was_given_is_asked_for_once_more_too(house: Open, recorder: Any) -> None:
    """The next run finds the call complete and asks nothing: it stayed as provisional as it was."""
    here = house(recorder.port)
    await here.heard(started())
    recorder.answer = lambda asking: listed(asking.id) if is_list(asking) else detail(asking.id)
    taken_up: list[str] = []

    async def loaded() -> None:
        if taken_up:
            raise DatabaseUnavailable("it is gone")
        await here.loaded()

    run = Reconciliation("ny-1", replace(here.means, loaded=loaded, finished=taken_up.append))
    with pytest.raises(DatabaseUnavailable):
        await run.run(here.session, "command")
    assert taken_up == [CALL]


# An empty list


async def test_an_empty_list_against_records_that_go_on_is_reported_and_ends_no_call(
    house: Open, recorder: Any
) -> None:
    here = house(recorder.port)
    await here.heard(started(), started(OTHER))
    recorder.answer = lambda asking: listed(asking.id) if is_list(asking) else ongoing(asking)
    report = await here.run()
    assert [(action.act, action.call_id) for action in report.actions] == [
        (Act.ASK, CALL), (Act.ASK, OTHER), (Act.REPORT, CALL), (Act.REPORT, OTHER),
    ]  # fmt: skip
    assert here.states() == {CALL: "ongoing", OTHER: "ongoing"}
    assert not report.settled


async def test_an_empty_list_and_a_database_error_for_every_detail_lose_nothing(
    house: Open, simulator: Simulator
) -> None:
    here = house(simulator.port)
    calls = [simulator.begin_call() for _ in range(10)]
    await here.run()
    for each in calls:
        simulator.end_call(each)
    simulator.fail_details(10)
    report = await here.run()
    assert set((report.outcomes or {}).values()) == {Outcome.FAILED}
    assert set(here.states().values()) == {"ongoing"}
    assert not report.settled
    await here.run()
    assert set(here.states().values()) == {"complete"}


async def test_a_recorder_that_falls_silent_is_not_asked_to_the_end(house: Open, recorder: Any) -> None:
    here = house(recorder.port, request_timeout="0.1s")
    ids = [f"54bc7{number:03x}-561f-11e0-b752-005056c00008" for number in range(40)]
    await here.heard(*(started(each) for each in ids))
    recorder.answer = lambda asking: listed(asking.id) if is_list(asking) else None
    report = await here.run()
    assert sum(not is_list(each) for each in recorder.asked) < 20
    assert set(here.states().values()) == {"ongoing"}
    assert not report.settled


# Absence


async def test_only_unknown_and_a_second_list_a_second_later_make_a_call_lost(
    house: Open, simulator: Simulator
) -> None:
    here = house(simulator.port)
    lists: list[datetime] = []
    simulator.truth.listen(
        lambda line: lists.append(line.at) if isinstance(line, ServedLine) and line.service == "list" else None
    )
    call = simulator.begin_call()
    await here.run()
    await simulator.restart()
    report = await here.run()
    assert told(report) == [(Act.ASK, Rule.MISSED_END, call.call_id), (Act.ABSENT, Rule.MISSED_END, call.call_id)]
    assert here.states() == {call.call_id: "lost"}
    assert lists[2] - lists[1] >= timedelta(seconds=1)
    assert report.settled


@pytest.mark.usefixtures("soon_again")
async def test_a_lost_call_is_complete_once_history_has_its_record(house: Open, simulator: Simulator) -> None:
    here = house(simulator.port)
    call = simulator.begin_call()
    await here.run()
    await simulator.restart()
    await here.run()
    element = (
        f"<verbacdr><ccdr_id>{call.call_id}</ccdr_id><end_time>{call.start:%Y-%m-%d %H:%M:%S}</end_time></verbacdr>"
    )
    record = read_record(parse(element.encode()), Dialect())
    reading = Interpreter(here.settings).source("ny-1").reading
    fact = read_fact(record, Kind.HTTP, call.start, reading)  # type: ignore[arg-type]
    with connection(here.url) as opened:
        Writer(opened).write(Batch([fact]))
    assert here.states() == {call.call_id: "complete"}


@pytest.mark.usefixtures("soon_again")
async def test_an_absence_keeps_its_evidence(house: Open, recorder: Any) -> None:
    here = house(recorder.port)
    await here.heard(started())
    await here.run()
    element = here.ask("SELECT element FROM cdr.fact WHERE kind = 'absent'")[0][0]
    assert b"cannot be found" in unpack(element)
    first, second = here.ask("SELECT first_list, second_list FROM cdr.reconcile_run")[0]
    assert [b"GetCallList" in zlib.decompress(each) for each in (first, second)] == [True, True]
    assert zlib.decompress(first) != zlib.decompress(second)
    assert here.ask("SELECT act, rule, outcome FROM cdr.reconcile_action ORDER BY position") == [
        ("ask", "b", "unknown"),
        ("absent", "b", None),
    ]


@pytest.mark.usefixtures("soon_again")
async def test_where_the_second_list_fails_the_call_goes_on_and_the_run_says_why(house: Open, recorder: Any) -> None:
    here = house(recorder.port)
    await here.heard(started())

    def answer(asking: Asking) -> bytes:
        if not is_list(asking):
            return unknown(asking)
        return listed(asking.id) if recorder.lists() == 1 else failed(asking.id)

    recorder.answer = answer
    report = await here.run()
    assert "Database error" in report.failure
    assert here.states() == {CALL: "ongoing"}
    assert here.ask("SELECT result FROM cdr.reconcile_run") == [("failed",)]


@pytest.mark.usefixtures("soon_again")
async def test_a_lost_call_that_is_listed_again_goes_on(house: Open, recorder: Any) -> None:
    here = house(recorder.port)
    await here.heard(started())
    await here.run()
    assert here.states() == {CALL: "lost"}
    recorder.answer = lambda asking: listed(asking.id, CALL)
    announced = (await here.reconciliation.preview(here.session)).actions
    report = await here.run()
    assert here.states() == {CALL: "ongoing"}
    assert report.actions == announced
    assert told(report) == [(Act.STORE, Rule.MISSED_START, CALL)]


async def test_an_ended_call_is_absent_only_when_it_was_asked_for_long_enough(house: Open, recorder: Any) -> None:
    here = house(recorder.port, worker={"detail_give_up": "60s"})
    await here.heard(started(), ended())
    await here.run()
    assert here.states() == {CALL: "ended"}
    await here.age(timedelta(seconds=61))
    report = await here.run()
    assert told(report)[-1] == (Act.ABSENT, Rule.NO_RECORD, CALL)
    assert here.states() == {CALL: "lost"}


async def test_silence_keeps_an_ended_call_ended(house: Open, recorder: Any) -> None:
    here = house(recorder.port, worker={"detail_give_up": "60s"}, request_timeout="0.1s")
    await here.heard(started(), ended())
    await here.age(timedelta(hours=1))
    recorder.answer = lambda asking: listed(asking.id) if is_list(asking) else None
    await here.run()
    assert here.states() == {CALL: "ended"}


async def test_a_call_that_the_worker_asks_for_anyway_is_left_to_it(house: Open, recorder: Any) -> None:
    here = house(recorder.port)
    await here.heard(started(), ended())
    here.in_hand.add(CALL)
    assert told(await here.run()) == []
    assert all(is_list(each) for each in recorder.asked)


# Beside the live stream


@pytest.mark.parametrize("moment", ["first list", "detail", "second list", "the word on it"])
@pytest.mark.usefixtures("soon_again")
async def test_an_end_that_comes_while_the_run_is_under_way_is_no_absence(
    house: Open, recorder: Any, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = house(recorder.port)
    await here.heard(started())

    async def answer(asking: Asking) -> bytes:
        now = ("first list" if recorder.lists() == 1 else "second list") if is_list(asking) else "detail"
        if now == moment:
            await here.heard(ended())
        return listed(asking.id) if is_list(asking) else unknown(asking)

    recorder.answer = answer
    if moment == "the word on it":
        _just_before_absence(here, monkeypatch)
    await here.run()
    await here.loaded()
    assert here.states() == {CALL: "ended"}


def _just_before_absence(here: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end comes when all is decided, and only the line about the absence is missing."""
    write = here.scribe.found_absent

    def found_absent(*given: Any) -> None:
        here.scribe.received(here.session, Document(ended(), parse(ended())), {})
        write(*given)

    monkeypatch.setattr(here.scribe, "found_absent", found_absent)


async def test_a_call_that_begins_and_ends_while_the_run_is_under_way_is_not_judged(house: Open, recorder: Any) -> None:
    here = house(recorder.port)

    async def answer(asking: Asking) -> bytes:
        await here.heard(started())
        return listed(asking.id)

    recorder.answer = answer
    assert told(await here.run()) == []
    assert here.states() == {CALL: "ongoing"}


async def test_a_record_that_is_found_ends_the_call(house: Open, simulator: Simulator) -> None:
    here = house(simulator.port)
    call = simulator.begin_call()
    first = await here.run()
    assert told(first) == [(Act.STORE, Rule.MISSED_START, call.call_id)]
    simulator.end_call(call)
    report = await here.run()
    assert told(report) == [(Act.ASK, Rule.MISSED_END, call.call_id)]
    assert here.states() == {call.call_id: "complete"}
    assert report.settled


async def test_a_call_that_ended_with_us_and_is_listed_is_reported(house: Open, recorder: Any) -> None:
    here = house(recorder.port)
    await here.heard(started(), ended())
    recorder.answer = lambda asking: listed(asking.id, CALL)
    assert told(await here.run()) == [(Act.REPORT, Rule.STILL_LISTED, CALL)]
    assert here.states() == {CALL: "ended"}


# What is written, and what is not


async def test_a_second_run_over_the_same_calls_writes_nothing(house: Open, simulator: Simulator) -> None:
    here = house(simulator.port)
    for _ in range(5):
        simulator.begin_call()
    await here.run()
    before = here.versions()
    report = await here.run()
    assert told(report) == []
    assert here.versions() == before


async def test_a_list_outside_of_a_run_is_a_fact_again(house: Open, simulator: Simulator) -> None:
    here = house(simulator.port)
    simulator.begin_call()
    await here.run()
    before = here.versions()
    await here.queries.call_list(here.session)
    await here.loaded()
    assert here.versions()[1] != before[1]


def parties(call_id: str, number: str) -> str:
    return f'<Call id="{call_id}" source_caller_id="{number}"/>'


async def test_extensions_decide_only_whether_an_unknown_listed_call_is_stored(house: Open, recorder: Any) -> None:
    here = house(recorder.port, extensions=["2000"])
    pushed, stranger, ours = CALL, OTHER, OTHER.replace("54", "55", 1)
    await here.heard(started(pushed))  # what the recorder pushes is never filtered
    calls = parties(pushed, "1000") + parties(stranger, "1000") + parties(ours, "2000")
    recorder.answer = lambda asking: document(
        f'<Response code="0"><Request type="GetCallList" id="{asking.id}"/>{calls}</Response>'
    )
    report = await here.run()
    assert here.states() == {pushed: "ongoing", ours: "ongoing"}
    assert here.kinds(pushed) == {"start", "list"}
    assert told(report) == [(Act.STORE, Rule.MISSED_START, ours)]
    before = here.versions()
    assert told(await here.run()) == []
    assert here.versions() == before


# More than one


async def test_of_two_runs_at_once_one_says_busy_and_leaves_it(house: Open, recorder: Any) -> None:
    here, there = house(recorder.port), house(recorder.port)
    asked, go = asyncio.Event(), asyncio.Event()

    async def answer(asking: Asking) -> bytes:
        asked.set()
        await go.wait()
        return listed(asking.id, CALL)

    recorder.answer = answer
    first = asyncio.create_task(here.run())
    await soon(asked.wait())
    second = await there.run()
    go.set()
    assert second.busy
    assert not (await first).busy
    assert recorder.lists() == 1
    assert not (await there.run()).busy


async def test_a_periodic_run_is_shared(house: Open, recorder: Any) -> None:
    here, there = house(recorder.port), house(recorder.port)
    began = here.scribe.now()
    await here.run()
    assert (await there.run(unless_since=began)).busy
    assert not (await there.run(unless_since=there.scribe.now())).busy


async def test_a_worker_and_the_command_side_by_side_lose_and_double_nothing(
    simulator: Simulator, settings: Callable[..., Settings], url: str
) -> None:
    options = settings(simulator.port, worker={"reconcile_every": "1s"})
    worker = Worker(options, lambda: connection(url))
    running = asyncio.create_task(worker.run())
    try:
        await soon(simulator.until_subscribed())
        calls = []
        for _ in range(4):
            calls += [simulator.begin_call() for _ in range(10)]
            report = (await reconcile_all.reconcile(options, [], lambda: connection(url)))[0]
            assert report.failure == ""
            for each in calls[:-5]:
                simulator.end_call(each)
        for each in calls:
            simulator.end_call(each)
        with connection(url) as opened:
            query = b"SELECT state, count(*) FROM cdr.call GROUP BY 1"
            await until(lambda: _all(opened, query) == [("complete", 40)])
    finally:
        worker.stop()
        await running


def _all(opened: Any, query: bytes) -> list[Any]:
    with opened.transaction():
        return list(opened.execute(query).fetchall())


# Without the database


async def test_without_the_database_nothing_is_concluded(house: Open, recorder: Any) -> None:
    here = house(recorder.port)
    await here.loaded()
    here.connected = False
    with pytest.raises(DatabaseError):
        await here.run()
    assert recorder.asked == []


@pytest.mark.usefixtures("soon_again")
async def test_a_list_asked_for_while_the_database_is_away_is_journaled_and_compared_when_it_is_back(
    simulator: Simulator, settings: Callable[..., Settings], house: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_task, "RECHECK", 0.1)
    here = house(simulator.port)
    missed = simulator.begin_call()
    await here.run()
    simulator.end_call(missed)
    new = simulator.begin_call()
    here.connected = False
    worker = Worker(settings(simulator.port), here.connect)
    running = asyncio.create_task(worker.run())
    try:
        await soon(simulator.seen(lambda line: isinstance(line, ServedLine) and line.service == "list"))
        assert here.states() == {missed.call_id: "ongoing"}
        here.connected = True
        await until(lambda: here.states() == {missed.call_id: "complete", new.call_id: "ongoing"})
    finally:
        worker.stop()
        await running


# --dry-run


@pytest.mark.usefixtures("soon_again")
async def test_a_dry_run_announces_what_a_run_then_does_and_changes_nothing(
    house: Open, simulator: Simulator, settings: Callable[..., Settings]
) -> None:
    here = house(simulator.port)
    missed, gone = simulator.begin_call(), simulator.begin_call()
    await here.run()
    simulator.end_call(missed)
    simulator.end_call(gone)
    simulator.forget(gone)
    simulator.begin_call()
    before = here.everything()
    options = settings(simulator.port)
    [announced] = await reconcile_all.preview(options, [], here.connect)
    assert here.everything() == before
    assert not Path(options.worker.data_dir).exists()
    [done] = await reconcile_all.reconcile(options, [], here.connect)
    assert announced.plan is not None
    assert done.plan is not None
    assert announced.plan.actions == done.plan.actions
    assert len(announced.actions) == 3
    assert sorted(here.states().values()) == ["complete", "lost", "ongoing"]
    assert list((Path(options.worker.data_dir) / "journal").iterdir()) == []
