"""Gaps are filled by what stands in cdr.history_read, whatever else changes them; and what a read has to show."""

from __future__ import annotations

import tracemalloc
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from support.gaps import MARGIN, House, at, row

from etl.calls.history import Verdict
from etl.model import Interval
from etl.store import backfill, gaps, history_reads
from etl.store.acceptance import accept_gap
from etl.store.audit import Author
from etl.store.database import Connection
from etl.store.expected import Expected
from etl.store.history_reads import Held, Read

pytestmark = pytest.mark.slow

GOOD, BAD = Verdict(True, 1), Verdict(False, 1, "history_incomplete")


@pytest.fixture
def house(embedded_database: str, tmp_path: Path) -> House:
    return House(embedded_database, tmp_path)


def run(house: House) -> UUID:
    with house.connect() as opened:
        return backfill.begin(opened, "gaps", {}).id


def read(house: House, first: float, last: float, verdict: Verdict = GOOD, minute: float = 100) -> None:
    part = Interval(at(first), at(last))
    number = run(house)
    with house.connect() as opened:
        history_reads.note_reads(opened, number, [Read("ny-1", part, at(minute), "http", verdict)])


def rebuild(house: House) -> None:
    with house.connect() as opened, opened.transaction(), opened.cursor() as cursor:
        gaps.rebuild(cursor, "ny-1", MARGIN)


def test_only_a_good_read_of_the_whole_gap_fills_it(house: House) -> None:
    house.sessions((0, 10), (20, None))
    for first, last, verdict, state in [(10, 19, GOOD, "open"), (10, 20, BAD, "open"), (10, 20, GOOD, "filled")]:
        read(house, first, last, verdict)
        assert house.gaps() == [("ny-1", 10, 20, state, 0)]


def test_a_rebuild_comes_to_the_same_states(house: House) -> None:
    house.sessions((0, 10), (20, 30), (40, None))
    read(house, 10, 20)
    before = house.gaps()
    rebuild(house)
    assert house.gaps() == before == [("ny-1", 10, 20, "filled", 0), ("ny-1", 30, 40, "open", 0)]


def test_an_acceptance_reopens_no_filled_gap_and_a_read_no_accepted_one(house: House) -> None:
    house.sessions((0, 10), (20, 30), (40, None))
    read(house, 10, 20)
    (number,) = house.ask("SELECT id FROM cdr.gap WHERE state = 'open'")[0]
    with house.connect() as opened:
        accept_gap(opened, number, Author("me", "gone"), MARGIN)
    read(house, 30, 40, BAD)
    assert [gap[3] for gap in house.gaps()] == ["filled", "accepted"]


def test_a_filled_gap_stays_filled_while_others_come_and_go(house: House) -> None:
    house.sessions((0, 10), (20, 30))
    read(house, 10, 20)
    house.sessions((40, 50), (60, None))
    assert [gap[3] for gap in house.gaps()] == ["filled", "open", "open"]


def test_a_gap_that_grows_is_open_again(house: House) -> None:
    """The session that ended it is taken back: nobody has read the rest."""
    house.sessions((0, 10), (20, None))
    read(house, 10, 20)
    with house.connect() as opened:
        opened.execute("DELETE FROM cdr.session WHERE opened_at = %s", [at(20)])
    rebuild(house)
    assert house.gaps() == [("ny-1", 10, None, "open", 0)]


def test_calls_that_only_the_history_knows_count_as_recovered(house: House) -> None:
    house.sessions((0, 10), (20, None))
    inside, heard = row(12), row(13)
    house.heard(heard)
    house.fake.rows += [inside, heard, row(30)]
    house.fill()
    assert house.gaps()[0][4] == 1
    house.heard(inside)
    rebuild(house)
    assert house.gaps()[0][4] == 0


def test_reads_that_prove_nothing_do_not_pile_up(house: House) -> None:
    house.sessions((0, 10), (20, None))
    for minute in (21, 36, 96):
        read(house, 10, 20, BAD, minute)
    assert house.ask("SELECT read_at FROM cdr.history_read") == [(at(96),)]


def held(**options: object) -> Held:
    return Held("http", at(60), at(90), **options)  # type: ignore[arg-type]


def expected(opened: Connection, window: Interval, by: Held) -> tuple[int, int]:
    """How many calls of ny-1 the history must show, and how many of them bear witness."""
    wanted = Expected(opened)
    witnesses = wanted.add(7, "ny-1", window, by)
    assert history_reads.has_witness(opened, "ny-1", window, by) is (witnesses > 0)
    return wanted.left().get(7, 0), witnesses


