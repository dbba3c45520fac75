"""Deletion by age: what goes, what stays, and that nothing comes back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Thread
from zlib import compress

import pytest
from support.retention import CLERK, CUTOFF, OLD, YOUNG, Archive, make, wait_until_blocked

from etl.calls.ids import UNTIMED
from etl.jobs.retention import apply
from etl.model import Fact, Kind, Quarantined
from etl.store import gate, holds, migrate, retention, staging
from etl.store.database import Connection
from etl.store.holds import Wanted
from etl.store.write import Batch, Writer

pytestmark = pytest.mark.slow
DAY = timedelta(days=1)


def partitions(archive: Archive) -> set[str]:
    query = "SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r' AND relname ~ '_20'"
    return {row[0] for row in archive.rows(query)}


def test_a_whole_month_goes_with_its_partitions_and_can_be_made_again(archive: Archive) -> None:
    archive.store(make("a", OLD), make("b", OLD + DAY), make("c", YOUNG))
    report = apply(archive.conn, CUTOFF, CLERK)
    assert report.counts["months"] == 1
    assert report.counts["calls"] == 2
    assert archive.calls == ["c"]
    assert archive.rows("SELECT call_id FROM cdr.fact") == [("c",)]
    assert not {"call_2015_03", "fact_2015_03"} & partitions(archive)
    archive.rows("SELECT cdr.ensure_partitions('{2015-03-01}')")
    assert {"call_2015_03", "fact_2015_03"} <= partitions(archive)


def test_a_month_with_a_younger_call_stays_and_its_old_calls_go(archive: Archive) -> None:
    archive.store(make("a", OLD), make("b", YOUNG, id_time=OLD))
    report = apply(archive.conn, CUTOFF, CLERK)
    assert (report.counts["months"], report.counts["calls"]) == (0, 1)
    assert archive.calls == ["b"]
    assert archive.rows("SELECT call_id FROM cdr.fact") == [("b",)]


def test_a_month_is_not_dropped_with_a_call_that_has_no_start_and_ended_later(archive: Archive) -> None:
    """Such a call was not seen to stay: its start, being null, is neither before the limit nor after it."""
    ended = make("b", None, Kind.END, end_time=YOUNG, seen=YOUNG, id_time=OLD)
    archive.store(make("a", OLD), ended)
    report = apply(archive.conn, CUTOFF, CLERK)
    assert (report.counts["months"], report.counts["calls"]) == (0, 1)
    assert archive.calls == ["b"]


def listed(archive: Archive, at: datetime, *missing: str, recorder: str = "ny-1", result: str = "done") -> None:
    """A reconciliation whose list lacked some calls that are stored as ongoing, and asked for them."""
    run = archive.rows(
        "INSERT INTO cdr.reconcile_run (id, recorder, trigger, started_at, result) VALUES (gen_random_uuid(), %s,"
        " 'command', %s, %s) RETURNING id",
        recorder,
        at,
        result,
    )[0][0]
    for position, call_id in enumerate(missing):
        archive.change(
            "INSERT INTO cdr.reconcile_action (run, position, act, rule, call_id, told) VALUES (%s, %s, 'ask', 'b', %s,"
            " 'its end was missed')",
            run,
            position,
            call_id,
        )


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_call_that_its_recorder_still_lists_stays_however_old_and_a_stale_one_goes(
    archive: Archive, dry_run: bool
) -> None:
    """An open line is not old, it goes on. What only seems to go on, for nobody ever heard of its end, is old."""
    now = datetime.now(UTC)
    archive.store(*(make(name, OLD, Kind.START) for name in ("line", "stale", "elder")), make("ended", OLD, Kind.END))
    archive.store(make("elsewhere", OLD, Kind.START, recorder="ny-2"))
    listed(archive, now - 5 * DAY, "line")
    listed(archive, now - 2 * DAY, "stale", "elder")
    listed(archive, now - DAY, result="failed")
    listed(archive, now - 8 * DAY, recorder="ny-2")
    counts = apply(archive.conn, CUTOFF, CLERK, dry_run=dry_run).counts
    assert (counts["calls"], counts["months"], counts["held"], counts["ongoing"]) == (4, 0, 0, 1)
    assert len(archive.calls) == (5 if dry_run else 1)


def test_the_end_of_a_call_that_stayed_is_stored_and_then_it_goes(archive: Archive) -> None:
    """Its age is that of its start, as any other's: what is known of it must not be cut off before."""
    archive.store(make("line", OLD, Kind.START))
    listed(archive, datetime.now(UTC) - DAY)
    apply(archive.conn, CUTOFF, CLERK)
    end = datetime.now(UTC)
    assert archive.store(make("line", OLD, Kind.DETAIL, seen=end, end_time=end)).expired == 0
    assert archive.rows("SELECT state, end_time FROM cdr.call") == [("complete", end)]
    assert apply(archive.conn, CUTOFF, CLERK).counts["calls"] == 1
    assert archive.calls == []


