"""Two writers on the same calls at the same moment lose nothing and never deadlock, however their statements mix."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import combinations, islice
from queue import Empty, SimpleQueue
from threading import Semaphore, Thread

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.merge_oracle import Row, merge
from support.postgres import Server, connection, fresh_database

from etl.model import Fact, Kind, State
from etl.store import staging
from etl.store.database import Connection
from etl.store.write import Batch, Writer

pytestmark = pytest.mark.slow

MakeFact = Callable[..., Fact]
Rows = Callable[[Connection], dict[str, Row]]

PAUSES = ("known forgotten", "calls inserted", "calls locked", "facts inserted", "calls updated")
"""Where a merge stands still: between any two statements of which others can see anything."""
STEPS = len(PAUSES) + 1
"""The commit is a step as well."""


class Stepper:
    """A merge in a thread of its own that makes one step at a time, when it is told to."""

    def __init__(self, opened: Connection, observer: Connection, facts: list[Fact]) -> None:
        self._opened = opened
        self._observer = observer
        self._go = Semaphore(0)
        self._reports: SimpleQueue[str] = SimpleQueue()
        self._waits = False
        self.ended = False
        self.failure: BaseException | None = None
        self._thread = Thread(target=self._run, args=(facts,), daemon=True)
        self._thread.start()

    def _run(self, facts: list[Fact]) -> None:
        self._go.acquire()
        try:
            with self._opened.transaction(), self._opened.cursor() as cursor:
                for name in staging.Merge(cursor, facts).steps():
                    if name in PAUSES:
                        self._reports.put(name)
                        self._go.acquire()
        except BaseException as error:  # noqa: BLE001 (handed to the test)
            self.failure = error
        self._reports.put("end")

    def step(self) -> None:
        """One more step: returns when it is made, or when it waits for a lock that the other merge holds."""
        if self.ended:
            return
        if not self._waits:
            self._go.release()
        self._waits = not self._reported()

    def _reported(self) -> bool:
        while True:
            try:
                self.ended = self._reports.get(timeout=0.002) == "end"
            except Empty:
                if self._blocked():
                    return False
            else:
                return True

    def _blocked(self) -> bool:
        pid = self._opened.info.backend_pid
        row = self._observer.execute("SELECT cardinality(pg_blocking_pids(%s))", [pid]).fetchone()
        return row is not None and row[0] > 0


class Pair:
    """Two connections for two merges, and a third that looks on."""

    def __init__(self, first: Connection, second: Connection, observer: Connection) -> None:
        self.connections = (first, second)
        self.observer = observer
        for each in self.connections:
            staging.prepare(each)

    def reset(self, known: list[Fact]) -> None:
        first = self.connections[0]
        with first.transaction(), first.cursor() as cursor:
            cursor.execute("DELETE FROM cdr.call; DELETE FROM cdr.fact")
            staging.Merge(cursor, known).run()

    def race(self, facts: tuple[list[Fact], list[Fact]], schedule: Iterable[int]) -> None:
        """Both merges, the steps in the order of the schedule (0 and 1), then whatever is left."""
        steppers = [Stepper(opened, self.observer, each) for opened, each in zip(self.connections, facts, strict=True)]
        for turn in schedule:
            steppers[turn].step()
        while not all(each.ended for each in steppers):
            for each in steppers:
                each.step()
        assert [each.failure for each in steppers] == [None, None]


@pytest.fixture(scope="module")
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    server: Server = request.getfixturevalue(request.param)
    with (
        fresh_database(server) as url,
        connection(url) as first,
        connection(url) as second,
        connection(url) as observer,
    ):
        observer.autocommit = True
        yield Pair(first, second, observer)


servers = pytest.mark.parametrize(
    "pair", ["embedded_server", "debian_server"], indirect=True, ids=["embedded", "postgresql-15"]
)


def expected(facts: list[Fact]) -> dict[str, Row]:
    return {call: merge([fact for fact in facts if fact.call_id == call]) for call in {fact.call_id for fact in facts}}


@servers
@pytest.mark.parametrize("known", ["", "ab"], ids=["new calls", "known calls"])
def test_every_interleaving_of_two_merges_gives_the_oracles_rows(
    pair: Pair, read_rows: Rows, make_fact: MakeFact, known: str
) -> None:
    before = [make_fact(Kind.START, call_id=call_id, values={"cause_id": 1}) for call_id in known]
    one = [
        make_fact(Kind.LIST, 5, call_id="a", values={"source_name": "x"}),
        make_fact(Kind.DETAIL, 2, call_id="b", values={"cause_id": 2}),
    ]
    two = [
        make_fact(Kind.END, 3, call_id="b", values={"source_name": "y"}),
        make_fact(Kind.END, 1, call_id="a", values={"cause_id": 4}),
    ]
    rows = expected(before + one + two)
    stride = 1 if pair.observer.info.server_version >= 160_000 else 8  # all on one server, a sample on the other
    for turns in islice(combinations(range(2 * STEPS), STEPS), 0, None, stride):
        pair.reset(before)
        pair.race((one, two), [0 if turn in turns else 1 for turn in range(2 * STEPS)])
        assert read_rows(pair.connections[0]) == rows, turns


def test_two_writers_with_the_same_calls_in_opposite_order_never_deadlock(
    database: str, conn: Connection, read_rows: Rows, make_fact: MakeFact
) -> None:
    rounds = [[make_fact(call_id=f"{number}-{call:04}") for call in range(400)] for number in range(8)]

    def write(kind: Kind, backward: bool) -> None:
        with connection(database) as opened:
            writer = Writer(opened)
            for facts in rounds:
                of_kind = [replace(fact, kind=kind) for fact in facts]
                writer.write(Batch(facts=of_kind[::-1] if backward else of_kind))

    with ThreadPoolExecutor() as threads:
        for done in [threads.submit(write, Kind.START, False), threads.submit(write, Kind.END, True)]:
            done.result()
    assert {row.state for row in read_rows(conn).values()} == {State.ENDED}
    query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    assert conn.execute(query).fetchone() == (0,)


@st.composite
def deliveries(draw: st.DrawFn) -> list[tuple[str, Kind, int, int]]:
    fact = st.tuples(st.sampled_from("abc"), st.sampled_from(Kind), st.integers(0, 3), st.integers(0, 2))
    return draw(st.lists(fact, max_size=6))


@servers
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(deliveries(), deliveries(), deliveries(), st.lists(st.integers(0, 1), min_size=2 * STEPS, max_size=2 * STEPS))
def test_any_two_merges_interleaved_anyhow_give_the_oracles_rows(
    pair: Pair,
    read_rows: Rows,
    make_fact: MakeFact,
    before: list[tuple[str, Kind, int, int]],
    one: list[tuple[str, Kind, int, int]],
    two: list[tuple[str, Kind, int, int]],
    schedule: list[int],
) -> None:
    made = [
        [make_fact(kind, second, call_id=call, values={"cause_id": cause}) for call, kind, second, cause in each]
        for each in (before, one, two)
    ]
    pair.reset(made[0])
    pair.race((made[1], made[2]), schedule)
    assert read_rows(pair.connections[0]) == expected([fact for each in made for fact in each])
