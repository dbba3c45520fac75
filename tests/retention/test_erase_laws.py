"""An erased call's row depends on the set of its facts alone: not on order, repetition, batching, nor on whether a fact
came before, during or after the erasure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain, pairwise
from threading import Thread
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.merge_oracle import Row, merge
from support.postgres import Server, connection, fresh_database
from support.retention import YOUNG, make, wait_until_blocked

from etl.calls.erasure import cleared
from etl.fields import FIELDS, HIDDEN
from etl.model import Fact, Kind, State
from etl.store import erasure, gate, staging
from etl.store.database import Connection
from etl.store.write import Batch, Writer

pytestmark = pytest.mark.slow

NAMES = [field.name for field in FIELDS]


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "agent_id": st.sampled_from(["x", "y"]),
    "cause_id": st.integers(0, 1),
    "native_id": st.sampled_from(["", "n"]),
    "end_time": st.integers(0, 2).map(lambda second: YOUNG + timedelta(seconds=second)),
    "recorder_duration": st.sampled_from([timedelta(hours=30), timedelta(microseconds=1)]),
}


@st.composite
def facts(draw: st.DrawFn, call_id: str = "a") -> Fact:
    """A fact of any kind; few distinct times and values, so that they meet and tie often. Always of the party."""
    values: dict[str, Any] = {"source_name": "John"}
    for name in draw(st.sets(st.sampled_from(sorted(VALUES)))):
        values[name] = draw(VALUES[name])
    return make(
        call_id,
        draw(st.sampled_from([None, YOUNG])),
        draw(st.sampled_from(Kind)),
        seen=YOUNG + timedelta(seconds=draw(st.integers(0, 6))),
        recorder=draw(st.sampled_from([None, "ny-1"])),
        attributes=draw(st.sampled_from([{}, {"p": 1}])),
        **values,
    )


def distinct(known: list[Fact]) -> list[Fact]:
    """But for two of one kind and moment: which of these counts nobody can tell any more once one is erased."""
    return list({(fact.call_id, fact.kind, fact.observed_at): fact for fact in known}.values())


@given(facts())
def test_clearing_leaves_nothing_personal_and_a_second_time_changes_nothing(fact: Fact) -> None:
    once = cleared(fact)
    assert not HIDDEN.intersection(once.values)
    assert (once.attributes, once.element) == ({}, b"")
    assert cleared(once) == once
    assert {name: value for name, value in fact.values.items() if name not in HIDDEN} == once.values


@given(facts(), st.sampled_from(sorted(HIDDEN)), st.text())
def test_the_digest_of_a_cleared_fact_tells_nothing_of_what_was_erased(fact: Fact, name: str, text: str) -> None:
    other = make("a", kind=fact.kind, element=text.encode(errors="replace"))
    changed = type(fact)(
        **{each: getattr(fact, each) for each in fact.__slots__}
        | {"values": {**fact.values, name: text}, "digest": other.digest, "element": other.element}
    )
    assert cleared(changed).digest == cleared(fact).digest


@dataclass
class House:
    """An archive with a writer and somebody who erases, each over a connection of their own."""

    conn: Connection
    second: Connection
    writer: Writer

    def empty(self) -> None:
        with self.conn.transaction():
            self.conn.execute("DELETE FROM cdr.call; DELETE FROM cdr.fact; DELETE FROM cdr.erased_call")

    def erase(self) -> None:
        erasure.find(self.second, "John")
        for _ in erasure.erase(self.second):
            pass

    def rows(self) -> dict[str, Row]:
        columns = ", ".join(["call_id", "id_time", "recorder", "state", "source", *NAMES])
        with self.conn.transaction():
            rows = self.conn.execute(f"SELECT {columns}, attributes, quality, first_seen_at FROM cdr.call").fetchall()
        return {
            row[0]: Row(
                call_id=row[0],
                id_time=row[1],
                recorder=row[2],
                state=State(row[3]),
                source=Kind(row[4]),
                values=dict(zip(NAMES, row[5:-3], strict=True)),
                attributes=row[-3],
                quality=tuple(row[-2]),
                first_seen_at=row[-1],
            )
            for row in rows
        }


@pytest.fixture(scope="module")
def house(request: pytest.FixtureRequest) -> Iterator[House]:
    server: Server = request.getfixturevalue(request.param)
    with fresh_database(server) as url, ExitStack() as stack:
        first, second, third = (stack.enter_context(connection(url)) for _ in range(3))
        staging.prepare(second)
        yield House(first, second, Writer(third))


servers = pytest.mark.parametrize(
    "house", ["embedded_server", "debian_server"], indirect=True, ids=["embedded", "postgresql-15"]
)


@servers
@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_an_erasure_at_any_moment_gives_the_row_of_the_cleared_facts(house: House, data: st.DataObject) -> None:
    known = distinct(data.draw(st.lists(st.one_of(facts("a"), facts("b")), min_size=1, max_size=8)))
    again = data.draw(st.lists(st.sampled_from(known), max_size=4))
    delivered = data.draw(st.permutations(known + again))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(delivered)), max_size=4)))
    batches = [delivered[low:high] for low, high in pairwise([0, *cuts, len(delivered)])]
    moment = data.draw(st.integers(0, len(batches)))
    house.empty()
    for batch in batches[:moment]:
        house.writer.write(Batch(facts=batch))
    house.erase()
    erased = {fact.call_id for batch in batches[:moment] for fact in batch}
    for batch in batches[moment:]:
        house.writer.write(Batch(facts=batch))
    counting = [cleared(fact) if fact.call_id in erased else fact for fact in known]
    calls = {fact.call_id for fact in counting}
    assert house.rows() == {call: merge([fact for fact in counting if fact.call_id == call]) for call in calls}


STEPS = ("admitted", "staged", "known forgotten", "calls locked", "facts inserted", "calls updated")


@servers
@pytest.mark.parametrize("known", [True, False], ids=["of a known call", "of a new one"])
@pytest.mark.parametrize("pause", STEPS)
def test_an_erasure_beside_a_writer_comes_before_it_or_after_it(house: House, known: bool, pause: str) -> None:
    before = [make(kind=Kind.START, source_name="John")] if known else []
    late = [make(kind=Kind.DETAIL, source_name="John", cause_id=5), make(kind=Kind.END, agent_id="John")]
    other = make("b", source_name="John")
    house.empty()
    house.writer.write(Batch(facts=[*before, other]))
    eraser = Thread(target=house.erase)
    with connection(house.conn.info.dsn) as opened:
        staging.prepare(opened)
        with opened.transaction(), opened.cursor() as cursor:
            admitted = gate.admit(cursor, late)
            for step in chain(["admitted"], staging.Merge(cursor, admitted.facts).steps()):
                if step == pause:
                    eraser.start()
                    wait_until_blocked(house.conn, house.second)
    eraser.join(30)
    counting = [cleared(fact) if known else fact for fact in (*before, *late)]
    assert house.rows() == {"a": merge(counting), "b": merge([cleared(other)])}


@servers
def test_a_writer_that_comes_while_calls_are_erased_waits_and_is_cleared(house: House) -> None:
    house.empty()
    house.writer.write(Batch(facts=[make(kind=Kind.START, source_name="John")]))
    late = make(kind=Kind.DETAIL, source_name="John", cause_id=5)
    erasure.find(house.second, "John")
    with connection(house.conn.info.dsn) as opened:
        writer = Writer(opened)
        writing = Thread(target=lambda: writer.write(Batch(facts=[late])))

        def erase_slowly(cursor: object) -> None:
            writing.start()
            wait_until_blocked(house.conn, opened)

        gate.closed(house.second, erase_slowly)
        for _ in erasure.erase(house.second):
            pass
        writing.join(30)
    assert house.rows() == {"a": merge([cleared(make(kind=Kind.START, source_name="John")), cleared(late)])}
