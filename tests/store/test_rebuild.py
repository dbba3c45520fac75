"""`rebuild` makes of old evidence what today's settings make of it, and touches nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.merge_oracle import Row, merge

from etl.errors import CdrError
from etl.model import Fact, Kind
from etl.store.database import Connection
from etl.store.rebuild import Rebuilt, Reread, Scope, rebuild
from etl.store.write import Batch, Writer

pytestmark = pytest.mark.slow

START = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
MakeFact = Callable[..., Fact]
Rows = Callable[[Connection], dict[str, Row]]
Query = Callable[..., list[tuple[Any, ...]]]
VERSIONS = "SELECT ctid::text, xmin::text, recorded_at FROM cdr.call ORDER BY call_id"


def rereading(facts: list[Fact]) -> Reread:
    """Reads an element as one of these facts."""
    by_element = {fact.element: fact for fact in facts}

    def reread(kind: Kind, recorder: str | None, call_id: str, observed_at: datetime, element: bytes) -> Fact:
        if element not in by_element:
            raise CdrError("not understood")
        return by_element[element]

    return reread


def last(steps: Iterator[Rebuilt]) -> Rebuilt:
    return list(steps)[-1]


@pytest.fixture
def archived(writer: Writer, make_fact: MakeFact) -> list[Fact]:
    """Ten calls, each with a start and a detail."""
    facts = [
        make_fact(kind, second, call_id=f"{number}", element=f"{number}{kind}".encode(), values={"start_time": START})
        for number in range(10)
        for kind, second in ((Kind.START, 0), (Kind.DETAIL, 60))
    ]
    writer.write(Batch(facts=facts))
    return facts


def test_the_same_settings_change_nothing(conn: Connection, tables: Query, archived: list[Fact]) -> None:
    before = tables(VERSIONS)
    assert last(rebuild(conn, rereading(archived), page=3)) == Rebuilt(calls=10, facts=20)
    assert tables(VERSIONS) == before


def moved(facts: list[Fact]) -> list[Fact]:
    """The facts under another zone; their digest is that of what was received."""
    return [replace(fact, values={"start_time": START + timedelta(hours=1)}, located="x") for fact in facts]


def test_another_zone_reaches_every_row(conn: Connection, read_rows: Rows, archived: list[Fact]) -> None:
    again = moved(archived)
    done = list(rebuild(conn, rereading(again), page=4))
    assert [each.calls for each in done] == [4, 8, 10]
    assert done[-1] == Rebuilt(calls=10, facts=20, facts_changed=20, calls_changed=10)
    assert read_rows(conn) == {
        call: merge([fact for fact in again if fact.call_id == call]) for call in {fact.call_id for fact in again}
    }


def test_a_dry_run_counts_and_changes_nothing(conn: Connection, tables: Query, archived: list[Fact]) -> None:
    before = tables(VERSIONS)
    done = last(rebuild(conn, rereading(moved(archived)), dry_run=True, page=4))
    assert (done.facts_changed, done.calls_changed) == (20, 10)
    assert tables(VERSIONS) == before


def test_a_record_that_counts_as_unfinished_today_moves_to_its_kind(
    conn: Connection, read_rows: Rows, archived: list[Fact], make_fact: MakeFact
) -> None:
    again = [replace(fact, kind=Kind.UNFINISHED) if fact.kind is Kind.DETAIL else fact for fact in archived]
    assert last(rebuild(conn, rereading(again))).facts_changed == 10
    assert read_rows(conn)["3"] == merge([fact for fact in again if fact.call_id == "3"])


@pytest.mark.parametrize("today", [Kind.DETAIL, Kind.UNFINISHED])
@pytest.mark.parametrize("seconds", [(60, 120), (120, 60)])
def test_records_that_become_of_one_kind_keep_the_values_of_the_one_observed_last(
    conn: Connection, writer: Writer, read_rows: Rows, make_fact: MakeFact, today: Kind, seconds: tuple[int, int]
) -> None:
    """What was read of the one was written to the other, which had its kind already."""
    facts = [
        make_fact(kind, second, call_id="a", element=kind.encode(), values={"source_name": f"{kind}"})
        for kind, second in zip((Kind.DETAIL, Kind.UNFINISHED), seconds, strict=True)
    ]
    writer.write(Batch(facts=facts))
    again = [replace(fact, kind=today, values={**fact.values, "agent_id": "1"}) for fact in facts]
    done = last(rebuild(conn, rereading(again)))
    assert read_rows(conn)["a"] == merge(again)
    assert (done.facts_changed, done.calls_changed) == (1, 1)
    assert last(rebuild(conn, rereading(again))).facts_changed == 0


def test_records_that_change_places_keep_what_each_of_them_says(
    conn: Connection, writer: Writer, read_rows: Rows, make_fact: MakeFact
) -> None:
    other = {Kind.DETAIL: Kind.UNFINISHED, Kind.UNFINISHED: Kind.DETAIL}
    facts = [
        make_fact(kind, second, call_id="a", element=kind.encode(), values={"source_name": f"{kind}"})
        for kind, second in ((Kind.DETAIL, 60), (Kind.UNFINISHED, 120))
    ]
    writer.write(Batch(facts=facts))
    again = [replace(fact, kind=other[fact.kind]) for fact in facts]
    assert last(rebuild(conn, rereading(again))).facts_changed == 2
    assert read_rows(conn)["a"] == merge(again)


def test_what_cannot_be_read_any_more_stays_as_it_was(conn: Connection, tables: Query, archived: list[Fact]) -> None:
    before = tables(VERSIONS)
    assert last(rebuild(conn, rereading([]))) == Rebuilt(calls=10, facts=20, unreadable=20)
    assert tables(VERSIONS) == before


def test_a_row_follows_from_its_facts_also_where_they_cannot_be_read_any_more(
    conn: Connection, tables: Query, archived: list[Fact]
) -> None:
    right = tables("SELECT call_id, recorder FROM cdr.call ORDER BY call_id")
    with conn.transaction():
        conn.execute("UPDATE cdr.call SET recorder = 'changed' WHERE call_id = '3'")
    assert last(rebuild(conn, rereading([]))) == Rebuilt(calls=10, facts=20, calls_changed=1, unreadable=20)
    assert tables("SELECT call_id, recorder FROM cdr.call ORDER BY call_id") == right


def test_the_scope_is_kept(conn: Connection, writer: Writer, archived: list[Fact], make_fact: MakeFact) -> None:
    late = make_fact(
        Kind.HTTP, call_id="late", recorder=None, located="ny-9", values={"start_time": START + timedelta(days=1)}
    )
    writer.write(Batch(facts=[late]))
    everything = rereading([*archived, late])
    assert last(rebuild(conn, everything, Scope(recorder="ny-1"))).calls == 10
    assert last(rebuild(conn, everything, Scope(recorder="ny-9"))).calls == 1
    assert last(rebuild(conn, everything, Scope(start=START + timedelta(hours=1)))).calls == 1
    assert last(rebuild(conn, everything, Scope(end=START + timedelta(hours=1)))).calls == 10
