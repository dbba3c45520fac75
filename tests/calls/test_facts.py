"""From a record to a fact: values that fit, flags for those that don't, and nothing lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.calls.facts import FLAGS, Reading, absent_fact, content_digest, is_finished, parse_duration, read_fact
from etl.calls.ids import UNTIMED
from etl.fields import BY_NAME, BY_WIRE_NAME, FIELDS, FieldType
from etl.model import FINISHED, Fact, Kind, Record

SEEN = datetime(2024, 11, 3, 12, tzinfo=UTC)
NEW_YORK, BUDAPEST, LORD_HOWE = (
    ZoneInfo(name) for name in ("America/New_York", "Europe/Budapest", "Australia/Lord_Howe")
)
IN_NEW_YORK = Reading(NEW_YORK, "ny-1", {"ny-recorder": "ny-1"})
IN_UTC = replace(IN_NEW_YORK, zone=ZoneInfo("UTC"))

MakeRecord = Callable[..., Record]
MakeId = Callable[[datetime], str]


def read(record: Record, reading: Reading = IN_NEW_YORK, kind: Kind = Kind.DETAIL) -> Fact:
    return read_fact(record, kind, SEEN, reading)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# Values


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("source_name", "Customer & Sons", "Customer & Sons"),
        ("modality_id", "hologram", "hologram"),
        ("cause_id", "16", 16),
        ("cause_id", "-1", -1),
        ("cause_id", "+2147483647", 2**31 - 1),
        ("direction_id", "-2147483648", -(2**31)),
        ("secondary", "TRUE", True),
        ("secondary", "false", False),
        ("conference", "1", True),
        ("ondemand", "0", False),
        ("recorder_duration", "00:00:05", timedelta(seconds=5)),
        ("recorder_duration", "30:00:00.25", timedelta(hours=30, milliseconds=250)),
    ],
)
def test_a_value_that_fits_is_typed(record: MakeRecord, name: str, text: str, value: object) -> None:
    fact = read(record(**{BY_NAME[name].wire_name: text}))
    assert fact.values == {name: value}
    assert type(fact.values[name]) is type(value)
    assert fact.quality == ()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cause_id", "2147483648"),
        ("cause_id", "1_000"),
        ("cause_id", "1.0"),
        ("cause_id", "٣"),
        ("manual", "yes"),
        ("cause_id", "9" * 5000),
        ("secondary", "yes"),
        ("secondary", "2"),
        ("recorder_duration", "5"),
        ("recorder_duration", "00:60:00"),
        ("recorder_duration", "-00:00:01"),
        ("recorder_duration", "00:00:61"),
        ("recorder_duration", "9999999:00:00"),
        ("start_time", "yesterday"),
        ("end_time", "2024-02-30 00:00:00"),
        ("start_time", "9999-12-31 23:59:59"),
    ],
)
def test_a_value_that_does_not_fit_is_named_and_kept_as_it_came(record: MakeRecord, name: str, text: str) -> None:
    element = f"<verbacdr>{text}</verbacdr>".encode()
    fact = read(record(element=element, agent_id="7", **{BY_NAME[name].wire_name: text}))
    assert fact.values == {"agent_id": "7"}
    assert fact.quality == (f"bad_{name}",)
    assert fact.element == element


def test_a_field_nobody_knows_is_kept_among_the_attributes(record: MakeRecord) -> None:
    fact = read(record(extras={"shared_item": {"title": "x"}}, mood="good"))
    assert fact.attributes == {"shared_item": {"title": "x"}, "mood": "good"}


TEXTS = st.text(max_size=12) | st.sampled_from(
    ["1", "true", "00:10:00", "2024-11-03 01:30:00", "2024-11-03 01:10", "2024-03-10 02:30:00", "0001-01-01 00:00:00"]
)


@st.composite
def records(draw: st.DrawFn) -> Record:
    """Any record that a parser could hand over."""
    uuid = draw(st.uuids(version=1) if draw(st.booleans()) else st.uuids(version=4))
    fields = draw(st.dictionaries(st.sampled_from([field.wire_name for field in FIELDS]), TEXTS, max_size=8))
    state = draw(st.sampled_from([None, "0", "1", "recorded", "?"]))
    return Record(str(uuid), state, fields, {}, draw(st.binary(max_size=9)))


@pytest.mark.slow
@given(records(), st.sampled_from(list(Kind)), st.sampled_from([NEW_YORK, BUDAPEST, LORD_HOWE]))
def test_any_record_gives_a_fact_in_which_every_field_is_a_value_or_named(
    record: Record, kind: Kind, zone: ZoneInfo
) -> None:
    fact = read(record, replace(IN_NEW_YORK, zone=zone), kind)
    for wire_name in record.fields:
        name = BY_WIRE_NAME[wire_name].name
        hidden = name == "end_time" and "end_before_start" in fact.quality
        assert (name in fact.values) != (f"bad_{name}" in fact.quality or hidden)
    known = set(FLAGS) | {f"bad_{field.name}" for field in FIELDS}
    assert known.issuperset(fact.quality)
    assert fact.quality == tuple(sorted(set(fact.quality)))
    assert fact.attributes == {}
    assert fact.element == record.element


@pytest.mark.slow
@given(records())
def test_values_have_the_type_of_their_field(record: Record) -> None:
    types: dict[FieldType, type] = {
        FieldType.TEXT: str,
        FieldType.INTEGER: int,
        FieldType.BOOLEAN: bool,
        FieldType.TIME: datetime,
        FieldType.INTERVAL: timedelta,
    }
    for name, value in read(record).values.items():
        assert type(value) is types[BY_NAME[name].type]
        if isinstance(value, datetime):
            assert value.tzinfo is UTC


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=4000)))
def test_a_duration_written_out_is_read_back(duration: timedelta) -> None:
    seconds, micros = divmod(duration // timedelta(microseconds=1), 1_000_000)
    minutes, second = divmod(seconds, 60)
    assert parse_duration(f"{minutes // 60:02}:{minutes % 60:02}:{second:02}.{micros:06}") == duration


# Kind, place, identity


@pytest.mark.parametrize(
    ("state", "fields", "finished"),
    [
        ("1", {}, True),
        ("Recorded", {}, True),
        ("0", {"end_time": "2024-01-01 00:00:00"}, False),
        ("paused", {}, False),
        (None, {"end_time": "2024-01-01 00:00:00"}, True),
        (None, {"end_time": "2024-01-01 00:00:00", "start_time": "2024-01-02 00:00:00"}, True),
        (None, {"end_time": "later"}, False),
        (None, {}, False),
    ],
)
@pytest.mark.parametrize("kind", sorted(FINISHED))
def test_a_record_is_finished_by_its_state_or_without_one_by_its_end(
    record: MakeRecord, kind: Kind, state: str | None, fields: dict[str, str], finished: bool
) -> None:
    assert read(record(state=state, **fields), kind=kind).kind is (kind if finished else Kind.UNFINISHED)
    assert is_finished(record(state=state, **fields), IN_NEW_YORK) is finished


@pytest.mark.parametrize("kind", [Kind.START, Kind.END, Kind.LIST])
def test_a_message_keeps_its_kind_whatever_its_state(record: MakeRecord, kind: Kind) -> None:
    assert read(record(state=None), kind=kind).kind is kind
    assert read(record(state="1"), kind=kind).kind is kind


def test_a_site_can_have_its_own_word_for_finished(record: MakeRecord) -> None:
    reading = replace(IN_NEW_YORK, finished_states=frozenset({"done"}))
    assert read(record(state=" DONE"), reading).kind is Kind.DETAIL
    assert read(record(state="1"), reading).kind is Kind.UNFINISHED


@pytest.mark.parametrize(
    ("fields", "located"),
    [({"location": "NY-Recorder"}, "ny-1"), ({"location": "Elsewhere"}, "Elsewhere"), ({}, None)],
)
def test_a_location_maps_to_its_recorder_without_regard_to_case(
    record: MakeRecord, fields: dict[str, str], located: str | None
) -> None:
    assert read(record(**fields)).located == located


def test_a_fact_knows_its_call_its_recorder_and_when_it_was_seen(record: MakeRecord, timed_id: MakeId) -> None:
    time = utc("2024-06-01 12:00")
    fact = read(record(timed_id(time).upper()))
    assert (fact.call_id, fact.id_time) == (timed_id(time), time)
    assert (fact.recorder, fact.observed_at) == ("ny-1", SEEN)
    assert read(record("Opaque")).id_time == UNTIMED


@pytest.mark.slow
@given(records(), st.sampled_from(list(Kind)), st.sampled_from([NEW_YORK, BUDAPEST]))
def test_the_digest_depends_on_what_was_received_alone(record: Record, kind: Kind, zone: ZoneInfo) -> None:
    other = Reading(zone, "ny-1", {"x": "y"}, frozenset({"?"}))
    assert read(record, other, kind).digest == read(record).digest
    assert len(read(record).digest) == 16


def test_other_bytes_or_another_recorder_are_another_content() -> None:
    contents = [(b"a", "r"), (b"b", "r"), (b"a", "s"), (b"a", None), (b"", "ra"), (b"ra", None)]
    assert len({content_digest(element, recorder) for element, recorder in contents}) == len(contents)


def test_an_absence_holds_its_evidence_and_no_values(timed_id: MakeId) -> None:
    time = utc("2024-06-01 12:00")
    fact = absent_fact(timed_id(time).upper(), SEEN, "ny-1", b"<VerbaApi/>")
    assert (fact.kind, fact.call_id, fact.id_time) == (Kind.ABSENT, timed_id(time), time)
    assert (fact.element, fact.recorder, dict(fact.values), fact.quality) == (b"<VerbaApi/>", "ny-1", {}, ())


# Times: New York sets its clocks back on 2024-11-03 at 06:00 UTC, so 01:00 to 02:00 comes twice.


@pytest.mark.parametrize(("id_time", "start"), [("05:29:59", "05:30"), ("06:29:59", "06:30")])
def test_a_doubled_start_is_read_nearest_to_the_ids_time(
    record: MakeRecord, timed_id: MakeId, id_time: str, start: str
) -> None:
    fact = read(record(timed_id(utc(f"2024-11-03 {id_time}")), start_time="2024-11-03 01:30:00"))
    assert fact.values == {"start_time": utc(f"2024-11-03 {start}")}
    assert fact.quality == ()


def test_a_doubled_start_without_a_timed_id_takes_the_first_reading(record: MakeRecord) -> None:
    assert read(record(start_time="2024-11-03 01:30:00")).values["start_time"] == utc("2024-11-03 05:30")


END_CASES = [
    # id's time or None, other fields, expected end (UTC) or None, flags
    pytest.param(None, {"start_time": "00:50", "duration": "01:30:00"}, "06:20", [], id="the duration decides"),
    pytest.param(
        None, {"start_time": "00:50", "duration": "00:30:01"}, "05:20", [], id="the duration decides for the first"
    ),
    pytest.param(
        None,
        {"start_time": "00:50", "duration": "01:30:20"},
        "06:20",
        ["duration_differs"],
        id="a duration nearly right decides",
    ),
    pytest.param(
        None,
        {"start_time": "00:50", "duration": "01:00:00"},
        "05:20",
        ["duration_differs", "end_ambiguous"],
        id="a duration that fits neither decides nothing",
    ),
    pytest.param("06:09:59", {"start_time": "01:10"}, "06:20", [], id="only the second is not before the start"),
    pytest.param("05:09:59", {"start_time": "01:10"}, "05:20", ["end_ambiguous"], id="both would do"),
    pytest.param("05:19:59", {"start_time": "01:20"}, "05:20", ["end_ambiguous"], id="an end at the start would do"),
    pytest.param("06:09:59", {}, "06:20", [], id="without a start the second is not before the id"),
    pytest.param("05:09:59", {}, "05:20", ["end_ambiguous"], id="without a start both would do"),
    pytest.param(
        "04:49:59", {"duration": "01:30:00"}, "06:20", [], id="without a start the id's time and duration decide"
    ),
    pytest.param(None, {}, "05:20", ["end_ambiguous"], id="nothing decides"),
    pytest.param("07:00:00", {}, "06:20", ["end_ambiguous"], id="both before the id: the later contradicts less"),
    pytest.param(None, {"start_time": "02:10"}, None, ["end_before_start"], id="both before the start"),
]


@pytest.mark.parametrize(("id_time", "others", "end", "flags"), END_CASES)
def test_a_doubled_end(
    record: MakeRecord, timed_id: MakeId, id_time: str | None, others: dict[str, str], end: str | None, flags: list[str]
) -> None:
    call_id = timed_id(utc(f"2024-11-03 {id_time}")) if id_time else "opaque"
    fields = {name: f"2024-11-03 {text}" if name == "start_time" else text for name, text in others.items()}
    fact = read(record(call_id, end_time="2024-11-03 01:20:00", **fields))
    assert fact.values.get("end_time") == (utc(f"2024-11-03 {end}") if end else None)
    assert list(fact.quality) == flags


def test_the_half_hour_of_lord_howe_is_resolved_too(record: MakeRecord, timed_id: MakeId) -> None:
    began = utc("2024-04-06 14:59:59")
    times = {"start_time": "2024-04-07 01:30:00", "end_time": "2024-04-07 01:31:00"}
    fact = read(record(timed_id(began), duration="00:01:00", **times), replace(IN_NEW_YORK, zone=LORD_HOWE))
    assert fact.values["start_time"] == utc("2024-04-06 15:00")
    assert fact.values["end_time"] == utc("2024-04-06 15:01")
    assert fact.quality == ()


@pytest.mark.parametrize("name", ["start_time", "end_time"])
def test_a_time_that_does_not_exist_uses_the_offset_before_the_change(record: MakeRecord, name: str) -> None:
    fact = read(record(**{name: "2024-03-10 02:30:00"}))
    assert fact.values == {name: utc("2024-03-10 07:30")}
    assert fact.quality == ("nonexistent_time",)


def test_an_end_before_the_start_of_its_record_is_no_value(record: MakeRecord) -> None:
    fact = read(record(start_time="2024-06-01 10:00:00", end_time="2024-06-01 09:59:59.999", duration="00:01:00"))
    assert "end_time" not in fact.values
    assert fact.quality == ("end_before_start",)


def test_an_end_at_the_start_is_a_short_call(record: MakeRecord) -> None:
    fact = read(record(start_time="2024-06-01 10:00:00", end_time="2024-06-01 10:00:00"))
    assert fact.values["end_time"] == fact.values["start_time"]
    assert fact.quality == ()


@pytest.mark.parametrize(
    ("duration", "differs"), [("00:01:02", False), ("00:00:58", False), ("00:01:03", True), ("00:00:57", True)]
)
def test_a_reported_duration_may_be_rounded_but_not_more(record: MakeRecord, duration: str, differs: bool) -> None:
    fact = read(record(start_time="2024-06-01 10:00:00", end_time="2024-06-01 10:01:00", duration=duration))
    assert ("duration_differs" in fact.quality) is differs


@given(*[st.integers(0, 10**7)] * 2)
def test_times_and_duration_cut_down_to_seconds_never_differ(start: int, length: int) -> None:
    began = utc("2024-06-01 10:00") + timedelta(milliseconds=start)
    ended = began + timedelta(milliseconds=length)
    minutes, seconds = divmod(length // 1000, 60)
    fields = {
        "start_time": f"{began:%Y-%m-%d %H:%M:%S}",
        "end_time": f"{ended:%Y-%m-%d %H:%M:%S}",
        "duration": f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}",
    }
    assert read(Record("x", "1", fields, {}, b"")).quality == ()


@pytest.mark.parametrize(
    ("late", "suspect"),
    [
        ({"seconds": 1}, False),
        ({"seconds": 40}, False),
        ({"minutes": 8}, False),
        ({"minutes": 14, "seconds": 40}, False),
        ({"minutes": 15, "seconds": 16}, False),
        ({"hours": 1, "seconds": 1}, True),
        ({"hours": -5, "seconds": 1}, True),
        ({"hours": 5, "minutes": 45}, True),
        ({"minutes": -30, "seconds": -2}, True),
        ({"hours": 26}, True),
        ({"days": 2}, False),
    ],
)
def test_a_start_whole_quarters_of_an_hour_from_the_id_hints_at_a_wrong_zone(
    record: MakeRecord, timed_id: MakeId, late: dict[str, Any], suspect: bool
) -> None:
    time = utc("2024-06-01 12:00")
    start = time + timedelta(**late)
    fact = read(record(timed_id(time), start_time=f"{start:%Y-%m-%d %H:%M:%S}"), IN_UTC)
    assert fact.quality == (("zone_suspect",) if suspect else ())
    assert fact.values["start_time"] == start


def test_without_a_timed_id_no_zone_is_suspect(record: MakeRecord) -> None:
    assert read(record(start_time="1970-01-01 01:00:00"), IN_UTC).quality == ()


instants = st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2037, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(
    instants,
    st.timedeltas(min_value=timedelta(0), max_value=timedelta(hours=5)),
    st.sampled_from([NEW_YORK, BUDAPEST, LORD_HOWE, ZoneInfo("Asia/Kathmandu")]),
)
def test_what_a_recorder_writes_in_local_time_is_read_back(
    timed_id: MakeId, began: datetime, length: timedelta, zone: ZoneInfo
) -> None:
    """A timed id gives the start whatever the clock did; start and duration give the end."""
    length -= timedelta(microseconds=length.microseconds)
    minutes, seconds = divmod(length // timedelta(seconds=1), 60)
    written = {
        "start_time": f"{began.astimezone(zone):%Y-%m-%d %H:%M:%S.%f}",
        "end_time": f"{(began + length).astimezone(zone):%Y-%m-%d %H:%M:%S.%f}",
        "duration": f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}",
    }
    fact = read(Record(timed_id(began), "1", written, {}, b""), replace(IN_NEW_YORK, zone=zone))
    assert fact.values["start_time"] == began
    assert fact.values["end_time"] == began + length
    assert fact.quality == ()
