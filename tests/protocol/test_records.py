"""Records: one parser for calls in messages and for full records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from etl.model import Record
from etl.protocol.dialect import Dialect
from etl.protocol.documents import parse
from etl.protocol.records import BadRecord, read_call, read_record

DIALECT = Dialect()


def record(xml: str, dialect: Dialect = DIALECT) -> Record:
    found = read_record(etree.fromstring(xml), dialect)
    assert isinstance(found, Record)
    return found


def call(xml: str) -> Record:
    found = read_call(etree.fromstring(xml), DIALECT)
    assert isinstance(found, Record)
    return found


def test_the_metadata_file_of_the_samples_is_read_whole(sample: Callable[[str], bytes]) -> None:
    root = etree.fromstring(sample("metadata-file"))
    found = read_record(root, DIALECT)
    assert isinstance(found, Record)
    assert found.call_id == "54bc7c43-561f-11e0-b752-005056c00008"
    assert found.state == "1"
    assert found.fields["destination_name"] == "Customer & Sons"
    assert found.fields["start_time"] == "2011-03-24 14:02:19.673"
    assert len(found.fields) == 25
    assert found.extras == {"shared_item": {"title": "Meeting WHBFM6DD", "allow_download": "false"}}
    assert found.element == etree.tostring(root, encoding="utf-8")


def test_fields_as_attributes_and_as_children_read_the_same() -> None:
    attributes = call("<Call id='a' source_caller_id='1' start_time='2011-03-24 14:02'/>")
    children = call(
        "<Call><id>a</id><source_caller_id> 1 </source_caller_id><start_time>2011-03-24 14:02</start_time></Call>"
    )
    assert (attributes.call_id, attributes.fields) == (children.call_id, children.fields)
    assert attributes.extras == children.extras == {}


@pytest.mark.parametrize(
    ("xml", "call_id"),
    [
        ("<verbacdr id='7'><ccdr_id>a</ccdr_id></verbacdr>", "a"),
        ("<verbacdr><id>b</id><ccdr_id>a</ccdr_id></verbacdr>", "a"),
        ("<verbacdr><ccdr_id> </ccdr_id><id>b</id></verbacdr>", "b"),
        ("<verbacdr id='c'/>", "c"),
        ("<verbacdr id='7'><id>b</id></verbacdr>", "b"),
        ("<verbacdr><id>A-B</id></verbacdr>", "A-B"),
    ],
)
def test_a_record_is_named_by_ccdr_id_else_id_else_an_attribute(xml: str, call_id: str) -> None:
    assert record(xml).call_id == call_id


def test_a_call_is_named_by_its_own_attribute_first_and_another_id_is_kept() -> None:
    found = call("<Call id='a'><ccdr_id>b</ccdr_id></Call>")
    assert found.call_id == "a"
    assert found.extras == {"ccdr_id": "b"}


@pytest.mark.parametrize("xml", ["<Call/>", "<Call id='  '/>", "<Call><id/></Call>", "<Call><id><x>1</x></id></Call>"])
def test_without_an_id_there_is_no_record_but_its_bytes(xml: str) -> None:
    found = read_call(etree.fromstring(f"<r>{xml}tail</r>")[0], DIALECT)
    assert isinstance(found, BadRecord)
    assert found.reason == "no_id"
    assert found.element == xml.encode().replace(b"'", b'"')


def test_empty_text_is_no_value_and_the_first_value_of_a_field_wins() -> None:
    found = record("<r><id>a</id><location/><location> </location><location>x</location><location>y</location></r>")
    assert found.fields == {"location": "x"}
    assert found.extras == {"location": "y"}


def test_what_is_unknown_nested_repeated_or_attributed_is_kept() -> None:
    found = record(
        "<r xmlns:n='urn:x'><id>a</id><state>0</state><state>1</state><n:new n:k='v'>x</n:new><new>y</new>"
        "<party><name>A</name><name>B</name><empty/>tail</party><location lang='en'>L</location>"
        "<source_name><first>F</first></source_name>loose</r>"
    )
    assert found.state == "0"
    assert found.fields == {"location": "L"}
    assert found.extras == {
        "state": "1",
        "new": [{"@k": "v", "#text": "x"}, "y"],
        "party": {"name": ["A", "B"], "#text": "tail"},
        "location": {"@lang": "en"},
        "source_name": {"first": "F"},
        "#text": "loose",
    }


def test_a_site_can_name_fields_ids_and_state_otherwise() -> None:
    overrides = {"field_names": {"caller": "source_caller_id"}, "id_names": ["uuid"], "state_name": "status"}
    found = record("<r><uuid>a</uuid><caller>1</caller><status>1</status></r>", Dialect.from_overrides(overrides))
    assert (found.call_id, found.fields, found.state) == ("a", {"source_caller_id": "1"}, "1")


def test_comments_and_namespaces_do_not_change_a_value() -> None:
    found = record("<n:r xmlns:n='urn:x'><n:id>a</n:id><n:location>x<!-- c -->y<?p q?>z</n:location></n:r>")
    assert found.fields == {"location": "xyz"}


names = st.sampled_from(["id", "state", "location", "start_time", "other", "deep", "ccdr_id"])
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=8).filter(
    lambda text: all(ord(c) & 0xFFFE != 0xFFFE for c in text)
)


def build(name: str, attributes: dict[str, str], text: str, children: list[etree._Element]) -> etree._Element:
    element = etree.Element(name)
    element.text = text
    for key, value in attributes.items():
        element.set(key, value)
    element.extend(children)
    return element


elements = st.recursive(
    st.builds(build, names, st.dictionaries(names, texts, max_size=2), texts, st.just([])),
    lambda inner: st.builds(
        build, names, st.dictionaries(names, texts, max_size=2), texts, st.lists(inner, max_size=5)
    ),
    max_leaves=12,
)


def said(element: etree._Element) -> Counter[str]:
    """Every non-empty text and attribute value in an element."""
    values = [str(value).strip() for node in element.iter() for value in node.attrib.values()]
    return Counter(text for text in [*values, *((node.text or "").strip() for node in element.iter())] if text)


def kept(value: object) -> Counter[str]:
    """Every text in a JSON value."""
    if isinstance(value, dict):
        return sum(map(kept, value.values()), Counter())
    if isinstance(value, list):
        return sum(map(kept, value), Counter())
    assert isinstance(value, str)
    assert value
    return Counter([value])


@given(elements)
def test_no_value_of_an_element_is_lost(element: etree._Element) -> None:
    found = read_record(element, DIALECT)
    if isinstance(found, Record):
        there = (
            kept(dict(found.extras)) + Counter(found.fields.values()) + Counter([found.state] if found.state else [])
        )
        expected = said(element)
        repeated = expected.pop(found.call_id)  # the id may be given more than once, and is kept once
        assert 0 <= there.pop(found.call_id, 0) < repeated
        assert there == expected


@given(elements)
def test_the_element_is_kept_as_received(element: etree._Element) -> None:
    raw = etree.tostring(element, encoding="utf-8")
    assert read_record(element, DIALECT).element == raw


@pytest.mark.parametrize("count", [3, 99, 101, 500])
def test_many_attributes_are_read_as_few_are(count: int) -> None:
    """They took the square of their number in time: a call of 10 MB would have stopped the worker for hours."""
    shown = "".join(f" a{number}=' x{number} '" for number in range(count))
    record = read_call(parse(f"<Call id='1' xmlns:n='u' n:b='c'{shown}><p{shown}>q</p></Call>".encode()), Dialect())
    assert isinstance(record, Record)
    nested = {f"@a{number}": f"x{number}" for number in range(count)}
    assert record.extras == {
        **{name[1:]: text for name, text in nested.items()},
        "b": "c",
        "p": {**nested, "#text": "q"},
    }
