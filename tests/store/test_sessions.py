"""Sessions and gaps in the database follow the pure computation, in the transaction of the checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.postgres import Server, connection, fresh_database

from etl.calls import coverage
from etl.calls.coverage import Reading, SessionState
from etl.calls.gaps import Gap, SessionSpan, gaps, session_span
from etl.model import Fact
from etl.store import sessions
from etl.store.database import Connection
from etl.store.errors import CheckpointMoved
from etl.store.write import Batch, Writer

pytestmark = pytest.mark.slow

START = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
MARGIN = timedelta(seconds=1)
JOURNAL = UUID(int=1)
Query = Callable[..., list[tuple[Any, ...]]]


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def session(number: int, opened: float, extensions: tuple[str, ...] = ()) -> SessionState:
    return SessionState(UUID(int=number), "ny-1", str(JOURNAL), extensions, at(opened))


def covering(number: int, start: float, last_read: float) -> SessionState:
    state = coverage.listed(coverage.subscribed(session(number, start), at(start)), at(start), at(start))
    return coverage.read(state, at(last_read))


def stored_gaps(connection: Connection) -> set[Gap]:
    with connection.transaction():
        rows = connection.execute("SELECT from_time, to_time, reason, extensions FROM cdr.gap").fetchall()
    return {Gap(start, end, reason, frozenset(extensions)) for start, end, reason, extensions in rows}


def test_a_closed_session_leaves_a_lasting_gap_that_the_next_session_ends(
    conn: Connection, writer: Writer, tables: Query
) -> None:
    first = covering(1, 0, 10)
    writer.write(Batch(sessions=[first]))
    assert stored_gaps(conn) == set()
    writer.write(Batch(sessions=[coverage.closed(first, at(12), "drop", MARGIN)]))
    assert stored_gaps(conn) == {Gap(at(9), None, "drop")}
    number = tables("SELECT id FROM cdr.gap")
    writer.write(Batch(sessions=[covering(2, 20, 30)]))
    assert stored_gaps(conn) == {Gap(at(9), at(20), "drop")}
    assert tables("SELECT id FROM cdr.gap") == number


def test_a_clock_set_back_across_a_restart_takes_back_what_an_ended_session_claims_of_the_future(
    conn: Connection, writer: Writer
) -> None:
    """Those times come again, and nobody listens in them yet."""
    writer.write(Batch(sessions=[coverage.closed(covering(1, 0, 100), at(100), "stop", MARGIN)]))
    writer.write(Batch(sessions=[covering(2, 200, 300)]))
    sessions.withdraw_repeated(conn, ["ny-1", "other"], Reading(at(40), "b", at(-100)), MARGIN)
    assert stored_gaps(conn) == {Gap(at(40), at(200), "clock")}
    # within a second no clock was set
    assert sessions.withdraw_repeated(conn, ["ny-1"], Reading(at(39.5), "b", at(-100)), MARGIN) == {}


def test_what_a_session_covered_before_the_clock_was_set_back_is_taken_back_though_it_has_caught_up(
    conn: Connection, writer: Writer, tables: Query
) -> None:
    """It was set back by 30 s while nobody ran. Who lives, and other machines, are left alone."""
    old: dict[str, Any] = {"readings": (Reading(at(0), "b", at(-100)),), "reading_at": at(0)}
    other_machine = (Reading(at(0), "another", at(-100)),)
    ended = replace(coverage.closed(covering(1, 0, 100), at(100), "crash", MARGIN), **old)
    earlier = replace(coverage.closed(covering(2, 0, 60), at(60), "crash", MARGIN), **old)
    elsewhere = replace(coverage.closed(covering(3, 0, 90), at(90), "crash", MARGIN), readings=other_machine)
    other = replace(coverage.closed(covering(4, 0, 90), at(90), "crash", MARGIN), recorder="other", **old)
    living = replace(covering(5, 300, 320), readings=(Reading(at(300), "b", at(-130)),))
    writer.write(Batch(sessions=[ended, earlier, elsewhere, other, living]))
    reading = Reading(at(320), "b", at(-130))
    sessions.withdraw_repeated(conn, ["ny-1"], reading, MARGIN)
    ends = tables("SELECT id, upper(coverage) FROM cdr.session ORDER BY id")
    assert [end for _, end in ends] == [at(70), at(59), at(89), at(70), at(319)]
    assert sessions.withdraw_repeated(conn, ["ny-1"], reading, MARGIN) == {}


def test_a_gap_is_pending_again_when_a_clock_set_back_takes_the_coverage_that_ended_it(
    conn: Connection, writer: Writer
) -> None:
    """The clock was set forward, a gap came of it, and ended; then it was set back to before that."""
    state = coverage.stepped(covering(1, 0, 5), at(5), at(20), MARGIN)
    state = coverage.read(coverage.listed(state, at(21), at(22)), at(30))
    writer.write(Batch(sessions=[state]))
    assert stored_gaps(conn) == {Gap(at(4), at(22), "clock")}
    back = coverage.stepped(state, at(30), at(10), MARGIN)
    writer.write(Batch(sessions=[back]))
    assert stored_gaps(conn) == set(gaps([some(session_span(back, MARGIN))])) == set()


def some(span: SessionSpan | None) -> SessionSpan:
    assert span is not None
    return span


def test_coverage_is_stored_as_a_multirange_that_reads_back(writer: Writer, tables: Query) -> None:
    writer.write(Batch(sessions=[covering(1, 0, 10)]))
    assert tables("SELECT lower(coverage), upper(coverage), last_read_at FROM cdr.session") == [(at(0), at(9), at(10))]


def test_a_batch_that_fails_leaves_neither_gap_nor_session_nor_fact_nor_checkpoint(
    conn: Connection, writer: Writer, tables: Query, make_fact: Callable[..., Fact]
) -> None:
    writer.checkpoint(JOURNAL)
    Writer(conn).write(Batch(journal=JOURNAL, checkpoint=5))
    closed = coverage.closed(covering(1, 0, 10), at(12), "drop", MARGIN)
    with pytest.raises(CheckpointMoved):
        writer.write(Batch(facts=[make_fact()], sessions=[closed], journal=JOURNAL, checkpoint=7))
    counts = (
        "SELECT (SELECT count(*) FROM cdr.gap) + (SELECT count(*) FROM cdr.session) + (SELECT count(*) FROM cdr.fact)"
    )
    assert tables(counts) == [(0,)]
    assert tables("SELECT sequence FROM cdr.checkpoint") == [(5,)]


def test_a_restarted_loader_goes_on_from_the_stored_state(conn: Connection, writer: Writer) -> None:
    live, ended = covering(1, 0, 10), coverage.closed(covering(2, 0, 10), at(11), "drop", MARGIN)
    writer.write(Batch(sessions=[live, ended, replace(covering(3, 0, 10), worker="another")]))
    assert sessions.load_sessions(conn, JOURNAL) == [live]


def test_reading_on_does_not_touch_the_gaps() -> None:
    state = covering(1, 0, 10)
    assert sessions.changed_since(state, coverage.read(state, at(20)), MARGIN) is None


def test_a_session_whose_owner_is_gone_is_found_and_ended(database: str, conn: Connection, writer: Writer) -> None:
    writer.write(Batch(sessions=[covering(1, 0, 10)]))
    with connection(database) as owner:
        assert sessions.hold_owner_lock(owner, JOURNAL)
        assert not sessions.hold_owner_lock(conn, JOURNAL)
        assert sessions.ownerless(conn) == []
    while not sessions.ownerless(conn):  # the server lets go of the lock a moment after the connection closed
        time.sleep(0.005)
    assert [state.id for state in sessions.ownerless(conn)] == [UUID(int=1)]
    assert sessions.close_session(conn, UUID(int=1), at(5), "owner_gone", MARGIN) == {}
    assert sessions.close_session(conn, UUID(int=1), at(6), "again", MARGIN) is None
    assert sessions.ownerless(conn) == []
    assert stored_gaps(conn) == {Gap(at(9), None, "owner_gone")}


@pytest.fixture(scope="module")
def shared(embedded_server: Server) -> Iterator[tuple[Connection, Writer]]:
    with fresh_database(embedded_server) as url, connection(url) as opened:
        yield opened, Writer(opened)


moves = st.tuples(
    st.integers(1, 3),
    st.sampled_from(["read", "read", "listed", "listed", "paused", "forward", "back", "closed", "flush", "flush"]),
    st.integers(0, 12),
)


def moved(state: SessionState | None, number: int, move: str, now: float, length: float) -> SessionState:
    """One step of a session's life at second `now`; one that has ended or never was begins anew."""
    if state is None:
        opened = session(number, now, ("100",) if number % 3 == 0 else ())
        return opened if length == 0 else coverage.subscribed(opened, at(now))
    match move:
        case "listed":
            return coverage.listed(state, at(now - length % 3), at(now))
        case "paused":
            return coverage.paused(state, at(now - length), at(now), MARGIN)
        case "forward":
            return coverage.stepped(state, at(now - length), at(now), MARGIN)
        case "back":
            return coverage.stepped(state, at(now), at(now - length), MARGIN)
        case "closed":
            return coverage.closed(state, at(now), "drop", MARGIN)
        case _:
            return coverage.read(state, at(now))


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.lists(moves, min_size=10, max_size=60))
def test_gaps_kept_up_batch_by_batch_are_those_computed_from_all_sessions(
    shared: tuple[Connection, Writer], script: list[tuple[int, str, int]]
) -> None:
    opened, writer = shared
    with opened.transaction():
        opened.execute("DELETE FROM cdr.gap; DELETE FROM cdr.session")
    states: dict[int, SessionState] = {}
    current: dict[int, int] = {}
    dirty: set[int] = set()
    for now, (slot, move, length) in zip(range(0, 1000, 3), script, strict=False):
        if move == "flush":
            writer.write(Batch(sessions=[states[number] for number in sorted(dirty)]))
            dirty.clear()
            continue
        number = current.setdefault(slot, len(states) + 1)
        state = moved(states.get(number), number, move, now, length)
        states[number] = state
        dirty.add(number)
        if not state.live:
            del current[slot]
    writer.write(Batch(sessions=[states[number] for number in sorted(dirty)]))
    spans = [span for state in states.values() if (span := session_span(state, MARGIN))]
    assert stored_gaps(opened) == set(gaps(spans))
