"""What is said about a call agrees with its row and with the law of the merge."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.merge_oracle import keep, merge, ranked
from support.postgres import Server, connection, fresh_database

from etl.calls.ids import id_time
from etl.calls.reconcile import Act, Action, Rule
from etl.model import Fact, Kind, Quarantined, State
from etl.store import acceptance, reconcile
from etl.store.audit import Author
from etl.store.database import Connection
from etl.store.explain import explain
from etl.store.write import Batch, Writer

pytestmark = pytest.mark.slow

UUID_1 = "54bc7c43-561f-11e0-b752-005056c00008"
MakeFact = Callable[..., Fact]


@pytest.fixture(scope="module")
def shared(embedded_server: Server) -> Iterator[tuple[Connection, Writer]]:
    with fresh_database(embedded_server) as url, connection(url) as opened:
        yield opened, Writer(opened)


TEXTS = st.dictionaries(st.sampled_from(["source_name", "location", "agent_id"]), st.sampled_from(["x", "y"]))
SEEN = st.tuples(st.sampled_from(Kind), st.integers(0, 3), TEXTS, st.dictionaries(st.sampled_from("pq"), st.just(1)))


@given(seen=st.lists(SEEN, min_size=1, max_size=6))
@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_each_value_comes_from_the_fact_that_the_law_names(
    shared: tuple[Connection, Writer], make_fact: MakeFact, seen: list[Any]
) -> None:
    """The row's own value, from the first fact in the oracle's order that has one; and no other value is shown."""
    opened, writer = shared
    call_id = str(uuid4())
    facts = [
        make_fact(
            kind, second, call_id=call_id, id_time=datetime(1970, 1, 1, tzinfo=UTC), values=values, attributes=more
        )
        for kind, second, values, more in seen
    ]
    writer.write(Batch(facts=facts))
    found = explain(opened, call_id)
    assert found is not None
    row, order = merge(facts), ranked(entry.fact for entry in keep(facts).values())
    assert [each.kind for each in found.evidence] == [fact.kind for fact in order]
    expected = {name: value for name, value in row.values.items() if value is not None} | dict(row.attributes)
    assert {each.name: each.value for each in found.shown} == expected
    speaks = {name: next(f.kind for f in order if name in {**f.values, **f.attributes}) for name in expected}
    assert {each.name: each.kind for each in found.shown} == speaks
    assert (found.state, found.source, found.quality) == (row.state, row.source, row.quality)


def test_an_unknown_call_is_none(conn: Connection) -> None:
    assert explain(conn, UUID_1) is None


def test_an_end_that_contradicts_the_start_is_not_shown_and_the_flag_says_why(
    conn: Connection, writer: Writer, make_fact: MakeFact, start: datetime
) -> None:
    untimed = {"id_time": datetime(1970, 1, 1, tzinfo=UTC)}
    writer.write(
        Batch(
            facts=[
                make_fact(Kind.START, 0, values={"start_time": start}, **untimed),
                make_fact(Kind.END, 1, values={"end_time": start - timedelta(seconds=1)}, **untimed),
            ]
        )
    )
    found = explain(conn, "a")
    assert found is not None
    assert ([each.name for each in found.shown], found.quality) == (["start_time"], ("end_before_start",))


def test_everything_that_touched_a_call_is_told_in_its_order(
    conn: Connection, writer: Writer, make_fact: MakeFact
) -> None:
    """Any case of its id; elements come as they were received; other calls' actions and rows stay out."""
    moment = datetime(2024, 5, 1, tzinfo=UTC)
    found_bad = Quarantined(moment, "ny-1", "stream", "bad", b"<x/>", note={"call_id": UUID_1.upper()})
    other = replace(found_bad, body=b"<y/>", note={"call_id": "another"})
    fact = make_fact(Kind.END, call_id=UUID_1, id_time=id_time(UUID_1), element=b"<Call>\xc3\xa9</Call>")
    writer.write(Batch(facts=[fact], quarantined=[found_bad, other]))
    run = reconcile.Run(UUID(int=1), "ny-1", "command")
    reconcile.begin(conn, run)
    asked = Action(Act.ASK, Rule.NO_RECORD, UUID_1, "ended")
    reconcile.add_actions(conn, run, [asked, replace(asked, call_id="another")], {UUID_1: "unknown"})
    reconcile.finish(conn, run, reconcile.Result(moment, 0))
    acceptance.accept_call(conn, UUID_1, Author("me@here", "gone"))
    found = explain(conn, UUID_1.upper())
    assert found is not None
    assert (found.call_id, found.state) == (UUID_1, State.ENDED)
    assert [each.element for each in found.evidence] == [b"<Call>\xc3\xa9</Call>"]
    assert [(each.act, each.outcome, each.result) for each in found.actions] == [("ask", "unknown", "done")]
    assert [each.reason for each in found.quarantined] == ["bad"]
    assert found.acceptance is not None
    assert (found.acceptance.who, found.acceptance.reason) == ("me@here", "gone")
