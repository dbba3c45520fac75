"""Framing: what becomes of single streams, and the states an edge asks for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from etl.protocol.framing import Document, Framer, Rejected
from etl.protocol.markup import EXCERPT

Item = Document | Rejected
Frame = Callable[..., list[Item]]

GOOD = b"<VerbaApi><Notification/></VerbaApi>"


def told(items: list[Item]) -> list[tuple[str, bytes]]:
    return [(item.reason if isinstance(item, Rejected) else "document", item.raw) for item in items]


def test_every_sample_is_framed_and_the_two_broken_ones_cost_only_themselves(
    frame: Frame, sample: Callable[[str], bytes]
) -> None:
    good = ["call-end", "call-start", "detail-response", "error-response", "keepalive", "list-response"]
    good += ["list-request", "detail-request", "subscribe-request", "subscribe-response", "search-calls-response"]
    broken = ["error-response-as-printed-by-the-vendor", "subscribe-response-as-printed-by-the-vendor"]
    stream = b"".join(sample(name) for pair in zip(broken * 6, good, strict=False) for name in pair)
    items = frame([stream])
    assert [type(item) for item in items] == [Rejected, Document] * len(good)
    assert [item.raw for item in items[1::2]] == [sample(name).strip() for name in good]
    assert {item.reason for item in items if isinstance(item, Rejected)} == {"not_well_formed"}


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(b"<VerbaApi/>", id="self-closed root"),
        pytest.param(b"<VerbaApi />", id="self-closed root with a space"),
        pytest.param(b"<VerbaApi a='/>' b=\"'>\"/>", id="ends of tags inside the root's attributes"),
        pytest.param(b"<VerbaApi a='/>'><a/></VerbaApi>", id="no self-closed root, though an attribute looks so"),
        pytest.param(b"<VerbaApi></VerbaApi \t\r\n>", id="white space in the closing tag"),
        pytest.param(b"<VerbaApi><!-- </VerbaApi> --></VerbaApi>", id="closing tag in a comment"),
        pytest.param(b"<VerbaApi><!-- <VerbaApi> --></VerbaApi>", id="root start in a comment"),
        pytest.param(b"<VerbaApi><![CDATA[</VerbaApi>]]></VerbaApi>", id="closing tag in CDATA"),
        pytest.param(b"<VerbaApi><![CDATA[<VerbaApi><!-- ]]></VerbaApi>", id="root start and comment in CDATA"),
        pytest.param(b"<VerbaApi><?x </VerbaApi> ?></VerbaApi>", id="closing tag in a processing instruction"),
        pytest.param(b"<VerbaApi><a b='&lt;/VerbaApi>'/></VerbaApi>", id="escaped closing tag in an attribute"),
        pytest.param(b"<VerbaApi><VerbaApix/><a VerbaApi=''/></VerbaApi>", id="longer names that begin alike"),
        pytest.param(b"<?xml version='1.0'?><!-- <VerbaApi> --><VerbaApi/>", id="comment in the prolog"),
        pytest.param(b"<!-- <?xml version='1.0'?> --><VerbaApi/>", id="comment before the root"),
        pytest.param(b"<?x <VerbaApi> ?> <VerbaApi/>", id="processing instruction before the root"),
        pytest.param(b"<?xml version='1.0'?>\n\n<VerbaApi><a/>\xc3\xa9</VerbaApi>", id="declaration, UTF-8"),
    ],
)
def test_a_document_comes_out_whole_at_its_last_byte_and_not_before(document: bytes) -> None:
    framer = Framer(1 << 20)
    for byte in document[:-1]:
        assert framer.receive(bytes([byte])) == []
    assert told(framer.receive(document[-1:])) == [("document", document)]
    assert not framer.open
    assert framer.buffered == 0
    assert told(Framer(1 << 20).receive(document + b" \n" + GOOD)) == [("document", document), ("document", GOOD)]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        pytest.param(
            b"<VerbaApi><a>" + GOOD, [("cut_off", b"<VerbaApi><a>"), ("document", GOOD)], id="cut off, then a good one"
        ),
        pytest.param(
            b"<VerbaApi><a><VerbaApi/>",
            [("cut_off", b"<VerbaApi><a>"), ("document", b"<VerbaApi/>")],
            id="cut off, then a self-closed one",
        ),
        pytest.param(
            b"<VerbaApi><a b='x<?xml version='1.0'?>" + GOOD,
            [("cut_off", b"<VerbaApi><a b='x"), ("document", b"<?xml version='1.0'?>" + GOOD)],
            id="cut off in an attribute",
        ),
        pytest.param(
            b"<VerbaApi><!-- </VerbaApi> --><?xml version='1.0'?>" + GOOD,
            [("cut_off", b"<VerbaApi><!-- </VerbaApi> -->"), ("document", b"<?xml version='1.0'?>" + GOOD)],
            id="cut off behind a comment",
        ),
        pytest.param(b"<?xm" + GOOD, [("garbage", b"<?xm"), ("document", GOOD)], id="cut off in the word xml"),
        pytest.param(
            b"<VerbaApi><!-- </VerbaApi> --><?xm" + GOOD,
            [("cut_off", b"<VerbaApi><!-- </VerbaApi> --><?xm"), ("document", GOOD)],
            id="cut off in the name of a processing instruction",
        ),
        pytest.param(
            b"<VerbaApi a='x" + GOOD, [("cut_off", b"<VerbaApi a='x"), ("document", GOOD)], id="cut off in the root tag"
        ),
        pytest.param(
            b"<?xml version='1.0'" + GOOD,
            [("cut_off", b"<?xml version='1.0'"), ("document", GOOD)],
            id="cut off in the declaration",
        ),
        pytest.param(
            b"<?xml version='1.0'?> <?xml version='1.0'?>" + GOOD,
            [("cut_off", b"<?xml version='1.0'?> "), ("document", b"<?xml version='1.0'?>" + GOOD)],
            id="a declaration alone",
        ),
        pytest.param(
            b"<VerbaApi><VerbaApi/></VerbaApi>" + GOOD,
            [("cut_off", b"<VerbaApi>"), ("document", b"<VerbaApi/>"), ("garbage", b"</VerbaApi>"), ("document", GOOD)],
            id="the root never nests",
        ),
        pytest.param(
            b"\xff\x00HTTP/1.1 400\r\n\r\n" + GOOD,
            [("garbage", b"\xff\x00HTTP/1.1 400\r\n\r\n"), ("document", GOOD)],
            id="garbage",
        ),
        pytest.param(
            b"<?xml version='1.0'?><Other/>" + GOOD,
            [("garbage", b"<?xml version='1.0'?><Other/>"), ("document", GOOD)],
            id="another root",
        ),
        pytest.param(
            b"<VerbaApi><a></b></VerbaApi>" + GOOD,
            [("not_well_formed", b"<VerbaApi><a></b></VerbaApi>"), ("document", GOOD)],
            id="wrong end tag",
        ),
        pytest.param(
            b"<VerbaApi>\x00</VerbaApi><VerbaApi>\xff</VerbaApi>" + GOOD,
            [
                ("not_well_formed", b"<VerbaApi>\x00</VerbaApi>"),
                ("not_well_formed", b"<VerbaApi>\xff</VerbaApi>"),
                ("document", GOOD),
            ],
            id="NUL, invalid UTF-8",
        ),
        pytest.param(
            b"<?xml version='1.0'?><!DOCTYPE VerbaApi [<!ENTITY a 'b'>]><VerbaApi>&a;</VerbaApi>" + GOOD,
            [
                ("doctype", b"<?xml version='1.0'?><!DOCTYPE VerbaApi [<!ENTITY a 'b'>]><VerbaApi>&a;</VerbaApi>"),
                ("document", GOOD),
            ],
            id="DOCTYPE",
        ),
        pytest.param(
            b"<!DOCTYPE VerbaApi><VerbaApi/>" + GOOD,
            [("doctype", b"<!DOCTYPE VerbaApi><VerbaApi/>"), ("document", GOOD)],
            id="DOCTYPE without declaration: its root is not read without it",
        ),
        pytest.param(
            b"<VerbaApi><x><![CDATA[ lost" + GOOD + b"<VerbaApi><![CDATA[ </VerbaApi> ]]></VerbaApi>",
            [
                ("not_well_formed", b"<VerbaApi><x><![CDATA[ lost"),
                ("document", GOOD),
                ("document", b"<VerbaApi><![CDATA[ </VerbaApi> ]]></VerbaApi>"),
            ],
            id="unterminated CDATA swallows others until the next one ends",
        ),
        pytest.param(
            b"<VerbaApi><!-- lost" + GOOD * 2 + b"<VerbaApi><a>",
            [
                ("cut_off", b"<VerbaApi><!-- lost"),
                ("document", GOOD),
                ("document", GOOD),
                ("cut_off", b"<VerbaApi><a>"),
            ],
            id="unterminated comment gives the others back at the end",
        ),
        pytest.param(
            b"<VerbaApi><!-- <VerbaApi/> --><a></VerbaApi>",
            [("not_well_formed", b"<VerbaApi><!-- "), ("document", b"<VerbaApi/>"), ("garbage", b"--><a></VerbaApi>")],
            id="what stands inside a rejected document may be whole",
        ),
        pytest.param(b"<VerbaApi><a", [("cut_off", b"<VerbaApi><a")], id="end of the stream inside a document"),
        pytest.param(b"<Verba", [("garbage", b"<Verba")], id="end of the stream inside a name"),
        pytest.param(b" \r\n\t\xef\xbb\xbf ", [], id="nothing but white space and a byte order mark"),
        pytest.param(
            b"\xef\xbb\xbf\n" + GOOD + b"\xef\xbb\xbf" + GOOD, [("document", GOOD)] * 2, id="byte order marks"
        ),
    ],
)
def test_what_is_no_document_is_handed_out_and_the_next_one_found(
    frame: Frame, stream: bytes, expected: list[tuple[str, bytes]]
) -> None:
    assert told(frame([stream])) == expected
    assert told(frame(bytes([byte]) for byte in stream)) == expected


@pytest.mark.parametrize(
    "bad", [b"<VerbaApi><a", b"<VerbaApi><a b='", b"<?xml versio", b"garbage", b"<VerbaApi><a></b></VerbaApi>"]
)
def test_a_good_document_comes_out_at_once_whatever_came_before(bad: bytes) -> None:
    framer = Framer(1 << 20)
    framer.receive(bad)
    assert told(framer.receive(GOOD))[-1] == ("document", GOOD)


def test_a_closing_tag_in_an_attribute_is_not_well_formed_and_costs_that_document_only(frame: Frame) -> None:
    items = frame([b'<VerbaApi><a b="</VerbaApi>"/></VerbaApi>' + GOOD])
    assert [type(item) for item in items] == [Rejected, Rejected, Document]
    assert b"".join(item.raw for item in items[:2]) == b'<VerbaApi><a b="</VerbaApi>"/></VerbaApi>'


def test_a_depth_bomb_and_an_entity_bomb_are_refused(frame: Frame) -> None:
    deep = b"<VerbaApi>" + b"<a>" * 100_000 + b"</a>" * 100_000 + b"</VerbaApi>"
    entities = b"".join(b'<!ENTITY e%d "%s">' % (n, b"&e%d;" % (n - 1) * 10) for n in range(1, 10))
    bomb = b'<!DOCTYPE VerbaApi [<!ENTITY e0 "boom">%s]><VerbaApi a="&e9;">&e9;</VerbaApi>' % entities
    items = frame([deep, bomb, GOOD])
    assert [reason for reason, _ in told(items)] == ["not_well_formed", "doctype", "document"]


def test_a_wrong_encoding_declaration_is_not_guessed_away(frame: Frame) -> None:
    items = frame([b"<?xml version='1.0' encoding='nonsense'?><VerbaApi/>", GOOD])
    assert [reason for reason, _ in told(items)] == ["not_well_formed", "document"]


def test_another_root_is_framed_where_the_dialect_names_one(frame: Frame) -> None:
    items = frame([b"<R\xc3\xa9c.1><a/></R\xc3\xa9c.1><VerbaApi/><R\xc3\xa9c.1/>"], root="Réc.1")
    assert [reason for reason, _ in told(items)] == ["document", "garbage", "document"]


def test_a_document_of_just_the_limit_passes_and_one_byte_more_is_too_large(frame: Frame) -> None:
    document = b"<VerbaApi>" + b"x" * 200_000 + b"</VerbaApi>"
    assert told(frame([document + GOOD], limit=len(document))) == [("document", document), ("document", GOOD)]
    rejected, good = frame([document + GOOD], limit=len(document) - 1)
    assert isinstance(rejected, Rejected)
    assert rejected.reason == "too_large"
    assert rejected.raw == document[:EXCERPT] + document[-EXCERPT:]
    assert f"{len(document)} bytes" in rejected.detail
    assert hashlib.sha256(document).hexdigest() in rejected.detail
    assert good.raw == GOOD


@pytest.mark.parametrize(("length", "pieces"), [(99, [99]), (100, [100]), (101, [100, 1]), (250, [100, 100, 50])])
def test_garbage_above_the_limit_comes_in_complete_pieces(frame: Frame, length: int, pieces: list[int]) -> None:
    items = frame([b"x" * length + GOOD], limit=100)
    assert told(items) == [*(("garbage", b"x" * piece) for piece in pieces), ("document", GOOD)]
    assert told(frame([b"x" * length], limit=100)) == told(items)[:-1]


def test_a_comment_without_an_end_gives_the_documents_back_at_the_limit() -> None:
    framer = Framer(1000)
    items = framer.receive(b"<VerbaApi><!-- " + GOOD * 28)
    assert told(items) == [("too_large", b"<VerbaApi><!-- ")] + [("document", GOOD)] * 28


def test_a_stuck_document_is_open_and_garbage_or_a_comment_between_documents_is_not() -> None:
    framer = Framer(1000)
    for data, is_open in [
        (b"\0", False),
        (GOOD, False),
        (b"<!-- x", True),
        (b"-->", False),
        (b"<Verb", False),
        (b"aApi>", True),
    ]:
        framer.receive(data)
        assert framer.open is is_open, data
    assert told(framer.finish("stalled")) == [("stalled", b"<!-- x--><VerbaApi>")]
    assert told(framer.receive(GOOD)) == [("document", GOOD)]


def test_the_bytes_of_a_document_are_not_logged_by_repr_of_the_framer() -> None:
    framer = Framer(1000)
    framer.receive(b"<VerbaApi>secret")
    assert "secret" not in repr(framer)
