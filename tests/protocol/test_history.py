"""Records wherever they stand in documents of the history, and answers of the HTTP API."""

from __future__ import annotations

import pytest

from etl.protocol.dialect import Dialect
from etl.protocol.documents import parse
from etl.protocol.history import Failure, Found, find_records, read_search, read_token

ID = "54bc7c43-561f-11e0-b752-005056c00008"
OTHER = "64bc7c43-561f-11e0-b752-005056c00008"
DIALECT = Dialect()
FIELDS = "<source_caller_id>1000</source_caller_id><start_time>2011-03-24 14:02:19.673</start_time>"
RECORD = f"<verbacdr><id>{ID}</id>{FIELDS}</verbacdr>"


def found(xml: str | bytes) -> Found:
    return find_records(parse(xml if isinstance(xml, bytes) else xml.encode()), DIALECT)


def search(inside: str, code: str = "0", beside: str = "") -> Found | Failure:
    xml = f'<VerbaApi><Response code="{code}">{inside}</Response>{beside}</VerbaApi>'
    return read_search(parse(xml.encode()), DIALECT)


def names(answer: Found | Failure) -> tuple[str | bytes, ...]:
    assert isinstance(answer, Found)
    return answer.names


# Where a record may stand

SHAPES = {
    "as the root": RECORD,
    "with ccdr_id": f"<verbacdr><ccdr_id>{ID}</ccdr_id>{FIELDS}</verbacdr>",
    "with its id as an attribute": f'<verbacdr id="{ID}">{FIELDS}</verbacdr>',
    "with all as attributes": f'<verbacdr id="{ID}" source_caller_id="1000" start_time="2011-03-24 14:02:19.673"/>',
    "under another root": f"<export><verbacdr><id>{ID}</id>{FIELDS}</verbacdr></export>",
    "as a root of any name": f"<recording><id>{ID}</id>{FIELDS}</recording>",
    "as a root of any name with attributes": f'<recording ccdr_id="{ID}" start_time="x" source_caller_id="1000"/>',
    "in a namespace": f'<verbacdr xmlns="urn:x"><id>{ID}</id>{FIELDS}</verbacdr>',
    "in a namespace with a prefix": f'<v:verbacdr xmlns:v="urn:x"><v:id>{ID}</v:id>'
    "<v:source_caller_id>1000</v:source_caller_id></v:verbacdr>",
    "in an answer of the recorder": f'<VerbaApi><Response code="0"><Request type="GetCallDetails" id="{OTHER}"/>'
    f"{RECORD}</Response></VerbaApi>",
    "unnamed in an answer of the recorder": f'<VerbaApi><Response code="0"><Request type="x" id="{OTHER}">'
    f'<Call id="{OTHER}"/></Request><cdr><id>{ID}</id>{FIELDS}</cdr></Response></VerbaApi>',
    "deep inside": f"<a><b><c><d><id>{ID}</id>{FIELDS}</d></c></b></a>",
    "in a container with an id of its own": f'<export id="{OTHER}"><entry><id>{ID}</id>{FIELDS}</entry></export>',
    "with others' ids inside": f"<recording><id>{ID}</id>{FIELDS}<participants><participant><id>{OTHER}</id>"
    "<source_name>A</source_name></participant></participants></recording>",
    "with an own element inside": f"<verbacdr><id>{ID}</id>{FIELDS}<verbacdr><id>{OTHER}</id></verbacdr></verbacdr>",
    "with comments": f"<!-- a --><verbacdr><!-- b --><id><!-- c -->{ID}</id>{FIELDS}</verbacdr><!-- d -->",
    "behind an empty id": f"<recording><id/><id>{ID}</id>{FIELDS}</recording>",
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_record_is_found_wherever_it_stands(shape: str) -> None:
    (record,) = found(SHAPES[shape]).records
    assert record.call_id == ID
    assert record.fields["source_caller_id"] == "1000"


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf" + RECORD.encode(),
        b'\xef\xbb\xbf<?xml version="1.0" encoding="UTF-8"?>' + RECORD.encode(),
        f'<?xml version="1.0" encoding="UTF-16"?>{RECORD}'.encode("utf-16"),
        f'<?xml version="1.0" encoding="ISO-8859-1"?>{RECORD.replace("1000", "Zoë")}'.encode("latin-1"),
    ],
    ids=["byte order mark", "mark and declaration", "UTF-16", "Latin-1"],
)
def test_a_record_is_read_in_the_encoding_that_its_document_declares(body: bytes) -> None:
    (record,) = found(body).records
    assert record.call_id == ID
    assert record.fields["source_caller_id"] in ("1000", "Zoë")
    assert record.element.startswith(b"<verbacdr>")