def test_the_functions_have_the_rule_of_age_that_the_run_counts_by() -> None:
    """Word by word: a dry run must not count otherwise than the run deletes."""
    functions = "".join(migrate.sql_files()["retention.sql"].split()).replace("$1", "$3")
    rule = "".join(retention._EXPIRED.split()).replace("%(before)s", "$3")
    assert functions.count(rule) == 2


def test_a_running_writer_has_a_dropped_month_made_again_on_the_next_day(archive: Archive) -> None:
    days = iter([YOUNG, YOUNG + DAY])
    writer = Writer(archive.writer._connection, now=lambda: next(days))
    writer.write(Batch(facts=[make("a", OLD)]))
    apply(archive.conn, CUTOFF, CLERK)
    assert "call_2015_03" not in partitions(archive)
    writer.write(Batch(facts=[make("b", YOUNG, id_time=OLD)]))
    assert "call_2015_03" in partitions(archive)


def test_the_month_of_the_cutoff_is_divided(archive: Archive) -> None:
    middle = datetime(2017, 6, 15, tzinfo=UTC)
    archive.store(make("a", middle - timedelta(microseconds=1)), make("b", middle))
    apply(archive.conn, middle, CLERK)
    assert archive.calls == ["b"]


@pytest.mark.parametrize("time", [UNTIMED, datetime(1999, 1, 1, tzinfo=UTC)], ids=["untimed", "default partition"])
def test_calls_without_a_month_of_their_own_go_row_by_row(archive: Archive, time: datetime) -> None:
    archive.store(make("a", OLD, id_time=time), make("b", YOUNG, id_time=time))
    assert apply(archive.conn, CUTOFF, CLERK).counts["calls"] == 1
    assert archive.calls == ["b"]


def test_without_a_start_the_end_tells_the_age_and_without_both_the_first_sight(archive: Archive) -> None:
    facts = [
        make("ended", None, seen=YOUNG, end_time=OLD, id_time=UNTIMED),
        make("seen", None, seen=OLD, id_time=UNTIMED),
        make("ended lately", None, seen=OLD, end_time=YOUNG, id_time=UNTIMED),
        make("seen lately", None, seen=YOUNG, id_time=UNTIMED),
    ]
    archive.store(*facts)
    apply(archive.conn, CUTOFF, CLERK)
    assert archive.calls == ["ended lately", "seen lately"]


def test_what_has_no_time_but_in_its_id_goes_by_that_and_does_not_come_back(archive: Archive) -> None:
    """A record whose times cannot be read came back after its deletion, as old as the backfill that brought it."""
    absurd = [make("past", None, seen=YOUNG, id_time=datetime(1999, 1, 1, tzinfo=UTC))]
    absurd += [make("future", None, seen=OLD, id_time=datetime(2900, 1, 1, tzinfo=UTC))]
    archive.store(make("a", None, seen=YOUNG, id_time=OLD), make("b", None, seen=YOUNG, id_time=UNTIMED), *absurd)
    apply(archive.conn, CUTOFF, CLERK)
    assert archive.calls == ["b", "past"]
    assert archive.store(make("a", None, seen=YOUNG, id_time=OLD)).expired == 1
    assert archive.calls == ["b", "past"]


