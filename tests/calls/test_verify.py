"""The comparison of a row with the history and with its own facts, as laws."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.calls.ids import UNTIMED
from etl.calls.verify import departures, differences, hang_on_precision, is_in, precision
from etl.fields import FIELDS, FieldType
from etl.model import Fact, Interval, Kind, State, Value

NOON = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
SPAN = Interval(NOON, NOON + timedelta(hours=1))
MILLISECOND, SECOND, MINUTE = timedelta(milliseconds=1), timedelta(seconds=1), timedelta(minutes=1)

moments = st.timedeltas(timedelta(days=-9999), timedelta(days=999)).map(lambda since: NOON + since)
VALUES: dict[FieldType, st.SearchStrategy[Any]] = {
    FieldType.TEXT: st.text(min_size=1, max_size=9),
    FieldType.INTEGER: st.integers(-(2**31), 2**31 - 1),
    FieldType.BOOLEAN: st.booleans(),
    FieldType.TIME: moments,
    FieldType.INTERVAL: st.timedeltas(timedelta(0), timedelta(days=9)),
}
every_value = st.fixed_dictionaries({}, optional={field.name: VALUES[field.type] for field in FIELDS})


def fact(values: dict[str, Value], kind: Kind = Kind.HTTP, **more: Any) -> Fact:
    known = {"attributes": {}, "quality": (), "recorder": None, "located": None, "id_time": UNTIMED} | more
    return Fact("a", kind=kind, observed_at=NOON, digest=b"", element=b"", values=values, **known)


def row(values: dict[str, Value], **more: Any) -> dict[str, Any]:
    nothing = {field.name: None for field in FIELDS}
    return {**nothing, **values, "state": State.COMPLETE.value, "attributes": {}} | more


@given(every_value)
def test_a_row_agrees_with_the_record_it_was_made_of(values: dict[str, Value]) -> None:
    assert not list(differences(fact(values), row(values), {}))


@given(every_value, every_value)
def test_exactly_what_the_history_says_otherwise_is_named(told: dict[str, Value], held: dict[str, Value]) -> None:
    told.pop("recorder_duration", None)
    named = {each.field for each in differences(fact(told), row(held), {})}
    assert named == {name for name, value in told.items() if held.get(name) != value}


@given(every_value)
def test_a_row_without_values_differs_in_all_that_the_history_has(told: dict[str, Value]) -> None:
    assert {each.field for each in differences(fact(told), row({}), {})} == set(told)


def test_only_a_finished_record_says_that_a_call_is_complete() -> None:
    open_row = row({}, state="ended")
    assert [each.field for each in differences(fact({}), open_row, {})] == ["state"]
    assert not list(differences(fact({}, Kind.UNFINISHED), open_row, {}))


@given(moments, st.sampled_from([MILLISECOND, SECOND, MINUTE]))
def test_a_time_written_less_finely_agrees_with_the_whole_of_it(moment: datetime, unit: timedelta) -> None:
    short = moment - (moment - NOON) % unit
    for told, held in ((moment, short), (short, moment)):
        record = fact({"end_time": told})
        assert not list(differences(record, row({"end_time": held}), {"end_time": unit}))
        assert hang_on_precision(record, row({"end_time": held})) == (["end_time"] if told != held else [])


@given(moments, st.sampled_from([MILLISECOND, SECOND, MINUTE]))
def test_a_whole_unit_more_or_less_is_a_difference(moment: datetime, unit: timedelta) -> None:
    for other in (moment + unit, moment - unit):
        assert list(differences(fact({"end_time": moment}), row({"end_time": other}), {"end_time": unit}))


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("2024-05-01 12:00", MINUTE),
        ("2024-05-01T12:00:30", SECOND),
        ("2024-05-01 12:00:30.5", timedelta(milliseconds=100)),
        ("2024-05-01 12:00:30.000", MILLISECOND),
        ("2024-05-01 12:00:30.123456789", timedelta(microseconds=1)),
    ],
)
def test_a_time_is_as_fine_as_its_last_digit(text: str, unit: timedelta) -> None:
    assert precision(text) == unit


@pytest.mark.parametrize(
    ("held", "end", "agrees"),
    [
        (None, 30.9, True),
        (None, 32, True),
        (None, 32.001, False),
        (None, None, False),
        (30, 30, True),
        (30.5, 30, True),
        (31, 30, False),
    ],
)
def test_a_duration_follows_from_start_and_end_where_the_archive_has_none(
    held: float | None, end: float | None, agrees: bool
) -> None:
    times: dict[str, Value] = {"start_time": NOON}
    if end is not None:
        times["end_time"] = NOON + timedelta(seconds=end)
    held_row = row(times, recorder_duration=None if held is None else timedelta(seconds=held))
    found = list(differences(fact({"recorder_duration": timedelta(seconds=30)}), held_row, {}))
    assert agrees == (not found)


def test_other_fields_are_compared_where_both_have_them() -> None:
    record = fact({}, attributes={"ours": 1, "theirs": 2, "both": [1]})
    found = list(differences(record, row({}, attributes={"ours": 1, "both": [2], "older": 3}), {}))
    assert [(each.field, each.archived, each.expected) for each in found] == [
        ("attributes", {"both": [2]}, {"both": [1]})
    ]


@pytest.mark.parametrize(
    ("values", "id_time", "inside"),
    [
        ({"start_time": NOON}, UNTIMED, True),
        ({"start_time": SPAN.end}, NOON, False),
        ({"end_time": SPAN.end}, NOON, True),
        ({"end_time": SPAN.end}, UNTIMED, False),
        ({}, UNTIMED, True),
    ],
)
def test_a_record_is_placed_by_the_best_that_it_has(values: dict[str, Value], id_time: datetime, inside: bool) -> None:
    assert is_in(fact(values, id_time=id_time), SPAN) is inside


# The row against its facts

PLAIN: dict[str, Any] = {"call_id": "a", "id_time": "1970-01-01T00:00:00+00:00", "recorded_at": NOON.isoformat()}
DERIVED: dict[str, Any] = {"state": "ended", "agent_id": None, "first_seen_at": NOON.isoformat()}


def named(changes: dict[str, Any], derived: dict[str, Any] | None = DERIVED, now: datetime = NOON) -> list[str]:
    return [each.field for each in departures({**PLAIN, **DERIVED, **changes}, derived, now)]


def test_a_row_follows_from_facts_that_derive_the_same() -> None:
    assert named({}) == []


@pytest.mark.parametrize(("column", "value"), [("state", "lost"), ("agent_id", "x"), ("first_seen_at", "infinity")])
def test_a_column_that_the_facts_have_otherwise_is_named(column: str, value: str) -> None:
    assert named({column: value}) == [column]


@pytest.mark.parametrize(
    ("recorded", "possible"),
    [
        (NOON.isoformat(), True),
        ((NOON - SECOND).isoformat(), True),  # clocks differ
        ((NOON - timedelta(minutes=2)).isoformat(), False),
        ((NOON + timedelta(hours=2)).isoformat(), False),
        ("-infinity", False),
        ("0044-03-15T00:00:00+00:00 BC", False),
    ],
)
def test_a_row_is_written_after_its_call_was_seen_and_before_now(recorded: str, possible: bool) -> None:
    assert named({"recorded_at": recorded}) == ([] if possible else ["recorded_at"])


def test_a_file_from_the_future_does_not_make_the_row_impossible() -> None:
    seen = {**DERIVED, "first_seen_at": (NOON + timedelta(days=9)).isoformat()}
    assert named(seen, seen) == []


def test_a_row_without_facts_has_a_key_that_is_no_ones() -> None:
    assert named({}, None) == ["call_id"]
    assert named({"id_time": NOON.isoformat()}, None) == ["call_id", "id_time"]


def test_what_differs_comes_with_both_values() -> None:
    changed = {**PLAIN, **DERIVED, "agent_id": "x"}
    (found,) = departures(changed, DERIVED, NOON)
    assert replace(found, field="") == replace(found, field="", archived="x", expected=None)
