"""Gaps are filled by reads of the history that prove something, and by nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from support.gaps import House, at, row
from support.postgres import Server, connection, fresh_database

pytestmark = pytest.mark.slow

_TABLES = (
    "call", "fact", "session", "gap", "quarantine", "backfill_run", "history_read", "gap_acceptance",
    "call_acceptance", "erased_call", "reconcile_run",
)  # fmt: skip


@pytest.fixture(scope="module")
def _database(embedded_server: Server) -> Iterator[str]:
    with fresh_database(embedded_server) as url:
        yield url


@pytest.fixture
def house(_database: str, tmp_path: Path) -> House:
    """An archive of its own, an hour after noon."""
    with connection(_database) as opened, opened.transaction():
        for table in _TABLES:
            opened.execute(f"DELETE FROM cdr.{table}".encode())
    return House(_database, tmp_path)


def outage(house: House) -> None:
    """ny-1 was heard until minute 10 and from minute 20 on; one call was seen just before, one just after."""
    before, after = row(9.5, 0.2), row(20.5, 0.2)
    house.sessions((0, 10), (20, None))
    house.heard(before, after)
    house.fake.rows += [before, after]


def test_a_gap_is_filled_and_the_calls_in_it_are_recovered(house: House) -> None:
    outage(house)
    unseen = [row(12), row(15)]
    house.fake.rows += unseen
    report = house.fill()
    assert house.gaps() == [("ny-1", 10, 20, "filled", 2)]
    assert {house.states()[each.call_id] for each in unseen} == {"complete"}
    (gap,) = report.gaps
    assert (gap.after, gap.witnesses, gap.recovered, gap.told) == ("filled", 2, 2, None)
    assert (report.missing, report.failure) == (0, None)


def test_filling_again_changes_no_call(house: House) -> None:
    outage(house)
    house.fake.rows.append(row(12))
    house.fill()
    before = house.calls()
    house.ask("SELECT 1")
    with house.connect() as opened:
        opened.execute("UPDATE cdr.gap SET state = 'open'")
    house.clock.moment = at(70)
    house.fill()
    assert house.calls() == before
    assert house.gaps() == [("ny-1", 10, 20, "filled", 1)]


def test_a_happy_empty_answer_fills_nothing(house: House) -> None:
    """That of a wrong tenant."""
    outage(house)
    house.fake.rows.clear()
    report = house.fill()
    assert house.gaps() == [("ny-1", 10, 20, "open", 0)]
    assert report.gaps[0].told is not None
    assert report.gaps[0].told.startswith("history_incomplete: 2 of 2")
    assert report.missing == 1


def test_one_vanished_witness_keeps_a_gap_open(house: House) -> None:
    outage(house)
    house.fake.rows.pop()
    assert (house.fill().gaps[0].told or "").startswith("history_incomplete: 1 of 2")
    assert house.gaps() == [("ny-1", 10, 20, "open", 0)]


def test_an_erased_or_expired_call_is_no_witness(house: House) -> None:
    outage(house)
    gone = house.fake.rows.pop()
    with house.connect() as opened:
        opened.execute("INSERT INTO cdr.erased_call (call_id) VALUES (%s)", [gone.call_id])
    assert house.fill().gaps[0].witnesses == 1
    assert house.gaps() == [("ny-1", 10, 20, "filled", 0)]


def test_rows_that_are_read_in_a_wrong_zone_fill_nothing_and_damage_nothing(house: House) -> None:
    outage(house)
    held = list(house.fake.rows)
    house.heard(*(row(minute) for minute in (100, 130, 140)))
    house.fake.zone = ZoneInfo("Europe/Budapest")
    house.fake.rows += [row(-120 + 11), row(-120 + 12), row(-120 + 13)]
    before = house.calls()
    report = house.fill()
    assert house.calls() == before
    assert house.gaps() == [("ny-1", 10, 20, "open", 0)]
    assert report.failure is not None
    assert "3 of 3 rows" in report.failure
    assert "2 hours later" in report.failure
    assert "history.http.timezone" in report.failure
    assert held


def test_a_gap_that_has_just_closed_is_read_too_early_and_filled_by_a_second_read(house: House) -> None:
    outage(house)
    early = row(-20)
    house.heard(early)
    late = row(12, appears=at(33))
    house.fake.rows += [early, late]
    house.clock.moment = at(21)
    first = house.fill()
    assert (first.gaps[0].told or "").startswith("too early: ")
    assert house.gaps() == [("ny-1", 10, 20, "open", 0)]
    house.clock.moment = at(35)
    house.fill()
    assert house.gaps() == [("ny-1", 10, 20, "filled", 1)]
