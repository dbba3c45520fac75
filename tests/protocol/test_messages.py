"""Messages and answers: what documents say, and what they mean given what was asked."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from etl.model import Asked, Kind
from etl.protocol import messages as messages_module
from etl.protocol.answers import (
    Answer,
    DetailAnswer,
    Failed,
    ListAnswer,
    NotUnderstood,
    Subscribed,
    UnknownCall,
    read_answer,
)
from etl.protocol.dialect import Dialect
from etl.protocol.documents import parse
from etl.protocol.messages import KeepAlive, Message, Notification, Response, Unplaced, read

Sample = Callable[[str], bytes]
ID = "54bc7c43-561f-11e0-b752-005056c00008"


def messages(body: str, dialect: Dialect | None = None) -> tuple[Message, ...]:
    return read(parse(f"<VerbaApi>{body}</VerbaApi>".encode()), dialect or Dialect())


def response(body: str, attributes: str = "code='0'") -> Response:
    (found,) = messages(f"<Response {attributes}><Request id='7'/>{body}</Response>")
    assert isinstance(found, Response)
    return found


def answer(body: str, asked: Asked, call_id: str | None = None, attributes: str = "code='0'") -> Answer:
    return read_answer(response(body, attributes), asked, call_id)


def test_notifications_of_the_samples(sample: Sample) -> None:
    (start,) = read(parse(sample("call-start")), Dialect())
    (end,) = read(parse(sample("call-end")), Dialect())
    assert isinstance(start, Notification)
    assert isinstance(end, Notification)
    assert (start.kind, end.kind) == (Kind.START, Kind.END)
    assert [record.call_id for record in start.records + end.records] == [ID, ID]
    assert start.records[0].fields["source_caller_id"] == "1000"
    assert end.records[0].fields == {"end_time": "2011-03-24 14:02:24.325", "cause_id": "0"}


def test_responses_of_the_samples(sample: Sample) -> None:
    def of(name: str, asked: Asked) -> Answer:
        (found,) = read(parse(sample(name)), Dialect())
        assert isinstance(found, Response)
        assert found.request_id in ("1", "7", "8")
        return read_answer(found, asked, ID.upper())

    assert read(parse(sample("keepalive")), Dialect()) == (KeepAlive(10.0),)
    assert of("subscribe-response", Asked.SUBSCRIBE) == Subscribed(10.0)
    listed = of("list-response", Asked.LIST)
    assert isinstance(listed, ListAnswer)
    assert [record.call_id[:8] for record in listed.records] == ["54bc7c43", "5b1f0a40"]
    detail = of("detail-response", Asked.DETAIL)
    assert isinstance(detail, DetailAnswer)
    assert detail.record.state == "1"
    error = f"Processing Error: Call cannot be found: {ID}"
    assert of("error-response", Asked.DETAIL) == UnknownCall(error)
    assert of("error-response", Asked.LIST) == Failed("2", error)


def test_the_http_search_response_is_no_call_list(sample: Sample) -> None:
    (found,) = read(parse(sample("search-calls-response")), Dialect())
    assert isinstance(found, Response)
    assert found.strange == ("verbacdrlist",)
    assert read_answer(found, Asked.LIST) == NotUnderstood("strange_list", "verbacdrlist")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "empty"),
        ("text", "empty"),
        ("<Request type='x' id='1'/>", "unknown_message"),
        ("<Notification type='CallHold'><Call id='1'/></Notification>", "unknown_notification"),
        ("<Notification><Call id='1'/></Notification>", "unknown_notification"),
        ("<Notification type='CallEnd'/>", "notification_without_call"),
        ("<Notification type='CallEnd'><Other/></Notification>", "unknown_in_notification"),
        ("<Response><Request id='1'/></Response>", "response_without_code"),
        ("<ErrorMessage>x</ErrorMessage>", "error_without_response"),
    ],
)
def test_what_the_dialect_cannot_place_says_so(body: str, reason: str) -> None:
    (found,) = messages(body)
    assert isinstance(found, Unplaced)
    assert found.reason == reason


def test_another_root_cannot_be_placed() -> None:
    assert read(parse(b"<Other/>"), Dialect()) == (Unplaced("unknown_root", "Other"),)


def test_several_messages_in_one_document_are_all_read() -> None:
    found = messages(
        "<Notification type='CallStart'><Call id='1'/></Notification>"
        "<Notification type='CallEnd'><Call id='1'/><X/></Notification>"
        "<Response code='0'><Keepalive time='5'/></Response>"
    )
    assert [type(message) for message in found] == [Notification, Notification, Unplaced, KeepAlive]


def test_calls_without_an_id_do_not_take_the_others_with_them() -> None:
    (found,) = messages("<Notification type='CallEnd'><Call id='1'/><Call/><Call id='2'/></Notification>")
    assert isinstance(found, Notification)
    assert [record.call_id for record in found.records] == ["1", "2"]
    assert [bad.element for bad in found.bad] == [b"<Call/>"]
    listed = answer("<Call id='1'/><Call x='y'/>", Asked.LIST)
    assert isinstance(listed, ListAnswer)
    assert (len(listed.records), len(listed.bad)) == (1, 1)


@pytest.mark.parametrize("time", ["abc", "-1", "0", "nan", "inf", "1e400", "", "1_0", "٣", "99999999", "0.0"])
def test_a_keepalive_that_makes_no_sense_is_unplaced_and_never_an_error(time: str) -> None:
    assert messages(f"<Response code='0'><Keepalive time='{time}'/></Response>") == (Unplaced("bad_keepalive", time),)
    found = response(f"<Keepalive time='{time}'/>")
    assert (found.keepalive, found.strange) == (None, ("Keepalive",))
    assert read_answer(found, Asked.SUBSCRIBE) == Subscribed(None, ("Keepalive",))


def test_a_keepalive_needs_no_code_and_its_unit_is_the_dialects() -> None:
    assert messages("<Response><Keepalive time=' 2.5 '/></Response>") == (KeepAlive(2.5),)
    dialect = Dialect.from_overrides({"keepalive_unit": 0.001, "keepalive_attribute": "next"})
    assert messages("<Response code='0'><Keepalive next='2500'/></Response>", dialect) == (KeepAlive(2.5),)


@pytest.mark.parametrize(
    ("document", "request_id"),
    [
        ("<Response code='0'><Request id='7' type='MuteState'/></Response>", "7"),
        ("<Response code='2' type='X' id='9'/>", "9"),
        ("<Response code='2' id='9'><Request id='7'/></Response>", "7"),
        ("<Response code='0' id='1'><Keepalive time='5'/></Response>", "1"),
        ("<Response code='0' id=''><Keepalive time='1'/><Call id='1'/></Response>", None),
    ],
)
def test_a_response_answers_the_request_whose_id_it_carries_whatever_its_type(
    document: str, request_id: str | None
) -> None:
    (found,) = messages(document)
    assert isinstance(found, Response)
    assert found.request_id == request_id


def test_an_error_message_is_found_inside_and_beside_the_response() -> None:
    for document in (
        "<Response code='2' id='9'><ErrorMessage description='D'>T</ErrorMessage></Response>",
        "<Response code='2' id='9'/><ErrorMessage description='D'>T</ErrorMessage>",
        "<Response code='2' id='9'><Info><ErrorMessage description='D'> T </ErrorMessage></Info></Response>",
    ):
        (found,) = messages(document)
        assert isinstance(found, Response)
        assert (found.code, found.ok, found.error) == ("2", False, "D: T")


def test_unknown_call_needs_a_failure_code_and_the_pattern() -> None:
    error = "<ErrorMessage>Call CANNOT be Found</ErrorMessage>"
    assert answer(error, Asked.DETAIL, ID, "code='2'") == UnknownCall("Call CANNOT be Found")
    assert answer("<ErrorMessage>busy</ErrorMessage>", Asked.DETAIL, ID, "code='2'") == Failed("2", "busy")
    assert answer("", Asked.DETAIL, ID, "code='2'") == Failed("2", "no text given")
    assert answer(error, Asked.DETAIL, ID) == NotUnderstood("no_record")


def test_without_an_error_message_no_pattern_makes_a_call_unknown() -> None:
    (found,) = read(parse(b"<VerbaApi><Response code='2' id='9'/></VerbaApi>"), Dialect(unknown_call_pattern=".*"))
    assert isinstance(found, Response)
    assert not found.unknown_call


def test_an_empty_list_is_a_list_and_a_strange_one_is_not() -> None:
    assert answer("", Asked.LIST) == ListAnswer((), ())
    assert answer("<Calls><Call id='1'/></Calls>", Asked.LIST) == NotUnderstood("strange_list", "Calls")
    assert answer("none", Asked.LIST) == NotUnderstood("strange_list", "#text")
    assert answer("<verbacdr><id>1</id></verbacdr>", Asked.LIST) == NotUnderstood("records_in_list")
    assert answer("<verbacdr/>", Asked.LIST) != ListAnswer((), ())


def test_a_probe_is_answered_by_anything_and_its_calls_are_kept() -> None:
    found = answer("<Load>1</Load><Call id='1'/>", Asked.PROBE)
    assert isinstance(found, ListAnswer)
    assert [record.call_id for record in found.records] == ["1"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("<verbacdr><id>other</id></verbacdr>", "other_call"),
        ("<verbacdr/>", "detail_without_id"),
        ("<verbacdr><id>a</id></verbacdr><verbacdr><id>a</id></verbacdr>", "several_records"),
        ("<Call id='a'/>", "calls_in_detail"),
        ("<Calls/>", "no_record"),
    ],
)
def test_a_detail_that_is_not_the_record_asked_for_is_not_understood(body: str, reason: str) -> None:
    found = answer(body, Asked.DETAIL, "a")
    assert isinstance(found, NotUnderstood)
    assert found.reason == reason


def test_a_detail_is_matched_without_case_and_says_what_stood_beside_it() -> None:
    found = answer("<verbacdr><ccdr_id>aB</ccdr_id></verbacdr><New/>", Asked.DETAIL, "Ab")
    assert isinstance(found, DetailAnswer)
    assert (found.record.call_id, found.strange) == ("aB", ("New",))


def test_calls_in_a_subscribe_response_are_not_passed_over_in_silence() -> None:
    assert answer("<Keepalive time='3'/><Call id='1'/>", Asked.SUBSCRIBE) == Subscribed(3.0, ("calls",))


def test_a_dialect_can_rename_every_element() -> None:
    names = {"root": "R", "response": "A", "request": "Q", "call": "C", "keepalive": "K", "code_attribute": "rc"}
    dialect = Dialect.from_overrides({**names, "success_code": "OK", "id_attribute": "n", "id_names": ["n"]})
    (found,) = read(parse(b"<R><A rc='OK'><Q n='3'/><K time='4'/><C n='a'/></A></R>"), dialect)
    assert isinstance(found, Response)
    assert (found.request_id, found.ok, found.keepalive, found.calls[0].call_id) == ("3", True, 4.0, "a")


def test_a_long_list_reads_as_a_short_one_and_is_used_up_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = "".join(f'<Call id="{number}"><source_name>Ann {number}</source_name></Call> ' for number in range(7))
    raw = f'<VerbaApi><Response code="0"><Request id="1"/>{calls}<Call/></Response></VerbaApi>'.encode()
    expected = read(parse(raw), Dialect())
    monkeypatch.setattr(messages_module, "LONG", 3)
    root = parse(raw)
    assert read(root, Dialect()) == expected
    assert [element.tag for element in root.iter("Call")] == []


def test_many_responses_beside_many_errors_share_one_text() -> None:
    """Each had a copy of all errors: a document of a megabyte took gigabytes."""
    found = messages("<Response code='2'/><ErrorMessage>no call</ErrorMessage>" * 500)
    texts = {id(each.error) for each in found if isinstance(each, Response)}
    assert len(found) == 500
    assert len(texts) == 1
