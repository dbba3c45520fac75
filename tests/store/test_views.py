"""The views for people say what the tables hold: at the edges of hours, of ranges, and of copies."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from support.postgres import connection

from etl.calls import coverage
from etl.calls.coverage import SessionState
from etl.calls.ids import UNTIMED
from etl.calls.reconcile import Act, Action, Rule
from etl.model import Fact, Kind, Quarantined, Value
from etl.store import acceptance, reconcile
from etl.store.audit import Author
from etl.store.database import Connection
from etl.store.recorders import Recorder, register
from etl.store.write import Batch, Writer

pytestmark = pytest.mark.slow

START = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
MARGIN = timedelta(seconds=1)
FULL = Decimal(1)
NEARLY = Decimal("0.9999")
Query = Callable[..., list[tuple[Any, ...]]]
MakeFact = Callable[..., Fact]
Store = Callable[..., None]


def at(minute: float) -> datetime:
    return START + timedelta(minutes=minute)


def session(key: int, start: float, end: float, recorder: str = "ny-1", *, closed: bool = True) -> SessionState:
    """One that covers `[start, end)`, in minutes."""
    state = SessionState(UUID(int=key), recorder, "w", (), at(start))
    state = coverage.listed(coverage.subscribed(state, at(start)), at(start), at(start))
    state = coverage.read(state, at(end) + MARGIN)
    return coverage.closed(state, at(end) + MARGIN, "drop", MARGIN) if closed else state


# Completeness ---------------------------------------------------------------------------------------------------

HOURS = (
    "SELECT recorder, hour, covered_share, calls, recovered, unresolved, quarantined"
    " FROM report.completeness_between(%s, %s) ORDER BY recorder, hour"
)


@pytest.fixture
def hours(tables: Query) -> Callable[..., list[tuple[Any, ...]]]:
    def read(start: float = 0, end: float = 180) -> list[tuple[Any, ...]]:
        """Hours as their offset, with the rest of each row."""
        rows = tables(HOURS, at(start), at(end))
        return [(row[0], (row[1] - START) / timedelta(hours=1), *row[2:]) for row in rows]

    return read


def test_without_a_subscription_there_is_no_hour(writer: Writer, tables: Query, make_fact: MakeFact) -> None:
    """Even if calls and sessions are there: nothing was promised yet."""
    assert tables("SELECT * FROM report.completeness") == []
    writer.write(Batch(facts=[make_fact()], sessions=[SessionState(UUID(int=1), "ny-1", "w", (), START)]))
    assert tables("SELECT * FROM report.completeness") == []


def test_an_hour_is_covered_as_far_as_it_belongs_to_the_recorders_time(
    writer: Writer, hours: Callable[..., Any]
) -> None:
    """The first from the subscription on, a gap in the middle, the share rounded down."""
    writer.write(Batch(sessions=[session(1, 30, 70), session(2, 90, 200)]))
    assert hours() == [
        ("ny-1", 0, FULL, 0, 0, 0, 0),
        ("ny-1", 1, Decimal("0.6666"), 0, 0, 0, 0),
        ("ny-1", 2, FULL, 0, 0, 0, 0),
    ]


def test_overlapping_sessions_count_once(writer: Writer, hours: Callable[..., Any]) -> None:
    writer.write(Batch(sessions=[session(1, 0, 40), session(2, 20, 45)]))
    assert hours(0, 60) == [("ny-1", 0, Decimal("0.75"), 0, 0, 0, 0)]


def test_a_session_with_a_narrower_filter_than_the_one_in_force_covers_nothing(
    writer: Writer, hours: Callable[..., Any]
) -> None:
    narrow = replace(session(2, -60, 60), extensions=("1000",))
    writer.write(Batch(sessions=[session(1, 0, 30), narrow]))
    assert hours(0, 60) == [("ny-1", 0, Decimal("0.5"), 0, 0, 0, 0)]


def test_the_hour_under_way_counts_as_far_as_it_has_passed_and_pending_is_not_covered(
    writer: Writer, tables: Query
) -> None:
    now = datetime.now(UTC)
    began, last = now - timedelta(minutes=20), now - timedelta(minutes=10)
    state = SessionState(UUID(int=1), "ny-1", "w", (), began)
    state = coverage.read(coverage.listed(coverage.subscribed(state, began), began, began), last)
    writer.write(Batch(sessions=[state]))
    rows = tables("SELECT hour, covered_share, covered FROM report.completeness ORDER BY hour")
    assert sum((row[2] for row in rows), timedelta()) == timedelta(minutes=10) - MARGIN
    assert all(row[0].minute == 0 and row[0] <= now for row in rows)
    assert rows[-1][1] < FULL


def test_hours_are_those_of_utc_whatever_the_zone_of_the_reader(writer: Writer, conn: Connection) -> None:
    """Kathmandu's hours begin at a quarter past; and New York's clock change neither doubles nor drops one."""
    writer.write(Batch(sessions=[session(1, 0, 200)]))
    with conn.transaction():
        plain = conn.execute("SELECT extract(epoch FROM hour) FROM report.completeness LIMIT 3").fetchall()
        conn.execute("SET LOCAL TimeZone = 'Asia/Kathmandu'")
        assert conn.execute("SELECT extract(epoch FROM hour) FROM report.completeness LIMIT 3").fetchall() == plain


@pytest.mark.parametrize(
    ("facts", "counts"),
    [
        ([(Kind.START, 0), (Kind.END, 1), (Kind.DETAIL, 2)], (1, 0, 0)),
        ([(Kind.LIST, 0), (Kind.START, 0.001), (Kind.DETAIL, 2)], (1, 0, 0)),
        ([(Kind.LIST, 0), (Kind.END, 1), (Kind.DETAIL, 2)], (1, 1, 0)),
        ([(Kind.HTTP, 500)], (1, 1, 0)),
        ([(Kind.FILE, 500), (Kind.DETAIL, 501)], (1, 1, 0)),
        ([(Kind.END, 1), (Kind.LIST, 2), (Kind.DETAIL, 3)], (1, 0, 0)),
        ([(Kind.START, 0), (Kind.END, 1)], (1, 0, 1)),
        ([(Kind.START, 0), (Kind.ABSENT, 1)], (1, 0, 1)),
    ],
    ids=["heard", "list-faster", "listed", "history", "file", "end-first", "ended", "lost"],
)
def test_what_was_recovered_or_is_unresolved_keeps_its_hour_below_the_whole(
    writer: Writer,
    hours: Callable[..., Any],
    make_fact: MakeFact,
    facts: list[tuple[Kind, float]],
    counts: tuple[int, int, int],
) -> None:
    """The hour in which it started, also where it goes on into the next."""
    values: Mapping[str, Value] = {"start_time": at(59), "end_time": at(130)}
    made = [
        make_fact(kind, second, id_time=UNTIMED, values={} if kind is Kind.ABSENT else values) for kind, second in facts
    ]
    if Kind.ABSENT in dict(facts):
        made[0] = make_fact(Kind.START, 0, id_time=UNTIMED, values={"start_time": at(59)})
    writer.write(Batch(facts=made, sessions=[session(1, 0, 200)]))
    share = NEARLY if any(counts[1:]) else FULL
    assert hours() == [
        ("ny-1", 0, share, *counts, 0),
        ("ny-1", 1, FULL, 0, 0, 0, 0),
        ("ny-1", 2, FULL, 0, 0, 0, 0),
    ]


def test_a_call_without_a_start_belongs_to_the_hour_in_which_it_was_first_seen(
    writer: Writer, hours: Callable[..., Any], make_fact: MakeFact
) -> None:
    writer.write(Batch(facts=[make_fact(Kind.DETAIL, 3600, id_time=UNTIMED)], sessions=[session(1, 0, 200)]))
    assert [row[3] for row in hours()] == [0, 1, 0]


def test_a_message_that_nobody_understood_keeps_its_hour_below_the_whole(
    writer: Writer, tables: Query, hours: Callable[..., Any]
) -> None:
    """Discarded or not; once a retry has understood it, it counts no more."""
    writer.write(
        Batch(sessions=[session(1, 0, 200)], quarantined=[Quarantined(at(61), "ny-1", "stream", "bad", b"<x/>")])
    )
    for state, expected in (("open", (NEARLY, 1)), ("discarded", (NEARLY, 1)), ("retried", (FULL, 0))):
        tables("UPDATE cdr.quarantine SET state = %s RETURNING 1", state)
        assert [(row[2], row[6]) for row in hours()] == [(FULL, 0), expected, (FULL, 0)]


def test_a_retired_recorder_has_no_hours_after_its_end(
    conn: Connection, writer: Writer, hours: Callable[..., Any]
) -> None:
    register(conn, [Recorder("ny-1", "NY-1", "UTC")], MARGIN)
    writer.write(Batch(sessions=[session(1, 0, 70), session(2, 0, 200, "ny-2")]))
    acceptance.retire(conn, "ny-1", at(80), Author("me", None), MARGIN)
    assert [row[:3] for row in hours() if row[0] == "ny-1"] == [("ny-1", 0, FULL), ("ny-1", 1, Decimal("0.5"))]
    assert len(hours()) == 5


def test_hours_whose_calls_were_deleted_by_age_do_not_pass_for_hours_without_calls(
    writer: Writer, tables: Query, hours: Callable[..., Any]
) -> None:
    """Who listened stays true. An hour of which a part was deleted is among them."""
    writer.write(Batch(sessions=[session(1, 0, 200)]))
    query = "SELECT expired FROM report.completeness WHERE hour < %s ORDER BY hour"
    assert tables(query, at(180)) == [(False,), (False,), (False,)]
    tables("INSERT INTO cdr.expiry (id, before) VALUES (1, %s) RETURNING 1", at(61))
    assert tables(query, at(180)) == [(True,), (True,), (False,)]
    assert [row[2] for row in hours()] == [FULL, FULL, FULL]


@pytest.mark.parametrize(("start", "end"), [(-10, -10), (-60, -10), (-60, -30), (-10, -30), (70, 70), (82, 100)])
def test_a_time_in_which_a_recorder_has_none_shows_no_hour_of_it(
    conn: Connection, writer: Writer, hours: Callable[..., Any], start: float, end: float
) -> None:
    """Before its first subscription, within the same hour; after its retirement; no time at all."""
    register(conn, [Recorder("ny-1", "NY-1", "UTC")], MARGIN)
    writer.write(Batch(sessions=[session(1, -10, 70)]))
    acceptance.retire(conn, "ny-1", at(80), Author("me", None), MARGIN)
    assert hours(start, end) == []


def test_time_that_has_not_passed_has_no_hour(writer: Writer, tables: Query) -> None:
    """Be it the rest of the hour under way."""
    writer.write(Batch(sessions=[session(1, 0, 70)]))
    query = "SELECT * FROM report.completeness_between(now() + interval '1 second', now() + interval '2 hours')"
    assert tables(query) == []


def test_the_view_is_the_function_over_all_time(writer: Writer, tables: Query, make_fact: MakeFact) -> None:
    facts = [make_fact(Kind.DETAIL, minute * 60, call_id=str(minute), id_time=UNTIMED) for minute in range(0, 180, 7)]
    writer.write(Batch(facts=facts, sessions=[session(1, 10, 70), session(2, 90, 200)]))
    cut = tables("SELECT * FROM report.completeness_between(%s, %s) ORDER BY hour", at(60), at(120))
    assert cut == tables("SELECT * FROM report.completeness WHERE hour = %s", at(60))


def test_an_hour_that_is_cut_off_counts_nothing_from_before_the_cut(
    writer: Writer, hours: Callable[..., Any], make_fact: MakeFact
) -> None:
    """Kolkata's day begins in the middle of an hour of UTC: of that hour its report had calls, messages that were not
    understood, and calls recovered, of the evening before."""
    kinds = ((Kind.DETAIL, 10), (Kind.HTTP, 20), (Kind.START, 29), (Kind.DETAIL, 30), (Kind.HTTP, 89), (Kind.HTTP, 90))
    facts = [
        make_fact(kind, minute * 60, call_id=str(minute), id_time=UNTIMED, values={"start_time": at(minute)})
        for kind, minute in kinds
    ]
    refused = [Quarantined(at(minute), "ny-1", "stream", "bad", f"{minute}".encode()) for minute in (29, 30, 89, 90)]
    writer.write(Batch(facts=facts, sessions=[session(1, 0, 200)], quarantined=refused))
    assert hours(30, 90) == [("ny-1", 0, NEARLY, 1, 0, 0, 1), ("ny-1", 1, NEARLY, 1, 1, 0, 1)]
    assert [sum(column) for column in zip(*(row[3:] for row in hours(0, 120)), strict=True)] == [6, 3, 1, 4]


def test_the_length_of_an_hour_is_what_its_share_is_a_share_of(writer: Writer, tables: Query) -> None:
    """Whoever divides what was covered by whole hours finds half of the first hour missing, and of the last."""
    writer.write(Batch(sessions=[session(1, 10, 70), session(2, 90, 200)]))
    query = "SELECT covered, length, covered_share FROM report.completeness_between(%s, %s) ORDER BY hour"
    minutes = [(row[0] / timedelta(minutes=1), row[1] / timedelta(minutes=1)) for row in tables(query, at(0), at(150))]
    assert minutes == [(50, 50), (40, 60), (30, 30)]
    assert [row[1] for row in tables(query, at(20), at(30))] == [timedelta(minutes=10)]
    assert {row[1] for row in tables("SELECT 1, length FROM report.completeness WHERE hour = %s", at(60))} == {
        timedelta(hours=1)
    }


# Conversations --------------------------------------------------------------------------------------------------


@pytest.fixture
def store(writer: Writer, make_fact: MakeFact) -> Store:
    """Stores a call: id, recorder, start in seconds, and further fields."""

    def keep(call_id: str, recorder: str, second: float | None, kind: Kind = Kind.DETAIL, **values: Value) -> None:
        parties: dict[str, Value] = {"source_caller_id": "1", "destination_caller_id": "2"}
        times: dict[str, Value] = {}
        if second is not None:
            start = START + timedelta(seconds=second)
            times = {"start_time": start, "end_time": start + timedelta(seconds=60)}
        fact = make_fact(kind, call_id=call_id, id_time=UNTIMED, recorder=recorder, values=parties | times | values)
        writer.write(Batch(facts=[fact]))

    return keep


@pytest.fixture
def folded(tables: Query) -> Callable[[], list[list[str]]]:
    def read() -> list[list[str]]:
        return [row[0] for row in tables("SELECT call_ids FROM report.conversations ORDER BY call_id")]

    return read


P = {"platform_call_id": "p"}
N = {"native_call_id": "n"}


@pytest.mark.parametrize(
    ("first", "second", "seconds", "copies"),
    [
        (P, P, 5, True),
        (P, P, -5, True),
        (P, P, 5.001, False),
        (N, N, 0, True),
        (P | N, P | {"native_call_id": "m"}, 0, True),
        (P | N, {"platform_call_id": "q"} | N, 0, True),
        (P, {"platform_call_id": "q"}, 0, False),
        (P, N, 0, False),
        ({}, {}, 0, False),
        (P, P | {"source_caller_id": "3"}, 0, False),
        (P, P | {"destination_caller_id": "3"}, 0, False),
        (P, P | {"source_caller_id": "2", "destination_caller_id": "1"}, 0, False),
    ],
)
def test_copies_share_an_id_and_the_parties_and_start_within_five_seconds(
    store: Store,
    folded: Callable[[], list[list[str]]],
    first: dict[str, Value],
    second: dict[str, Value],
    seconds: float,
    copies: bool,
) -> None:
    store("a", "ny-1", 100, secondary=False, **first)
    store("b", "ny-2", 100 + seconds, secondary=True, **second)
    assert folded() == ([["a", "b"]] if copies else [["a"], ["b"]])


@pytest.mark.parametrize(
    ("first", "second", "shown"),
    [
        ({"secondary": True}, {"secondary": False}, ["b", "a"]),
        ({"secondary": True}, {}, ["b", "a"]),
        ({"kind": Kind.START, "secondary": False}, {"secondary": True}, ["b", "a"]),
        ({"secondary": True}, {"secondary": True}, ["a", "b"]),
        ({}, {}, ["a", "b"]),
    ],
    ids=["marked", "unmarked", "incomplete", "both-marked", "promoted"],
)
def test_the_copy_shown_is_the_one_to_keep(
    store: Store, tables: Query, first: dict[str, Any], second: dict[str, Any], shown: list[str]
) -> None:
    """Complete, then primary, then the earliest; after a clean-up of the recorders either can be the only one left."""
    store("a", "ny-1", 100, **P, **first)
    store("b", "ny-2", 101, **P, **second)
    rows = tables("SELECT call_id, call_ids, recorders, copies, start_time FROM report.conversations")
    second_of = {"a": 100, "b": 101}
    recorder_of = {"a": "ny-1", "b": "ny-2"}
    start = START + timedelta(seconds=second_of[shown[0]])
    assert rows == [(shown[0], shown, [recorder_of[each] for each in shown], 2, start)]


def test_two_calls_on_one_recorder_are_two_conversations_with_their_own_copies(
    store: Store, folded: Callable[[], list[list[str]]]
) -> None:
    """Such as voice and screen of one call: the first goes with the first, the second with the second."""
    for call_id, recorder, second in (("a", "ny-1", 0), ("b", "ny-1", 2), ("c", "ny-2", 1), ("d", "ny-2", 3)):
        store(call_id, recorder, second, **P, secondary=recorder == "ny-2")
    assert folded() == [["a", "c"], ["b", "d"]]


def test_a_copy_on_the_same_recorder_is_one_if_it_is_marked(
    store: Store, folded: Callable[[], list[list[str]]]
) -> None:
    store("a", "ny-1", 0, **P)
    store("b", "ny-1", 0, **P, secondary=True)
    assert folded() == [["a", "b"]]


@pytest.mark.parametrize("native", ["", None, "n"])
def test_an_empty_id_is_none_that_two_calls_could_share(
    store: Store, folded: Callable[[], list[list[str]]], native: str | None
) -> None:
    for name in ("a", "b"):
        own = native and native + name
        store(name, f"ny-{name}", 100, platform_call_id="", native_call_id=own)
    assert folded() == [["a"], ["b"]]


def test_a_call_without_a_start_stands_alone(store: Store, folded: Callable[[], list[list[str]]]) -> None:
    store("a", "ny-1", None, **P)
    store("b", "ny-2", None, **P)
    assert folded() == [["a"], ["b"]]


@pytest.mark.parametrize(
    ("recorder", "second", "continues"),
    [("ny-2", 160, "a"), ("ny-2", 156, "a"), ("ny-2", 154, None), ("ny-2", 221, None), ("ny-1", 160, None)],
    ids=["at-once", "overlapping", "too-early", "too-late", "same-recorder"],
)
def test_a_failover_in_the_middle_is_two_conversations_of_which_one_continues_the_other(
    store: Store, tables: Query, recorder: str, second: float, continues: str | None
) -> None:
    """The first one ends at 160 s."""
    store("a", "ny-1", 100, **P)
    store("b", recorder, second, **P)
    assert tables("SELECT call_id, copies, continues FROM report.conversations ORDER BY 1") == [
        ("a", 1, None),
        ("b", 1, continues),
    ]


def test_a_range_shows_the_same_conversations_as_the_whole(store: Store, tables: Query) -> None:
    """Each in exactly one range, with the copies and the failover that lie just beyond its edge."""
    rng = random.Random(7)
    for number in range(60):
        recorder = f"ny-{number % 2 + 1}"
        store(str(number), recorder, rng.uniform(0, 300), platform_call_id=rng.choice("pqrstuvw"), secondary=False)
    every = "SELECT * FROM report.conversations_between(%s, %s) ORDER BY call_id"
    whole = tables("SELECT * FROM report.conversations ORDER BY call_id")
    parts = [row for minute in range(0, 6) for row in tables(every, at(minute), at(minute + 1))]
    assert sorted(parts) == sorted(whole)
    assert sorted(each for row in whole for each in row[17]) == sorted(str(number) for number in range(60))


# Pending --------------------------------------------------------------------------------------------------------

PENDING = "SELECT recorder, from_time, to_time FROM report.pending ORDER BY recorder, from_time"


def test_behind_a_session_that_ended_nothing_is_pending(writer: Writer, tables: Query) -> None:
    """That is a gap. Nor before the first subscription, or where a session never subscribed."""
    assert tables(PENDING) == []
    writer.write(Batch(sessions=[session(1, 0, 30), SessionState(UUID(int=2), "ny-2", "w", (), START)]))
    assert tables(PENDING) == []


def test_what_follows_the_last_word_of_a_session_is_pending_until_it_ends(writer: Writer, tables: Query) -> None:
    live = session(1, 0, 30, closed=False)
    writer.write(Batch(sessions=[live]))
    assert tables(PENDING) == [("ny-1", at(30), None)]
    writer.write(Batch(sessions=[session(2, 50, 70, closed=False)]))  # another worker takes over
    assert tables(PENDING) == [("ny-1", at(30), at(50)), ("ny-1", at(70), None)]
    writer.write(Batch(sessions=[coverage.closed(live, at(80), "journal", MARGIN)]))
    assert tables(PENDING) == [("ny-1", at(70), None)]
    assert tables("SELECT from_time, to_time FROM report.gaps") == [(at(30), at(50))]


def test_a_subscription_that_got_no_list_yet_is_pending_from_its_begin(writer: Writer, tables: Query) -> None:
    state = coverage.subscribed(SessionState(UUID(int=1), "ny-1", "w", (), START), at(5))
    writer.write(Batch(sessions=[state]))
    assert tables(PENDING) == [("ny-1", at(5), None)]


def test_nothing_is_pending_after_a_recorder_was_retired(conn: Connection, writer: Writer, tables: Query) -> None:
    """Nor does a subscription after that, by a worker that was left running, begin its time anew."""
    register(conn, [Recorder(name, name, "UTC") for name in ("ny-1", "ny-2")], MARGIN)
    writer.write(Batch(sessions=[session(1, 0, 30), session(2, 60, 70, "ny-2")]))
    acceptance.retire(conn, "ny-1", at(40), Author("me@here", "sold"), MARGIN)
    acceptance.retire(conn, "ny-2", at(40), Author("me@here", "sold"), MARGIN)
    writer.write(Batch(sessions=[session(3, 50, 60, closed=False)]))
    assert tables(PENDING) == []


def test_covered_gaps_and_pending_are_all_of_a_recorders_time_and_never_overlap(writer: Writer, tables: Query) -> None:
    """Guarantee G4, over sessions that overlap, end, are left behind, and have other filters."""
    dice = random.Random(5)
    for key in range(1, 40):
        start = dice.uniform(0, 1000)
        state = session(key, start, start + dice.uniform(0.1, 60), closed=dice.random() < 0.9)
        writer.write(Batch(sessions=[replace(state, extensions=("1000",)) if key % 5 == 0 else state]))
    # Where only a session with a narrower filter listened, that is a gap; the view of hours counts it so too.
    (row,) = tables(
        """
        WITH time AS (SELECT tstzrange(min(subscribed_at), NULL) AS whole FROM cdr.session),
        gaps AS (SELECT coalesce(range_agg(tstzrange(from_time, to_time)), '{}') AS spans FROM report.gaps),
        waiting AS (SELECT coalesce(range_agg(tstzrange(from_time, to_time)), '{}') AS spans FROM report.pending),
        heard AS (SELECT range_agg(coverage) - (SELECT spans FROM gaps) AS spans FROM cdr.session)
        SELECT gaps.spans + waiting.spans + heard.spans = tstzmultirange(whole), isempty(gaps.spans * waiting.spans),
            isempty(waiting.spans * heard.spans), isempty(waiting.spans)
        FROM time, gaps, waiting, heard
        """
    )
    assert row == (True, True, True, False)


# Unresolved calls -----------------------------------------------------------------------------------------------


def test_unresolved_calls_say_since_when_and_why(
    conn: Connection, writer: Writer, tables: Query, make_fact: MakeFact
) -> None:
    facts = [
        make_fact(Kind.START, 0, call_id="goes on", id_time=UNTIMED),
        make_fact(Kind.START, 0, call_id="unlisted", id_time=UNTIMED),
        make_fact(Kind.START, 0, call_id="ended", id_time=UNTIMED),
        make_fact(Kind.END, 60, call_id="ended", id_time=UNTIMED),
        make_fact(Kind.END, 60, call_id="unfinished", id_time=UNTIMED),
        make_fact(Kind.UNFINISHED, 120, call_id="unfinished", id_time=UNTIMED),
        make_fact(Kind.START, 0, call_id="lost", id_time=UNTIMED),
        make_fact(Kind.ABSENT, 180, call_id="lost", id_time=UNTIMED),
        make_fact(Kind.DETAIL, 0, call_id="complete", id_time=UNTIMED),
    ]
    writer.write(Batch(facts=facts))
    for key, outcome in ((1, "timeout"), (2, "failed")):
        run = reconcile.Run(UUID(int=key), "ny-1", "command")
        reconcile.begin(conn, run)
        told = f"asked, run {key}"
        reconcile.add_actions(conn, run, [Action(Act.ASK, Rule.MISSED_END, "unlisted", told)], {"unlisted": outcome})
    acceptance.accept_call(conn, "lost", Author("me@here", "gone"))
    query = "SELECT call_id, state, since, why, accepted, accepted_reason, last_action, last_answer"
    none = (False, None, None, None)
    assert tables(f"{query} FROM report.unresolved_calls ORDER BY call_id") == [
        ("ended", "ended", at(1), "ended; its record has not arrived", *none),
        ("goes on", "ongoing", START, "goes on, as far as the recorder has told", *none),
        ("lost", "lost", at(3), "gone: the recorder does not know it any more", True, "gone", None, None),
        ("unfinished", "ended", at(1), "ended; its record is not finished yet", *none),
        (
            "unlisted",
            "ongoing",
            START,
            "was not in the recorder's list any more, and asking about it settled nothing",
            False,
            None,
            "asked, run 2",
            "failed",
        ),
    ]


def test_an_ongoing_call_that_the_last_good_list_lacked_is_told_apart_from_one_that_goes_on(
    conn: Connection, writer: Writer, tables: Query, make_fact: MakeFact
) -> None:
    """By the last good run alone, and not once it was heard of again; accepted or not: that is another column."""
    unlisted = "SELECT call_id FROM report.unresolved_calls WHERE unlisted ORDER BY call_id"
    told = {kind: make_fact(kind, 0, call_id=kind, id_time=UNTIMED) for kind in (Kind.START, Kind.LIST, Kind.END)}
    writer.write(Batch(facts=list(told.values()), sessions=[session(1, 0, 30)]))
    run = reconcile.Run(UUID(int=1), "ny-1", "command")
    reconcile.begin(conn, run)
    actions = [Action(Act.ASK, Rule.MISSED_END, kind, "ongoing with us, but not listed") for kind in told]
    reconcile.add_actions(conn, run, actions, dict.fromkeys(told, "timeout"))
    assert tables(unlisted) == []
    reconcile.finish(conn, run, reconcile.Result(at(10), 0))
    assert tables(unlisted) == [("list",), ("start",)]  # the third has ended meanwhile
    acceptance.accept_call(conn, "list", Author("me@here", "gone"))
    assert tables(unlisted) == [("list",), ("start",)]
    writer.write(Batch(facts=[make_fact(Kind.LIST, 700, call_id="start", id_time=UNTIMED)]))
    assert tables(unlisted) == [("list",)]
    again = reconcile.Run(UUID(int=2), "ny-1", "command")
    reconcile.begin(conn, again)
    reconcile.finish(conn, again, reconcile.Result(at(20), 0))
    assert tables(unlisted) == []
    assert tables("SELECT count(*) FROM report.unresolved_calls WHERE unlisted IS NULL") == [(0,)]


# All ------------------------------------------------------------------------------------------------------------


def test_every_view_and_each_of_its_columns_and_every_function_has_a_comment(tables: Query) -> None:
    bare = tables(
        """
        SELECT c.relname || coalesce('.' || a.attname, '') FROM pg_class c
        CROSS JOIN LATERAL (SELECT NULL::name AS attname, 0 AS attnum UNION ALL
            SELECT attname, attnum FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0) a
        WHERE c.relnamespace = 'report'::regnamespace AND c.relkind = 'v'
          AND NOT EXISTS (SELECT FROM pg_description WHERE objoid = c.oid AND objsubid = a.attnum)
        UNION ALL
        SELECT proname FROM pg_proc WHERE pronamespace = 'report'::regnamespace
          AND obj_description(oid, 'pg_proc') IS NULL
        """
    )
    assert bare == []


FILL = """
INSERT INTO cdr.call (call_id, id_time, recorder, state, source, start_time, end_time, source_caller_id,
    destination_caller_id, platform_call_id, native_call_id, secondary, first_seen_at, recorded_at)