def test_only_an_id_is_enough_where_it_is_a_uuid_or_the_element_says_what_it_is() -> None:
    assert names(found(f"<x><id>{ID}</id></x>")) == (ID,)
    assert names(found("<x><ccdr_id>7</ccdr_id></x>")) == ("7",)
    assert names(found("<verbacdr><id>7</id></verbacdr>")) == ("7",)
    assert names(found("<x><id>7</id><start_time>2011-03-24 14:02</start_time></x>")) == ("7",)


@pytest.mark.parametrize(
    "xml",
    [
        "<feed xmlns='http://www.w3.org/2005/Atom'><id>tag:example,2024:1</id><title>News</title>"
        "<entry><id>tag:example,2024:2</id><updated>2024-06-03T12:00:00Z</updated></entry></feed>",
        "<settings><item id='7'>on</item></settings>",
        "<svg xmlns='http://www.w3.org/2000/svg'><path id='p1'/></svg>",
        "<x><start_time>2011-03-24 14:02</start_time></x>",
        "<x/>",
    ],
)
def test_other_xml_holds_no_record(xml: str) -> None:
    assert found(xml) == Found()


def test_several_records_come_in_order_and_one_without_an_id_is_bad() -> None:
    shown = found(f"<x>{RECORD}<verbacdr><location>A</location></verbacdr>{RECORD.replace(ID, OTHER)}</x>")
    bad = b"<verbacdr><location>A</location></verbacdr>"
    assert shown.names == (ID, bad, OTHER)
    assert [record.call_id for record in shown.records] == [ID, OTHER]
    assert [each.element for each in shown.bad] == [bad]


# Answers


@pytest.mark.parametrize(
    ("inside", "beside"),
    [
        (RECORD, ""),
        (f"<verbacdrlist rowcount='0'>{RECORD}</verbacdrlist>", ""),
        (f"<rows><row><id>{ID}</id>{FIELDS}</row></rows>", ""),
        ("", f"<rows>{RECORD}</rows>"),
        (f"<Request type='SearchCalls' id='{OTHER}'/>{RECORD}", ""),
    ],
)
def test_the_rows_of_a_search_are_found_wherever_they_stand(inside: str, beside: str) -> None:
    assert names(search(inside, beside=beside)) == (ID,)


@pytest.mark.parametrize(
    "inside",
    ["", f"<Request type='SearchCalls' id='{ID}'/>", "<verbacdrlist rowcount='0'/>", "<rowcount>7</rowcount>"],
)
def test_a_search_without_rows_that_says_so_is_empty(inside: str) -> None:
    assert search(inside) == Found()


def test_the_id_of_an_answer_is_no_row() -> None:
    xml = f'<VerbaApi id="{ID}"><Response code="0" id="{ID}"/></VerbaApi>'
    assert read_search(parse(xml.encode()), DIALECT) == Found()


def test_rows_of_unknown_shape_are_bad_and_do_not_look_like_no_rows() -> None:
    answer = search("<row><CallKey>7</CallKey><start_time>2011-03-24 14:02</start_time><location>A</location></row>")
    assert isinstance(answer, Found)
    assert [each.reason for each in answer.bad] == ["no_id"]


@pytest.mark.parametrize("code", ["-43", "2"])
@pytest.mark.parametrize("inside", [True, False])
def test_a_failure_has_its_code_and_text_wherever_that_stands(code: str, inside: bool) -> None:
    told = "<ErrorMessage description='Processing Error'> Broken </ErrorMessage>"
    answer = search(told if inside else "", code, "" if inside else told)
    assert answer == Failure(int(code), "Broken")


def test_a_failure_can_have_its_text_as_an_attribute_or_none() -> None:
    assert search("<ErrorMessage description='Processing Error'/>", "2") == Failure(2, "Processing Error")
    assert search("", "2") == Failure(2, "no reason given")


@pytest.mark.parametrize(
    "xml", ["<html/>", "<VerbaApi/>", "<VerbaApi><Response/></VerbaApi>", f"<rows>{RECORD}</rows>"]
)
def test_what_does_not_say_that_it_succeeded_is_no_answer(xml: str) -> None:
    answer = read_search(parse(xml.encode()), DIALECT)
    assert isinstance(answer, Failure)
    assert (answer.code, answer.reason) == (None, "not_understood")


def token(xml: str) -> str | Failure:
    return read_token(parse(xml.encode()), DIALECT)


def test_a_token_is_an_attribute_or_an_element() -> None:
    assert token('<VerbaApi><Response code="0" token=" abc "/></VerbaApi>') == "abc"
    assert token('<Response code="0"><token>abc</token></Response>') == "abc"
    assert token('<Response code="0"><Token/></Response>') == Failure(None, "the answer has no token")
    assert token('<Response code="-40"><ErrorMessage>No</ErrorMessage></Response>') == Failure(-40, "No")