def test_witnesses_are_complete_calls_that_ended_in_time_and_are_neither_erased_nor_expired(house: House) -> None:
    fine, erased, long, other = row(5), row(6), row(7, length=100), row(8, location="ny-2")
    house.heard(fine, erased, long)
    house.heard(other, recorder="ny-2")
    house.begun(row(9))
    with house.connect() as opened, opened.transaction():
        opened.execute("INSERT INTO cdr.erased_call (call_id) VALUES (%s)", [erased.call_id])
    window = Interval(at(0), at(20))
    with house.connect() as opened:
        assert expected(opened, window, held()) == (1, 1)
        assert expected(opened, window, held(expired_before=at(5.5))) == (0, 0)
        assert expected(opened, Interval(at(0), at(5)), held()) == (0, 0)
        early = Held("http", at(60), at(2))
        assert expected(opened, window, early) == (0, 0), "known only since the read began"


def test_a_call_that_only_the_history_told_us_is_no_witness_for_it_but_for_another(house: House) -> None:
    house.sessions((0, 10), (20, None))
    house.fake.rows.append(row(15))
    house.clock.moment = at(50)
    house.fill()
    with house.connect() as opened:
        for source, bears_witness in (("http", False), ("file", True)):
            by = Held(source, at(60), at(90))  # type: ignore[arg-type]
            assert expected(opened, Interval(at(0), at(20)), by) == (1, bears_witness)
            for window in (Interval(at(0), at(5)), Interval(at(20), at(25))):
                nearest = history_reads.nearest_witness(opened, "ny-1", window, by)
                assert nearest == (at(15) if bears_witness else None)


def test_the_nearest_witness_lies_on_either_side_and_within_reach(house: House) -> None:
    house.heard(row(-60), row(30))
    with house.connect() as opened:

        def nearest(first: float, last: float) -> object:
            return history_reads.nearest_witness(opened, "ny-1", Interval(at(first), at(last)), held())

        assert nearest(0, 20) == at(30)
        assert nearest(-40, -30) == at(-60)
        beyond = (history_reads.FARTHEST + timedelta(hours=2)) / timedelta(minutes=1)
        assert nearest(beyond, beyond + 1) is None


def test_a_call_is_stale_where_no_session_lives(house: House) -> None:
    ongoing = row(5)
    house.ongoing(ongoing)
    with house.connect() as opened:
        assert [call.call_id for call in history_reads.unresolved(opened, at(60))] == [ongoing.call_id]
    house.sessions((0, None))
    with house.connect() as opened:
        assert history_reads.unresolved(opened, at(60)) == []


def test_what_a_reader_expects_is_left_until_it_is_shown_whoever_else_expects_it(house: House) -> None:
    heard = [row(minute) for minute in (5, 6, 7)]
    house.heard(*heard)
    with house.connect() as opened:
        wanted = Expected(opened)
        assert wanted.add(0, "ny-1", Interval(at(0), at(6.5)), held()) == 2
        assert wanted.add(1, "ny-1", Interval(at(5.5), at(9)), held()) == 2
        wanted.shown(["a stranger", heard[1].call_id])
        assert wanted.left() == {0: 1, 1: 1}
        wanted.shown([heard[0].call_id])
        assert wanted.left() == {1: 1}
        assert Expected(opened).left() == {}, "the next read begins with nothing"


MANY = 30_000


def test_memory_stays_flat_however_many_calls_a_gap_must_show(house: House) -> None:
    """Ids of calls that are awaited took 120 bytes each: a gap of months is full of them."""
    house.sessions((0, 10), (200, None))
    house.heard(row(5))
    with house.connect() as opened, opened.transaction():
        opened.execute(
            "INSERT INTO cdr.call (call_id, id_time, recorder, state, source, start_time, end_time,"
            " first_seen_at, recorded_at) SELECT 'many-' || n, at, 'ny-1', 'complete', 'detail', at, at, at, at"
            " FROM generate_series(1, %s) n, LATERAL (SELECT %s + n * interval '0.3 s') t (at)",
            [MANY, at(15)],
        )
    house.clock.moment = at(400)
    tracemalloc.start()
    try:
        report = house.fill()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert f"{MANY + 1} calls that are held as complete are not among its rows" in str(report.gaps[0].told)
    assert peak < MANY * 60