SELECT 'c' || i, t, 'ny-' || mod(i, 2) + 1, CASE WHEN mod(i, 1000) = 0 THEN 'ended' ELSE 'complete' END, 'detail', t,
    t + interval '1 minute', 'a' || mod(i / 2, 500), 'b' || mod(i / 2, 700), 'p' || i / 2, 'n' || i / 2,
    mod(i, 2) = 1, t, t
FROM (SELECT i, %s + (i / 2) * interval '20 seconds' + mod(i, 2) * interval '1 second' AS t
    FROM generate_series(0, 199999) i) s
"""
FILL_FACTS = """
INSERT INTO cdr.fact (call_id, id_time, kind, observed_at, first_observed_at, recorder, digest, element)
SELECT call_id, id_time, kind, id_time, id_time, recorder, '', '' FROM cdr.call, (VALUES ('start'), ('detail')) k (kind)
"""


def test_a_day_costs_a_day_and_the_whole_grows_with_its_rows(embedded_database: str) -> None:
    """200,000 calls: some seconds for all of them, a fraction of that for a day, without statistics and with them."""
    with connection(embedded_database) as conn:
        Writer(conn).write(Batch(sessions=[session(1, 0, 1e5), session(2, 0, 1e5, "ny-2")]))
        with conn.transaction():
            conn.execute("SELECT cdr.ensure_partitions(%s)", [[START.date(), (START + timedelta(days=25)).date()]])
            conn.execute(FILL, [START])
            conn.execute(FILL_FACTS)
        conn.autocommit = True
        for prepare in ("SELECT 1", "ANALYZE"):
            conn.execute(prepare)
            took = {
                source: duration(conn, f"SELECT sum({what}) FROM report.{source}", expected)
                for source, what, expected in (
                    ("conversations", "copies", 200_000),
                    (f"conversations_between({DAY})", "copies", 8_640),
                    ("completeness", "calls", 200_000),
                    (f"completeness_between({DAY})", "calls", 8_640),
                    ("unresolved_calls", "1", 200),
                )
            }
            whole, day, hours, hours_of_day, unresolved = took.values()
            assert max(day, unresolved) < whole / 3, took
            assert hours_of_day < hours / 2, took
            assert max(took.values()) < 30, took


DAY = "'2024-05-03', '2024-05-04'"


def duration(conn: Connection, query: str, expected: int) -> float:
    """Seconds that a query takes, whose answer is checked."""
    began = time.perf_counter()
    assert conn.execute(query.encode()).fetchone() == (expected,)
    return time.perf_counter() - began
