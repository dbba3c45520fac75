"""What the history says: records in all their variants, as facts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from support.recorders import CALL, NOON

from etl.config import Settings
from etl.ingest.history import HistoryReader, Told
from etl.model import Fact, Kind
from etl.protocol.dialect import Dialect
from etl.protocol.documents import parse
from etl.protocol.history import Found, read_search

RECORDER = {"name": "ny-1", "host": "recorder.example", "port": 1, "location": "NY-RECORDER"}


def reader(**options: Any) -> HistoryReader:
    history = {
        "http": {"url": "https://verba.example/verba/api", "timezone": "America/New_York"},
        "files": {"roots": ["/media"], "timezone": "Europe/Budapest"},
    }
    return HistoryReader(Settings.model_validate({"recorder": [{**RECORDER, **options}], "history": history}))


def record(**fields: str) -> str:
    inside = "".join(f"<{name}>{text}</{name}>" for name, text in {"id": CALL, **fields}.items())
    return f"<verbacdr>{inside}</verbacdr>"


def file(xml: str, **options: Any) -> Told:
    return reader(**options).file("/media/a.xml", NOON, xml.encode())


def fact(xml: str) -> Fact:
    (only,) = file(xml).facts
    return only


def rows(inside: str, **options: Any) -> Told:
    found = read_search(parse(f'<VerbaApi><Response code="0">{inside}</Response></VerbaApi>'.encode()), Dialect())
    assert isinstance(found, Found)
    return reader(**options).rows(found, NOON)


def timed(moment: datetime) -> str:
    """A version 1 UUID that carries this time."""
    ticks = (moment - datetime(1582, 10, 15, tzinfo=UTC)) // timedelta(microseconds=1) * 10
    return str(UUID(fields=(ticks & 0xFFFFFFFF, ticks >> 32 & 0xFFFF, ticks >> 48 | 0x1000, 0x80, 0, 7)))


def utc(year: int, month: int, day: int, hour: int, minute: int = 0, second: int = 0, micro: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, second, micro, tzinfo=UTC)


def test_each_source_has_a_zone_of_its_own() -> None:
    xml = record(start_time="2011-03-24 14:02:19.673", end_time="2011-03-24 14:03:19.673")
    (of_http,) = rows(xml).facts
    assert of_http.values["start_time"] == utc(2011, 3, 24, 18, 2, 19, 673000)
    assert fact(xml).values["start_time"] == utc(2011, 3, 24, 13, 2, 19, 673000)
    assert (of_http.kind, fact(xml).kind) == (Kind.HTTP, Kind.FILE)
    assert (of_http.history, fact(xml).history) == (Kind.HTTP, Kind.FILE)
    assert (of_http.recorder, of_http.observed_at) == (None, NOON)


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("2011-03-24 14:02:19.673", utc(2011, 3, 24, 13, 2, 19, 673000)),
        ("2011-03-24 14:02:19.6", utc(2011, 3, 24, 13, 2, 19, 600000)),
        ("2011-03-24 14:02:19", utc(2011, 3, 24, 13, 2, 19)),
        ("2011-03-24 14:02", utc(2011, 3, 24, 13, 2)),
        ("2011-03-24T14:02:19", utc(2011, 3, 24, 13, 2, 19)),
    ],
)
def test_times_come_with_and_without_fraction_and_seconds(text: str, start: datetime) -> None:
    assert fact(record(start_time=text)).values["start_time"] == start


@pytest.mark.parametrize(("texts", "value"), [(("True", "true", "TRUE", "1"), True), (("False", "false", "0"), False)])
def test_yes_and_no_come_in_any_case_and_as_numbers(texts: tuple[str, ...], value: bool) -> None:
    assert {fact(record(secondary=text, conference=text)).values["secondary"] for text in texts} == {value}


@pytest.mark.parametrize(
    ("state", "end", "kind"),
    [
        ("1", True, Kind.FILE),
        ("recorded", False, Kind.FILE),
        ("Recorded", False, Kind.FILE),
        ("0", True, Kind.UNFINISHED),
        ("ongoing", True, Kind.UNFINISHED),
        (None, True, Kind.FILE),
        (None, False, Kind.UNFINISHED),
    ],
)
def test_a_record_is_finished_if_it_says_so_or_else_has_an_end(state: str | None, end: bool, kind: Kind) -> None:
    fields = {"start_time": "2011-03-24 14:02", **({"end_time": "2011-03-24 14:03"} if end else {})}
    told = fact(record(**fields, **({"state": state} if state is not None else {})))
    assert (told.kind, told.history) == (kind, Kind.FILE)


def test_all_but_the_id_may_be_missing() -> None:
    told = fact(record())
    assert (told.call_id, dict(told.values), told.located) == (CALL, {}, None)


def test_unknown_and_nested_fields_are_kept() -> None:
    xml = record(new="x").replace("</verbacdr>", "<party><name>A</name><name>B</name></party></verbacdr>")
    assert fact(xml).attributes == {"new": "x", "party": {"name": ["A", "B"]}}


def test_a_location_names_its_recorder_in_any_case_else_itself() -> None:
    assert fact(record(location="ny-recorder")).located == "ny-1"
    assert fact(record(location="Elsewhere")).located == "Elsewhere"


@pytest.mark.parametrize("start", [utc(2024, 10, 27, 0, 30), utc(2024, 10, 27, 1, 30)])
def test_the_id_says_which_of_the_doubled_hours_a_call_began_in(start: datetime) -> None:
    call = timed(start - timedelta(seconds=1))
    told = fact(record(id=call, start_time="2024-10-27 02:30:00", end_time="2024-10-27 02:31:00"))
    assert (told.values["start_time"], told.values["end_time"]) == (start, start + timedelta(minutes=1))
    assert "zone_suspect" not in told.quality


def test_a_time_that_the_clocks_left_out_is_flagged() -> None:
    told = fact(record(start_time="2024-03-31 02:30:00"))
    assert told.values["start_time"] == utc(2024, 3, 31, 1, 30)
    assert "nonexistent_time" in told.quality


def test_a_wrong_zone_shows_by_the_ids() -> None:
    told = fact(record(id=timed(utc(2024, 6, 3, 12)), start_time="2024-06-03 12:00:01"))
    assert told.quality == ("zone_suspect",)


def test_a_broken_file_is_quarantined_with_its_path_and_its_bytes() -> None:
    told = file("<verbacdr><id>1</verbacdr>")
    (kept,) = told.quarantined
    assert (kept.origin, kept.reason, kept.body) == ("/media/a.xml", "not_well_formed", b"<verbacdr><id>1</verbacdr>")
    assert (kept.observed_at, kept.note, told.facts, told.skipped) == (NOON, {"kind": "file"}, [], 0)


def test_a_record_without_an_id_is_quarantined_and_the_others_are_facts() -> None:
    told = rows(f"{record()}<verbacdr><location>A</location></verbacdr>")
    assert [each.call_id for each in told.facts] == [CALL]
    assert [(each.origin, each.reason, each.note) for each in told.quarantined] == [("http", "no_id", {"kind": "http"})]


def test_other_xml_is_skipped_and_counted() -> None:
    told = file("<settings><item id='7'>on</item></settings>")
    assert (told.facts, told.quarantined, told.skipped) == ([], [], 1)


def test_a_page_without_rows_is_no_document_of_another_kind() -> None:
    assert rows("").skipped == 0


def test_what_a_recorders_filter_leaves_out_is_a_stranger_unless_it_is_another_recorders() -> None:
    ours, strange = record(location="NY-RECORDER", source_caller_id="1000"), record(location="NY-RECORDER")
    told = rows(f"{ours}{strange}{record(location='elsewhere')}", extensions=["1000"])
    assert [each.located for each in told.facts] == ["ny-1", "elsewhere"]
    assert [each.located for each in told.strangers] == ["ny-1"]
    assert len(told.read) == 3
