"""What people take note of: accepted gaps and calls, retired recorders, each with its audit row."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from support.postgres import connection

from etl.calls import coverage
from etl.calls.coverage import SessionState
from etl.calls.ids import UNTIMED
from etl.calls.reconcile import Act, Action, Rule
from etl.errors import UsageError
from etl.model import Fact, Kind
from etl.store import reconcile, sessions
from etl.store.acceptance import accept_call, accept_gap, retire
from etl.store.amiss import Amiss, amiss
from etl.store.audit import Author
from etl.store.database import Connection
from etl.store.recorders import Recorder, register
from etl.store.write import Batch, Writer

pytestmark = pytest.mark.slow

START = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
MARGIN = timedelta(seconds=1)
WORKER = UUID(int=9)
ME = Author("me@here", "power cut")
NY_1 = Recorder("ny-1", "NY-1", "UTC")
Query = Callable[..., list[tuple[Any, ...]]]
MakeFact = Callable[..., Fact]


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def covering(number: int, start: float, last_read: float) -> SessionState:
    state = SessionState(UUID(int=number), "ny-1", str(WORKER), (), at(start))
    state = coverage.listed(coverage.subscribed(state, at(start)), at(start), at(start))
    return coverage.read(state, at(last_read))


def ended(number: int, start: float, last_read: float) -> SessionState:
    return coverage.closed(covering(number, start, last_read), at(last_read), "drop", MARGIN)


def gaps(tables: Query) -> list[tuple[Any, ...]]:
    return tables("SELECT from_time, to_time, state FROM cdr.gap ORDER BY from_time")


def number(tables: Query) -> int:
    return int(tables("SELECT max(id) FROM cdr.gap")[0][0])


def test_an_accepted_gap_keeps_its_id_and_counts_no_more(conn: Connection, writer: Writer, tables: Query) -> None:
    writer.write(Batch(sessions=[ended(1, 0, 10), covering(2, 20, 30)]))
    assert amiss(conn, at(40)) == {"ny-1": Amiss(gaps=1)}
    accept_gap(conn, gap := number(tables), ME, MARGIN)
    assert gaps(tables) == [(at(9), at(20), "accepted")]
    assert number(tables) == gap
    assert amiss(conn, at(40)) == {}
    assert tables("SELECT who, action, target, reason FROM cdr.audit") == [
        ("me@here", "accept gap", {"gap": gap, "recorder": "ny-1"}, "power cut")
    ]


def test_an_accepted_gap_stays_accepted_whatever_comes_later(writer: Writer, conn: Connection, tables: Query) -> None:
    writer.write(Batch(sessions=[ended(1, 0, 10), covering(2, 20, 30)]))
    accept_gap(conn, number(tables), ME, MARGIN)
    writer.write(Batch(sessions=[ended(2, 20, 30), covering(3, 50, 60)]))
    assert gaps(tables) == [(at(9), at(20), "accepted"), (at(29), at(50), "open")]


def test_an_accepted_gap_that_grows_is_open_again_as_a_whole(writer: Writer, conn: Connection, tables: Query) -> None:
    """Under its old id; accepting it once more takes in the rest."""
    writer.write(Batch(sessions=[ended(1, 0, 10), covering(2, 20, 30)]))
    accept_gap(conn, gap := number(tables), ME, MARGIN)
    withdrawn = coverage.withdrawn(covering(2, 20, 30), at(20), MARGIN)
    writer.write(Batch(sessions=[coverage.closed(withdrawn, at(31), "clock", MARGIN), covering(3, 40, 50)]))
    assert gaps(tables) == [(at(9), at(40), "open")]
    assert number(tables) == gap
    accept_gap(conn, gap, ME, MARGIN)
    assert gaps(tables) == [(at(9), at(40), "accepted")]


@pytest.mark.parametrize(
    ("sessions_", "accepted", "said"),
    [
        ([ended(1, 0, 10)], 0, "still lasts"),
        ([ended(1, 0, 10), covering(2, 20, 30)], 1, "is accepted already"),
        ([covering(1, 0, 10)], 0, "there is no gap"),
    ],
)
def test_a_gap_that_lasts_is_settled_or_unknown_is_refused(
    conn: Connection, writer: Writer, tables: Query, sessions_: list[SessionState], accepted: int, said: str
) -> None:
    """And nothing is noted of it."""
    writer.write(Batch(sessions=sessions_))
    gap = number(tables) if gaps(tables) else 99
    for _ in range(accepted):
        accept_gap(conn, gap, ME, MARGIN)
    with pytest.raises(UsageError, match=said):
        accept_gap(conn, gap, ME, MARGIN)
    assert tables("SELECT count(*) FROM cdr.audit") == [(accepted,)]


def test_an_accepted_call_counts_no_more(conn: Connection, writer: Writer, tables: Query, make_fact: MakeFact) -> None:
    """Lost, or ended for over five minutes; what has just ended does not count anyway."""
    facts = [
        make_fact(Kind.START, 0, call_id="lost", id_time=UNTIMED),
        make_fact(Kind.ABSENT, 1, call_id="lost", id_time=UNTIMED),
        make_fact(Kind.END, 0, call_id="ended", id_time=UNTIMED),
        make_fact(Kind.END, 200, call_id="just-ended", id_time=UNTIMED),
        make_fact(Kind.START, 0, call_id="ongoing", id_time=UNTIMED),
        make_fact(Kind.DETAIL, 0, call_id="complete", id_time=UNTIMED),
    ]
    writer.write(Batch(facts=facts))
    assert amiss(conn, at(299)) == {"ny-1": Amiss(lost=1)}
    assert amiss(conn, at(301)) == {"ny-1": Amiss(lost=1, overdue=1)}
    accept_call(conn, "lost", ME)
    accept_call(conn, " ended ", ME)
    assert not amiss(conn, at(301))["ny-1"]
    assert [row[0] for row in tables("SELECT action FROM cdr.audit")] == ["accept call"] * 2


def test_a_duplicate_of_an_end_does_not_make_a_call_young_again(
    conn: Connection, writer: Writer, make_fact: MakeFact
) -> None:
    writer.write(Batch(facts=[make_fact(Kind.END, 0, id_time=UNTIMED)]))
    writer.write(Batch(facts=[make_fact(Kind.END, 400, id_time=UNTIMED, attributes={"again": 1})]))
    assert amiss(conn, at(401)) == {"ny-1": Amiss(overdue=1)}


def test_a_call_that_is_complete_unknown_or_accepted_is_refused(
    conn: Connection, writer: Writer, tables: Query, make_fact: MakeFact
) -> None:
    facts = [make_fact(Kind.DETAIL, call_id="done", id_time=UNTIMED), make_fact(Kind.END, id_time=UNTIMED)]
    writer.write(Batch(facts=facts))
    accept_call(conn, "a", ME)
    for call_id, said in (("done", "is complete"), ("nobody", "there is no call nobody"), ("a", "accepted already")):
        with pytest.raises(UsageError, match=said):
            accept_call(conn, call_id, ME)
    assert tables("SELECT count(*) FROM cdr.audit") == [(1,)]


def test_a_record_that_turns_up_after_all_is_stored(conn: Connection, writer: Writer, make_fact: MakeFact) -> None:
    writer.write(Batch(facts=[make_fact(Kind.END, id_time=UNTIMED)]))
    accept_call(conn, "a", ME)
    assert writer.write(Batch(facts=[make_fact(Kind.DETAIL, 9, id_time=UNTIMED)])).completed


def ran(conn: Connection, key: int, *actions: Action, asked: float, outcome: str = "failed", told: str = "") -> None:
    run = reconcile.Run(UUID(int=key), "ny-1", "periodic")
    reconcile.begin(conn, run)
    reconcile.add_actions(conn, run, actions, {action.call_id: outcome for action in actions})
    reconcile.finish(conn, run, reconcile.Result(at(asked), 0, told=told or None))


ASKED = Action(Act.ASK, Rule.MISSED_END, "a", "ongoing with us, but not listed")
REPORTED = Action(Act.REPORT, Rule.MISSED_END, "a", "in its second list")


@pytest.fixture
def ongoing(conn: Connection, writer: Writer, make_fact: MakeFact) -> Writer:
    """A call that goes on, as far as its start tells, at a recorder with a session."""
    writer.write(Batch(facts=[make_fact(Kind.START, 0, id_time=UNTIMED)], sessions=[covering(1, 0, 10)]))
    return writer


def test_an_ongoing_call_that_the_last_good_list_lacks_counts(conn: Connection, ongoing: Writer) -> None:
    """Until it is accepted. A run that failed later on says nothing."""
    assert amiss(conn, at(60)) == {}
    ran(conn, 1, ASKED, asked=20)
    ran(conn, 2, asked=30, told="out of reach")
    assert amiss(conn, at(60)) == {"ny-1": Amiss(unlisted=1)}
    accept_call(conn, "a", ME)
    assert not amiss(conn, at(60)).get("ny-1")


@pytest.mark.parametrize("then", ["listed", "heard", "complete"])
def test_it_counts_no_more_once_it_is_listed_heard_of_or_complete(
    conn: Connection, ongoing: Writer, make_fact: MakeFact, then: str
) -> None:
    ran(conn, 1, ASKED, asked=20)
    if then == "listed":
        ran(conn, 2, asked=30)  # the next run had no reason to ask
    else:
        kind = Kind.DETAIL if then == "complete" else Kind.LIST
        ongoing.write(Batch(facts=[make_fact(kind, 30, id_time=UNTIMED)]))
    assert not amiss(conn, at(60)).get("ny-1")


@pytest.mark.parametrize(("outcome", "counts"), [("unknown", False), ("unfinished", True)])
def test_a_call_in_the_second_list_is_listed(conn: Connection, ongoing: Writer, outcome: str, counts: bool) -> None:
    """The recorder says that it does not know it, yet lists it. One that is not listed, though its record goes on,
    counts."""
    ran(conn, 1, ASKED, REPORTED, asked=20, outcome=outcome)
    assert bool(amiss(conn, at(60)).get("ny-1")) is counts


def test_a_retired_recorder_has_no_gap_after_its_end(conn: Connection, writer: Writer, tables: Query) -> None:
    register(conn, [NY_1], MARGIN)
    writer.write(Batch(sessions=[ended(1, 0, 10)]))
    retire(conn, "ny-1", at(100), Author("me@here", None), MARGIN)
    assert gaps(tables) == [(at(9), at(100), "open")]
    accept_gap(conn, number(tables), ME, MARGIN)
    assert gaps(tables) == [(at(9), at(100), "accepted")]
    assert amiss(conn, at(200)) == {}
    with pytest.raises(UsageError, match="no recorder in use"):
        retire(conn, "ny-1", at(300), ME, MARGIN)


def test_a_recorder_configured_again_is_in_use_again_and_the_time_between_is_a_gap(
    conn: Connection, writer: Writer, tables: Query
) -> None:
    register(conn, [NY_1], MARGIN)
    writer.write(Batch(sessions=[ended(1, 0, 10)]))
    retire(conn, "ny-1", at(100), ME, MARGIN)
    register(conn, [NY_1], MARGIN)
    assert gaps(tables) == [(at(9), None, "open")]
    writer.write(Batch(sessions=[covering(2, 500, 510)]))
    assert gaps(tables) == [(at(9), at(500), "open")]


def test_a_recorder_that_is_listened_to_is_not_retired(
    database: str, conn: Connection, writer: Writer, tables: Query
) -> None:
    """Neither is one that was heard a moment ago: its worker may only have lost the database."""
    register(conn, [NY_1], MARGIN)
    writer.write(Batch(sessions=[covering(1, 0, 10)]))
    with connection(database) as owner:
        assert sessions.hold_owner_lock(owner, WORKER)
        with pytest.raises(UsageError, match="still listened to"):
            retire(conn, "ny-1", at(9_000), ME, MARGIN)
    with pytest.raises(UsageError, match="still listened to"):
        retire(conn, "ny-1", at(60), ME, MARGIN)
    assert tables("SELECT retired_at FROM cdr.recorder") == [(None,)]


def test_a_session_whose_worker_is_long_gone_does_not_stand_in_the_way(
    conn: Connection, writer: Writer, tables: Query
) -> None:
    register(conn, [NY_1], MARGIN)
    writer.write(Batch(sessions=[covering(1, 0, 10)]))
    retire(conn, "ny-1", at(9_000), ME, MARGIN)
    assert tables("SELECT closed_at, reason FROM cdr.session") == [(at(9_000), "journal")]
    assert gaps(tables) == [(at(9), at(9_000), "open")]


def test_an_unknown_recorder_is_not_retired(conn: Connection) -> None:
    with pytest.raises(UsageError, match="no recorder in use is called nobody"):
        retire(conn, "nobody", at(0), ME, MARGIN)
