"""What other parts ask the archive: status, what is owed, quarantine, recorders."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from etl.calls import coverage
from etl.calls.coverage import SessionState
from etl.errors import UsageError
from etl.model import Fact, Interval, Kind, Quarantined
from etl.store import pending, quarantine
from etl.store.database import Connection
from etl.store.recorders import Recorder, register
from etl.store.sessions import hold_owner_lock
from etl.store.status import status
from etl.store.write import Batch, Writer

pytestmark = pytest.mark.slow

START = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
MARGIN = timedelta(seconds=1)
JOURNAL = UUID(int=5)
MakeFact = Callable[..., Fact]
Query = Callable[..., list[tuple[Any, ...]]]


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def covering(number: int, start: float, last_read: float) -> SessionState:
    opened = SessionState(UUID(int=number), "ny-1", str(JOURNAL), (), at(start))
    listed = coverage.listed(coverage.subscribed(opened, at(start)), at(start), at(start))
    return coverage.read(listed, at(last_read))


def test_status_of_an_empty_archive(conn: Connection) -> None:
    found = status(conn, START, MARGIN)
    assert (found.recorders, found.lag, found.quarantined, found.absurd_times) == ((), None, {}, 0)


def test_status_tells_what_was_covered_and_what_is_open(conn: Connection, writer: Writer, make_fact: MakeFact) -> None:
    register(conn, [Recorder("ny-1", "NY", "UTC"), Recorder("quiet", "Q", "UTC")], MARGIN)
    hold_owner_lock(conn, JOURNAL)
    started = {"start_time": at(5)}
    writer.write(
        Batch(
            facts=[make_fact(call_id="a", values=started), make_fact(Kind.DETAIL, 9, call_id="b", values=started)],
            quarantined=[Quarantined(at(3), "ny-1", "stream", "garbage", b"x")],
            sessions=[coverage.closed(covering(1, 0, 10), at(11), "drop", MARGIN), covering(2, 20, 30)],
            journal=JOURNAL,
            checkpoint=4,
            observed_at=at(30),
        )
    )
    found = status(conn, at(40), MARGIN)
    busy, quiet = found.recorders
    assert (found.lag, found.quarantined) == (timedelta(seconds=10), {("ny-1", "garbage"): 1})
    assert busy.coverage == (Interval(at(0), at(9)), Interval(at(20), at(29)))
    assert busy.pending == (Interval(at(29), at(40)),)
    assert [(gap.from_time, gap.to_time, gap.reason) for gap in busy.open_gaps] == [(at(9), at(20), "drop")]
    assert [(session.id, session.owned) for session in busy.sessions] == [(UUID(int=2), True)]
    assert (busy.calls, busy.unresolved) == ({"ongoing": 1, "complete": 1}, {"ongoing": 1})
    assert (quiet.name, quiet.sessions, quiet.coverage, quiet.open_gaps) == ("quiet", (), (), ())


def test_owed_are_ended_calls_without_a_record_and_records_asked_for_once(
    conn: Connection, writer: Writer, make_fact: MakeFact
) -> None:
    detail = {"element": b"<detail/>"}
    writer.write(
        Batch(
            facts=[
                make_fact(Kind.END, 10, call_id="ended"),
                make_fact(Kind.END, 0, call_id="long ago"),
                make_fact(Kind.START, 10, call_id="ongoing"),
                make_fact(Kind.END, 10, call_id="once"),
                make_fact(Kind.DETAIL, 11, call_id="once", **detail),
                make_fact(Kind.DETAIL, 11, call_id="twice", **detail),
                make_fact(Kind.DETAIL, 71, call_id="twice", **detail),
                make_fact(Kind.HTTP, 11, call_id="history", recorder=None),
            ]
        )
    )
    assert pending.owed(conn, at(5)) == [
        pending.Owed("ny-1", "ended", at(10), refetch=False),
        pending.Owed("ny-1", "once", at(11), refetch=True),
    ]


def test_a_call_taken_for_lost_before_its_end_was_loaded_was_never_asked_for_again(
    conn: Connection, writer: Writer, make_fact: MakeFact
) -> None:
    """A run found it neither listed nor known, while the worker that had heard its end lagged, and then died."""
    writer.write(Batch(facts=[make_fact(Kind.START, 1, call_id="early"), make_fact(Kind.ABSENT, 12, call_id="early")]))
    assert pending.owed(conn, at(5)) == [], "nobody has heard its end"
    writer.write(Batch(facts=[make_fact(Kind.END, 10, call_id="early")]))
    assert pending.owed(conn, at(5)) == [pending.Owed("ny-1", "early", at(10), refetch=False)]
    assert pending.owed(conn, at(11)) == [], "it was asked for long enough"


def test_counts_are_by_recorder_and_state(conn: Connection, writer: Writer, make_fact: MakeFact) -> None:
    writer.write(
        Batch(
            facts=[
                make_fact(call_id="a"),
                make_fact(Kind.END, call_id="b", recorder="la-1"),
                make_fact(Kind.DETAIL, call_id="c", id_time=datetime(5000, 1, 1, tzinfo=UTC)),
            ]
        )
    )
    found = pending.counts(conn)
    assert found.unresolved == {("ny-1", "ongoing"): 1, ("la-1", "ended"): 1}
    assert found.default_partition_rows == 1


def test_quarantine_keeps_what_came_until_someone_decides(conn: Connection, writer: Writer) -> None:
    writer.write(Batch(quarantined=[Quarantined(at(n), None, "a/file.xml", "cut off", b"<x" * n) for n in (1, 2)]))
    newest, oldest = quarantine.items(conn)
    assert (newest.observed_at, newest.size, newest.state) == (at(2), 4, "open")
    assert quarantine.show(conn, oldest.id) == (oldest, b"<x")
    quarantine.resolve(conn, oldest.id, "retried", at(9))
    assert [item.id for item in quarantine.items(conn)] == [newest.id]
    assert quarantine.show(conn, oldest.id)[0].resolved_at == at(9)
    with pytest.raises(UsageError, match="retried"):
        quarantine.resolve(conn, oldest.id, "discarded", at(10))
    with pytest.raises(UsageError, match="nothing with id 99"):
        quarantine.show(conn, 99)


def test_text_that_postgresql_cannot_hold_does_not_keep_anything_out_of_quarantine(
    conn: Connection, writer: Writer
) -> None:
    writer.write(Batch(quarantined=[Quarantined(START, "ny-1", "a\0\ud800", "b\0", b"\0", note={"why": "\0"})]))
    (item,) = quarantine.items(conn)
    assert (item.origin, item.note) == ("a\\0\\ud800", {"why": "\\0"})


def test_registering_again_writes_nothing_unless_something_changed(conn: Connection, tables: Query) -> None:
    register(conn, [Recorder("ny-1", "NY", "UTC")], MARGIN)
    before = tables("SELECT ctid::text FROM cdr.recorder")
    register(conn, [Recorder("ny-1", "NY", "UTC")], MARGIN)
    assert tables("SELECT ctid::text FROM cdr.recorder") == before
    register(conn, [Recorder("ny-1", "NY", "Europe/Budapest", ("100",))], MARGIN)
    assert tables("SELECT timezone, extensions FROM cdr.recorder") == [("Europe/Budapest", ["100"])]