def test_what_was_deleted_comes_back_from_nowhere_and_that_is_counted(archive: Archive) -> None:
    facts = [make("a", OLD, kind, seen=OLD + timedelta(minutes=number)) for number, kind in enumerate(Kind)]
    archive.store(*facts)
    apply(archive.conn, CUTOFF, CLERK)
    assert archive.store(*facts).expired == len(facts)
    late = Batch(sightings=facts[:1], strangers=facts[1:2], strange_sightings=facts[2:3])
    assert archive.writer.write(late).expired == 3
    assert archive.calls == []
    assert archive.rows("SELECT * FROM cdr.fact") == []


def test_a_younger_call_is_stored_and_so_is_what_comes_of_an_old_one_that_is(archive: Archive) -> None:
    archive.store(make("a", OLD))
    holds.hold(archive.conn, Wanted(call_id="a"), CLERK)
    apply(archive.conn, CUTOFF, CLERK)
    written = archive.store(make("a", OLD, Kind.HTTP, cause_id=5), make("b", YOUNG), make("c", OLD))
    assert written.expired == 1
    assert archive.calls == ["a", "b"]
    assert archive.rows("SELECT count(*) FROM cdr.fact WHERE call_id = 'a'") == [(2,)]


def test_the_limit_never_moves_back(archive: Archive) -> None:
    assert retention.move(archive.conn, CUTOFF) == CUTOFF
    assert retention.move(archive.conn, CUTOFF - DAY) == CUTOFF
    assert retention.move(archive.conn, CUTOFF + DAY) == CUTOFF + DAY


def test_a_dry_run_counts_the_same_and_changes_nothing(archive: Archive) -> None:
    archive.store(make("a", OLD), make("b", OLD + DAY, id_time=UNTIMED), make("c", OLD + 60 * DAY), make("d", YOUNG))
    holds.hold(archive.conn, Wanted(call_id="c"), CLERK)
    dry = apply(archive.conn, CUTOFF, CLERK, dry_run=True)
    assert archive.calls == ["a", "b", "c", "d"]
    assert archive.rows("SELECT * FROM cdr.expiry") == []
    assert archive.rows("SELECT action FROM cdr.audit") == [("retention hold",)]
    assert apply(archive.conn, CUTOFF, CLERK).counts == dry.counts
    assert archive.calls == ["c", "d"]


def test_a_second_run_has_nothing_to_do(archive: Archive) -> None:
    archive.store(make("a", OLD), make("d", YOUNG))
    apply(archive.conn, CUTOFF, CLERK)
    assert not any(apply(archive.conn, CUTOFF, CLERK).counts.values())


def test_a_run_that_was_interrupted_is_finished_by_the_next(archive: Archive) -> None:
    archive.store(*(make(f"{number:03}", OLD, id_time=UNTIMED) for number in range(20)))
    retention.move(archive.conn, CUTOFF)
    retention.collect(archive.conn, CUTOFF)
    pages = retention.delete(archive.conn, CUTOFF, page=6)
    assert next(pages) == 6
    assert len(archive.calls) == 14
    assert apply(archive.conn, CUTOFF, CLERK).counts["calls"] == 14


def test_documents_lists_and_what_was_done_go_with_their_age(archive: Archive) -> None:
    archive.store(make("a", OLD), make("b", YOUNG))
    documents = [Quarantined(at, "ny-1", "stream", "not_well_formed", b"<x") for at in (OLD, YOUNG)]
    archive.writer.write(Batch(quarantined=documents))
    for number, at in enumerate((OLD, YOUNG)):
        run = f"00000000-0000-0000-0000-00000000000{number + 1}"
        archive.change(
            "INSERT INTO cdr.reconcile_run (id, recorder, trigger, started_at, first_list)"
            " VALUES (%s, 'ny-1', 'periodic', %s, %s)",
            run,
            at,
            compress(b"<list/>"),
        )
        archive.change(
            "INSERT INTO cdr.reconcile_action (run, position, act, rule, call_id, told)"
            " VALUES (%s, 0, 'store', 'a', 'a', 'x')",
            run,
        )
        archive.change(
            "INSERT INTO cdr.verify_run (id, from_time, to_time, source, started_at) VALUES (%s, %s, %s, 'http', %s)",
            run,
            at,
            at + DAY,
            at,
        )
        archive.change("INSERT INTO cdr.verify_finding (run, call_id, kind) VALUES (%s, 'a', 'extra')", run)
        archive.change(
            "INSERT INTO cdr.call_acceptance (call_id, who, reason, at) VALUES (%s, 'w', 'r', %s)", str(number), at
        )
    counts = apply(archive.conn, CUTOFF, CLERK).counts
    assert {name: counts[name] for name in ("documents", "lists", "actions", "findings", "acceptances")} == {
        "documents": 1,
        "lists": 1,
        "actions": 1,
        "findings": 1,
        "acceptances": 1,
    }
    assert archive.rows("SELECT observed_at FROM cdr.quarantine") == [(YOUNG,)]
    assert archive.rows("SELECT started_at, first_list IS NULL FROM cdr.reconcile_run ORDER BY 1") == [
        (OLD, True),
        (YOUNG, False),
    ]
    for table in ("reconcile_action", "verify_finding", "call_acceptance"):
        assert archive.rows(f"SELECT count(*) FROM cdr.{table}") == [(1,)]


