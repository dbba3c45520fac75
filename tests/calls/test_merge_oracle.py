"""The oracle of the merge says what the contract says; the SQL is tested against it elsewhere."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.merge_oracle import Row, keep, merge

from etl.calls.ids import UNTIMED
from etl.model import Fact, Json, Kind, State, Value

ZERO = datetime(2024, 1, 1, tzinfo=UTC)


def at(second: int) -> datetime:
    return ZERO + timedelta(seconds=second)


def fact(
    kind: Kind,
    second: int = 0,
    recorder: str | None = "ny-1",
    located: str | None = None,
    digest: bytes = b"d",
    attributes: dict[str, Json] | None = None,
    quality: tuple[str, ...] = (),
    **values: Value,
) -> Fact:
    return Fact(
        "call",
        UNTIMED,
        kind,
        at(second),
        recorder,
        located,
        digest,
        b"",
        values,
        attributes or {},
        tuple(sorted(quality)),
    )


FLAGS = ["bad_cause_id", "end_before_start", "end_ambiguous", "zone_suspect"]
TIMES = ["start_time", "end_time"]
times = st.integers(0, 3).map(at)


@st.composite
def facts(draw: st.DrawFn) -> Fact:
    kind = draw(st.sampled_from(list(Kind)))
    values = {} if kind is Kind.ABSENT else draw(st.dictionaries(st.sampled_from(TIMES), times))
    made = fact(kind, draw(st.integers(0, 3)), quality=tuple(draw(st.sets(st.sampled_from(FLAGS)))))
    # A digest identifies the content: facts that differ have different ones.
    digest = repr((sorted(values.items()), made.quality)).encode()
    return replace(made, values=values, digest=digest)


@pytest.mark.slow
@given(st.lists(facts(), min_size=1, max_size=8).flatmap(lambda each: st.tuples(st.just(each), st.permutations(each))))
def test_neither_order_nor_repetition_matter(pair: tuple[list[Fact], list[Fact]]) -> None:
    given_, shuffled = pair
    assert merge(shuffled) == merge(given_) == merge(given_ + shuffled)


@pytest.mark.slow
@given(st.lists(facts(), min_size=1, max_size=8))
def test_only_the_last_of_each_kind_counts(given_: list[Fact]) -> None:
    kept = [each.fact for each in keep(given_).values()]
    row = merge(kept)
    assert merge_parts(merge(given_)) == merge_parts(row)


def merge_parts(row: Row) -> dict[str, object]:
    """All of a row but when its call was first seen, which older facts tell as well."""
    return {name: getattr(row, name) for name in Row.__slots__ if name != "first_seen_at"}


@pytest.mark.parametrize(
    ("kinds", "source"),
    [
        ([Kind.LIST, Kind.START, Kind.END, Kind.UNFINISHED, Kind.DETAIL, Kind.ABSENT], Kind.DETAIL),
        ([Kind.LIST, Kind.START, Kind.END, Kind.UNFINISHED, Kind.ABSENT], Kind.UNFINISHED),
        ([Kind.LIST, Kind.START, Kind.END, Kind.ABSENT], Kind.END),
        ([Kind.LIST, Kind.START, Kind.ABSENT], Kind.START),
        ([Kind.LIST, Kind.ABSENT], Kind.LIST),
        ([Kind.ABSENT], Kind.ABSENT),
    ],
)
def test_a_field_shows_the_first_fact_that_has_one(kinds: list[Kind], source: Kind) -> None:
    row = merge(fact(kind, 9 - rank, source_name=kind.value) for rank, kind in enumerate(kinds))
    assert row.source is source
    assert row.values["source_name"] == source.value
    assert row.values["agent_id"] is None


def test_a_field_that_the_first_lacks_comes_from_the_next() -> None:
    row = merge([fact(Kind.DETAIL, source_name="a"), fact(Kind.START, agent_id="7"), fact(Kind.LIST, agent_id="8")])
    assert (row.values["source_name"], row.values["agent_id"]) == ("a", "7")


@pytest.mark.parametrize("kinds", [(Kind.DETAIL, Kind.FILE), (Kind.FILE, Kind.HTTP), (Kind.HTTP, Kind.DETAIL)])
def test_of_finished_records_the_one_observed_last_speaks(kinds: tuple[Kind, Kind]) -> None:
    older, newer = kinds
    assert merge([fact(older, 1), fact(newer, 2)]).source is newer
    assert merge([fact(older, 1, digest=b"a"), fact(newer, 1, digest=b"b")]).source is newer
    assert merge([fact(older, 1), fact(newer, 1)]).source is min(kinds)


@pytest.mark.parametrize(
    ("given_", "state"),
    [
        ([fact(Kind.START)], State.ONGOING),
        ([fact(Kind.LIST), fact(Kind.UNFINISHED)], State.ONGOING),
        ([fact(Kind.END)], State.ENDED),
        ([fact(Kind.UNFINISHED, end_time=at(5))], State.ENDED),
        ([fact(Kind.START, 1), fact(Kind.ABSENT, 2)], State.LOST),
        ([fact(Kind.END, 1), fact(Kind.ABSENT, 2)], State.LOST),
        ([fact(Kind.END, 2), fact(Kind.ABSENT, 2)], State.ENDED),
        ([fact(Kind.START, 3), fact(Kind.ABSENT, 2)], State.ONGOING),
        ([fact(Kind.ABSENT, 2)], State.LOST),
        ([fact(Kind.DETAIL, 1), fact(Kind.ABSENT, 2)], State.COMPLETE),
        ([fact(Kind.HTTP)], State.COMPLETE),
        ([fact(Kind.FILE)], State.COMPLETE),
    ],
)
def test_the_state_follows_from_the_facts(given_: list[Fact], state: State) -> None:
    assert merge(given_).state is state


def test_an_end_that_contradicts_the_start_of_another_fact_is_not_shown() -> None:
    row = merge([fact(Kind.END, end_time=at(1), quality=("end_ambiguous",)), fact(Kind.START, start_time=at(2))])
    assert (row.values["start_time"], row.values["end_time"]) == (at(2), None)
    assert row.quality == ("end_before_start",)
    assert row.state is State.ENDED


def test_flags_of_a_time_come_from_the_fact_that_shows_it() -> None:
    shown = fact(Kind.DETAIL, start_time=at(1), end_time=at(2), quality=("nonexistent_time",))
    hidden = fact(Kind.START, start_time=at(1), quality=("zone_suspect", "bad_cause_id"))
    assert merge([shown, hidden]).quality == ("bad_cause_id", "nonexistent_time")
    assert merge([hidden]).quality == ("bad_cause_id", "zone_suspect")


def test_the_recorder_is_the_streams_else_where_the_record_says() -> None:
    history = fact(Kind.HTTP, recorder=None, located="bp-1")
    assert (merge([history]).recorder, merge([history]).quality) == ("bp-1", ())
    both = merge([history, fact(Kind.START, recorder="ny-1")])
    assert (both.recorder, both.quality) == ("ny-1", ("recorder_differs",))
    assert merge([fact(Kind.DETAIL, located="ny-1")]).quality == ()
    assert merge([fact(Kind.HTTP, recorder=None)]).recorder is None


def test_attributes_are_merged_by_key() -> None:
    row = merge([fact(Kind.START, attributes={"a": 1, "b": 2}), fact(Kind.DETAIL, attributes={"b": {"c": 3}})])
    assert row.attributes == {"a": 1, "b": {"c": 3}}


def test_a_call_was_first_seen_when_any_fact_was_also_one_that_counts_no_more() -> None:
    row = merge([fact(Kind.LIST, 3), fact(Kind.LIST, 1, agent_id="7"), fact(Kind.END, 2)])
    assert row.first_seen_at == at(1)
    assert row.values["agent_id"] is None
