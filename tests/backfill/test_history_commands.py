"""What `cdr backfill http` and `cdr backfill gaps` say, and which codes they end with; and the real client behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.command import Here, Result
from support.gaps import House, at, row

from etl.cli import backfill_history
from etl.config import Settings
from etl.jobs.backfill_http import HttpBackfill, Report
from etl.jobs.history import Source, sources
from etl.model import Interval
from etl.simulator.config import HttpConfig, SimulatorConfig
from etl.simulator.simulator import Simulator

pytestmark = pytest.mark.slow

HISTORY = '[history.http]\nurl = "http://history.example/verba/api"\n'


Cdr = Callable[..., Result]


@pytest.fixture
def cdr(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: Here) -> Cdr:
    """The command, with the fake history in the place of the configured one."""

    @contextmanager
    def faked(_: Settings) -> Iterator[list[Source]]:
        yield house.sources()

    monkeypatch.setattr(backfill_history, "sources", faked)

    def call(*words: str, config: str = HISTORY) -> Result:
        recorder = '[[recorder]]\nname = "ny-1"\nhost = "127.0.0.1"\nport = 1\n'
        (tmp_path / "cdr.toml").write_text(f'[database]\nurl = "{house.url}"\n{config}{recorder}')
        return here(*words)

    return call


def outage(house: House) -> None:
    house.sessions((0, 10), (20, None))
    house.heard(seen := row(9))
    house.fake.rows.append(seen)


SPAN = ("--from", "2024-05-01T12:00Z", "--to", "2024-05-01T13:00Z")


def test_filled_gaps_are_told_and_leave_nothing_amiss(cdr: Cdr, house: House) -> None:
    outage(house)
    house.fake.rows.append(row(15))
    planned = cdr("backfill", "gaps", "--dry-run")
    assert (planned.code, house.fake.asked) == (5, [])
    assert "12:09:00" in planned.out
    done = cdr("backfill", "gaps")
    assert done.code == 0
    assert "filled" in done.out
    assert cdr("backfill", "gaps").code == 0


def test_a_gap_that_stays_open_is_told_with_the_reason(cdr: Cdr, house: House) -> None:
    outage(house)
    house.fake.rows.clear()
    done = cdr("backfill", "gaps")
    assert done.code == 5
    assert "of ny-1 stays open: history_incomplete: 1 calls" in done.err
    assert ": history_incomplete: 1 calls" in cdr("status").out


def test_json_holds_the_whole_report(cdr: Cdr, house: House) -> None:
    outage(house)
    (gap,) = json.loads(cdr("backfill", "gaps", "--json").out)["gaps"]
    assert (gap["recorder"], gap["after"], gap["witnesses"], gap["end"]) == ("ny-1", "filled", 1, at(20).isoformat())


def test_a_history_out_of_reach_ends_with_4(cdr: Cdr, house: House) -> None:
    outage(house)
    house.fake.fails = True
    for words in (("gaps",), ("http", *SPAN)):
        done = cdr("backfill", *words)
        assert (done.code, "the history is out of reach" in done.err) == (4, True)


def test_a_span_is_imported_and_what_is_missing_in_it_is_told(cdr: Cdr, house: House) -> None:
    outage(house)
    house.fake.rows.append(row(15))
    planned = cdr("backfill", "http", *SPAN, "--dry-run")
    assert planned.code == 5
    assert "calls that the archive does not have" in planned.out
    done = cdr("backfill", "http", *SPAN)
    assert (done.code, "1 gaps are filled" in done.err) == (0, True)


def test_an_empty_answer_is_told_and_so_is_what_it_hides(cdr: Cdr, house: House) -> None:
    house.sessions((0, 61))
    quiet = cdr("backfill", "http", *SPAN)
    assert (quiet.code, "0 records read; an empty answer proves nothing" in quiet.err) == (0, True)
    house.heard(*[row(minute) for minute in range(10, 30)])
    house.clock.moment = at(3000)
    for words in ((), ("--json",)):
        assert cdr("backfill", "http", *SPAN, *words).code == 5
    done = cdr("backfill", "http", *SPAN)
    assert "20 calls that the archive holds as complete were not shown" in done.err
    assert "0 records read" in done.err


def test_an_interrupted_command_says_that_the_same_goes_on(cdr: Cdr, house: House) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    house.fake.searching = interrupt
    done = cdr("backfill", "http", *SPAN)
    assert (done.code, "the same command goes on from here" in done.err) == (1, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("gaps",), "no history is configured"),
        (("http", *SPAN), "no history over HTTP is configured"),
        (("http", "--from", "2024-05-01T13:00Z", "--to", "2024-05-01T13:00Z"), "is not after"),
        (("http", "--from", "yesterday", "--to", "2024-05-01T13:00Z"), "is not a time"),
        (("http", "--from", "0001-01-01", "--to", "2024-05-01T13:00Z"), "0001-01-01 is out of range"),
        (
            ("http", "--from", "2024-05-01T13:00Z", "--to", "9999-12-31T23:59-14:00"),
            "write a time of the years 1971 to",
        ),
    ],
)
def test_wrong_usage_is_told(cdr: Cdr, words: tuple[str, ...], said: str) -> None:
    done = cdr("backfill", *words, config="")
    assert (done.code, said in done.err) == (2, True)


async def imported(house: House, simulator: Simulator, **login: str) -> Report:
    """Everything of the last minute, over the real client."""
    url = f"http://127.0.0.1:{simulator.http_port}/verba/api"
    house.history = {"http": {"url": url, "timezone": "Europe/Budapest", "delay": "1ms", **login}}

    def work() -> Report:
        moment = datetime.now(UTC)
        with sources(house.settings) as found:
            job = HttpBackfill(house.settings, house.connect, found[0])
            return job.run(Interval(moment - timedelta(minutes=1), moment + timedelta(seconds=1)))

    return await asyncio.to_thread(work)


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    history = HttpConfig(username="auditor", password="secret", timezone="Europe/Budapest", page_limit=2)
    async with Simulator(SimulatorConfig("ny-1", rate=0, http=history)) as running:
        yield running


async def test_the_real_client_imports_what_a_simulated_history_shows(house: House, simulator: Simulator) -> None:
    calls = [simulator.begin_call() for _ in range(5)]
    for call in calls:
        simulator.end_call(call)
    report = await imported(house, simulator, username="auditor", password="secret")
    assert report.failure is None
    assert house.states() == {call.call_id: "complete" for call in calls}
    shown = house.ask("SELECT call_id, start_time, end_time FROM cdr.call")
    assert {row_[0]: row_[1:] for row_ in shown} == {call.call_id: (call.start, call.end) for call in calls}


async def test_a_wrong_password_stops_at_once_and_names_the_key(house: House, simulator: Simulator) -> None:
    report = await imported(house, simulator, username="auditor", password="wrong")
    assert report.failure is not None
    assert "-40" in report.failure
    assert "history.http.password" in report.failure
    assert "wrong" not in report.failure.replace("Wrong user name", "")