def test_the_audit_says_who_and_how_many_and_names_nobody(archive: Archive) -> None:
    archive.store(make("a", OLD, source_name="John"))
    apply(archive.conn, CUTOFF, CLERK)
    (who, action, target, effect), moved = archive.rows("SELECT who, action, target, effect FROM cdr.audit ORDER BY id")
    assert (who, action, target) == ("clerk@desk", "retention apply", {"before": CUTOFF.isoformat()})
    assert (effect["calls"], effect["months"]) == (1, 1)
    assert moved == ("postgres", "limit moved", {"from": None, "to": CUTOFF.isoformat()}, {})


# Others at the same moment ----------------------------------------------------------------------------------------


def test_who_reads_calls_for_long_keeps_a_month_but_not_its_calls(
    archive: Archive, another: Callable[[], Connection]
) -> None:
    archive.store(make("a", OLD))
    reader = another()
    with reader.transaction():
        reader.execute("SELECT count(*) FROM cdr.call")
        report = apply(archive.conn, CUTOFF, CLERK)
    assert (report.counts["months"], report.counts["calls"]) == (0, 1)
    assert archive.calls == []
    assert apply(archive.conn, CUTOFF, CLERK).counts["months"] == 1


def test_two_runs_at_once_find_months_that_the_other_has_dropped(
    archive: Archive, another: Callable[[], Connection]
) -> None:
    """The second one took the missing partition for a schema that is too old."""
    archive.store(make("a", OLD), make("b", OLD + 31 * DAY), make("c", YOUNG))
    found = retention.months(archive.conn, CUTOFF)
    month = next(found)
    assert apply(another(), CUTOFF, CLERK).counts["months"] == 2
    assert retention.drop(archive.conn, month, CUTOFF) is None
    assert list(found) == []
    assert archive.calls == ["c"]


def test_a_writer_under_way_is_waited_for_and_one_that_comes_later_brings_nothing_back(
    archive: Archive, another: Callable[[], Connection]
) -> None:
    old = make("a", OLD)
    archive.store(old)
    writer, deleter = another(), another()
    staging.prepare(writer)
    deletion = Thread(target=lambda: apply(deleter, CUTOFF, CLERK))
    with writer.transaction(), writer.cursor() as cursor:
        admitted = gate.admit(cursor, [make("a", OLD, Kind.HTTP)])
        deletion.start()
        wait_until_blocked(archive.conn, deleter)
        staging.Merge(cursor, admitted.facts).run()
    deletion.join(30)
    assert archive.calls == []
    assert archive.rows("SELECT * FROM cdr.fact") == []
    assert archive.store(old).expired == 1


def test_a_hold_that_comes_while_a_run_deletes_wins(archive: Archive, another: Callable[[], Connection]) -> None:
    facts: list[Fact] = [make(f"{number:03}", OLD, id_time=UNTIMED, source_caller_id="1000") for number in range(20)]
    archive.store(*facts)
    retention.move(archive.conn, CUTOFF)
    retention.collect(archive.conn, CUTOFF)
    pages = retention.delete(archive.conn, CUTOFF, page=10)
    next(pages)
    holds.hold(another(), Wanted(party="1000"), CLERK)
    assert sum(pages) == 0
    assert len(archive.calls) == 10
