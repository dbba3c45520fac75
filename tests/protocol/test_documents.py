"""Parsing: hardened, and total in its refusals."""

from __future__ import annotations

import time

import pytest

from etl.protocol.documents import NotWellFormed, parse


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "not_well_formed"),
        (b"<a>", "not_well_formed"),
        (b"<a/><b/>", "not_well_formed"),
        (b"<a>&b;</a>", "not_well_formed"),
        (b"<a>\x00</a>", "not_well_formed"),
        (b"<a>\xff</a>", "not_well_formed"),
        (b"<a>" * 1000 + b"</a>" * 1000, "not_well_formed"),
        (b"<a>" + b"x" * 11_000_000 + b"</a>", "not_well_formed"),
        (b"<!DOCTYPE a><a/>", "doctype"),
        (b"\xef\xbb\xbf <!-- x --><?y z?>\n<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>", "doctype"),
        ("<!DOCTYPE a><a/>".encode("utf-16"), "doctype"),
        (b"<a xmlns='" + b"u" * 2000 + b"'><b/></a>", "namespaces"),
        (b"<a" + b"".join(b" xmlns:a%d='u'" % n for n in range(50)) + b"/>", "namespaces"),
        (b"<a xmlns:a='" + b"u" * 600 + b"'><b xmlns:b='" + b"u" * 600 + b"'/></a>", "namespaces"),
        (("<a xmlns='" + "u" * 2000 + "'/>").encode("utf-16"), "namespaces"),
        (b"<?xml version='1.0' encoding='utf-7'?>" + ("<a xmlns='" + "u" * 2000 + "'/>").encode("utf-7"), "namespaces"),
    ],
)
def test_what_is_refused_says_why(raw: bytes, reason: str) -> None:
    with pytest.raises(NotWellFormed) as caught:
        parse(raw)
    assert caught.value.reason == reason
    assert caught.value.detail


def test_namespaces_are_no_harm_where_few_stand_around_an_element() -> None:
    parse(b"<a xmlns='urn:one' xmlns:b='urn:two'>" + b"<b:c xmlns:d='urn:three'/>" * 1000 + b"</a>")
    parse("<a xmlns='urn:one'><b/></a>".encode("utf-16"))


@pytest.mark.parametrize("piece", [b"xmlns", b"xmlns:", b"xmlns:a", b"xmlns ", b"xmlns=", b"xmlns=&quot;"])
def test_a_text_full_of_the_word_xmlns_is_read_in_linear_time(piece: bytes) -> None:
    """Each was searched up to the end of the text: 40 kB held a worker up for five seconds, 1 MB for an hour."""
    began = time.process_time()
    assert parse(b"<a>" + piece * 20_000 + b"</a>").tag == "a"
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize("written", [b"xmlns='%s'", b'xmlns = "%s"', b"xmlns:a\n=\t'%s'", b"xmlns:\xc3\xa4.-='%s'"])
def test_a_long_namespace_is_noticed_however_it_is_written(written: bytes) -> None:
    with pytest.raises(NotWellFormed, match="namespaces"):
        parse(b"<a " + written % (b"u" * 2000) + b"/>")


def test_the_word_doctype_in_text_is_harmless() -> None:
    assert parse(b"<a><![CDATA[<!DOCTYPE a>]]><!-- <!DOCTYPE a> --></a>").tag == "a"


def test_an_entity_bomb_is_refused_without_being_expanded() -> None:
    entities = b"".join(b'<!ENTITY e%d "%s">' % (n, b"&e%d;" % (n - 1) * 10) for n in range(1, 20))
    began = time.process_time()
    with pytest.raises(NotWellFormed, match="doctype"):
        parse(b'<!DOCTYPE a [<!ENTITY e0 "x">%s]><a b="&e19;"/>' % entities)
    assert time.process_time() - began < 0.2


def test_the_search_for_a_doctype_does_not_backtrack() -> None:
    began = time.process_time()
    assert parse(b"<!-- a --><?b c?>" * 5000 + b"<a><!-- <!DOCTYPE --></a>").tag == "a"
    assert time.process_time() - began < 0.2


@pytest.mark.slow
def test_a_list_of_a_hundred_thousand_calls_is_within_the_limits() -> None:
    call = b"<Call id='54bc7c43-561f-11e0-b752-005056c00008'><source_caller_id>sip:desk7@example.com</source_caller_id>"
    raw = b"<VerbaApi><Response>" + (call + b"<source_name>" + b"x" * 100 + b"</source_name></Call>") * 100_000
    assert len(parse(raw + b"</Response></VerbaApi>")[0]) == 100_000
