"""Framing: laws over generated streams, and bounds on memory and work."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from etl.protocol import framing
from etl.protocol.documents import parse
from etl.protocol.framing import Document, Framer, Rejected

Item = Document | Rejected
Frame = Callable[..., list[Item]]

GAP = re.compile(rb"(?:[ \t\r\n]|\xef\xbb\xbf)*")

TOKENS = [
    b"<VerbaApi>", b"<VerbaApi", b"</VerbaApi>", b"</VerbaApi >", b"</VerbaApi", b"<VerbaApi/>", b"<VerbaApi a='",
    b"VerbaApi", b"<?xml version='1.0'?>", b"<?xml ", b"<?", b"?>", b"<?x ", b"<!--", b"-->", b"<![CDATA[", b"]]>",
    b"<!DOCTYPE VerbaApi>", b"<!DOCTYPE", b"<a>", b"</a>", b"<a b='", b"'", b'"', b"<", b">", b"/", b" ", b"\n",
    b"\xef\xbb\xbf", b"\xef", b"x", b"\0", b"&lt;",
]  # fmt: skip

contents = st.sampled_from(
    [
        b"",
        b"<a/>",
        b"<a b='/>'>text</a>",
        b"<!-- </VerbaApi> -->",
        b"<![CDATA[</VerbaApi><VerbaApi>]]>",
        b"<?x </VerbaApi>?>",
    ]
)
prologs = st.sampled_from(
    [b"", b"<?xml version='1.0'?>", b"<?xml version='1.0' encoding='UTF-8'?>\r\n", b"<!-- <VerbaApi> -->\n"]
)
ends = st.sampled_from([b"</VerbaApi>", b"</VerbaApi\n>"])


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """A well-formed document of any kind."""
    if draw(st.booleans()):
        return draw(prologs) + b"<VerbaApi a='>'/>"
    return draw(prologs) + b"<VerbaApi>" + b"".join(draw(st.lists(contents, max_size=3))) + draw(ends)


plain_documents = st.builds(
    lambda head, body: head + b"<VerbaApi><N>" + body + b"</N></VerbaApi>",
    st.sampled_from([b"", b"<?xml version='1.0'?>\n"]),
    st.sampled_from([b"", b"<a/>", b"<a b='/>'>text</a>"]),
)
spaces = st.sampled_from([b"", b"\n", b" \t\r\n", b"\xef\xbb\xbf"])
garbage = st.sampled_from(
    [b"x", b"\0", b"<Other/>", b"</VerbaApi>", b"HTTP/1.1 200 OK\r\n", b"&amp;", b"\xff\xfe", b">>"]
)
soups = st.lists(st.sampled_from(TOKENS), max_size=40).map(b"".join)
limits = st.sampled_from([12, 30, 64, 200, 1 << 20])


def told(items: Iterable[Item]) -> list[tuple[str, bytes, str]]:
    return [
        (item.reason, item.raw, item.detail) if isinstance(item, Rejected) else ("document", item.raw, "")
        for item in items
    ]


def pieces(stream: bytes, cuts: Iterable[int]) -> list[bytes]:
    at = sorted({0, *(cut % (len(stream) + 1) for cut in cuts), len(stream)})
    return [stream[a:b] for a, b in pairwise(at)]


@given(soups, st.lists(st.integers(min_value=0)), limits)
def test_the_result_does_not_depend_on_how_the_bytes_are_chopped(
    frame: Frame, stream: bytes, cuts: list[int], limit: int
) -> None:
    whole = told(frame([stream], limit=limit))
    assert told(frame(pieces(stream, cuts), limit=limit)) == whole
    assert told(frame((bytes([byte]) for byte in stream), limit=limit)) == whole


@given(soups, limits)
def test_every_byte_is_handed_out_once_and_in_order_but_white_space_between(
    frame: Frame, stream: bytes, limit: int
) -> None:
    at = 0
    for item in frame([stream], limit=limit):
        assert item.raw
        gap = GAP.match(stream, at)
        assert gap is not None
        assert stream.startswith(item.raw, gap.end())
        at = gap.end() + len(item.raw)
    assert GAP.fullmatch(stream, at)


@given(soups)
def test_whatever_comes_out_as_a_document_is_one(frame: Frame, stream: bytes) -> None:
    for item in frame([stream]):
        if isinstance(item, Document):
            root = etree.fromstring(item.raw)
            assert root.tag == "VerbaApi"
            assert root.getroottree().docinfo.internalDTD is None


@given(st.lists(st.tuples(spaces, documents())), st.lists(st.integers(min_value=0)))
def test_documents_with_space_between_come_out_as_they_are(
    frame: Frame, parts: list[tuple[bytes, bytes]], cuts: list[int]
) -> None:
    stream = b"".join(space + document for space, document in parts)
    assert [item.raw for item in frame(pieces(stream, cuts))] == [document for _, document in parts]


@given(st.lists(st.tuples(garbage, documents())), st.lists(st.integers(min_value=0)))
def test_garbage_between_documents_costs_only_itself(
    frame: Frame, parts: list[tuple[bytes, bytes]], cuts: list[int]
) -> None:
    """A comment before a root would be garbage's neighbour, so only documents that begin plainly count here."""
    parts = [(noise, document) for noise, document in parts if not document.startswith(b"<!--")]
    stream = b"".join(noise + document for noise, document in parts)
    items = told(frame(pieces(stream, cuts)))
    assert items == [
        item
        for noise, document in parts
        for item in (("garbage", noise, "bytes outside of any document"), ("document", document, ""))
    ]


@given(st.lists(st.tuples(plain_documents, st.integers(0, 99), documents()), max_size=5))
def test_a_document_cut_off_anywhere_costs_only_itself(frame: Frame, parts: list[tuple[bytes, int, bytes]]) -> None:
    cut = [(lost[: 1 + at % (len(lost) - 1)], good) for lost, at, good in parts if not good.startswith(b"<!--")]
    cut = [(part, good) for part, good in cut if not part.rstrip().endswith(b"?>")]  # else both are one document
    items = frame([part + good for part, good in cut])
    assert [item.raw for item in items if isinstance(item, Document)] == [good for _, good in cut]


@given(
    st.lists(
        st.tuples(st.sampled_from([b"<VerbaApi><N><!-- ", b"<VerbaApi><N><![CDATA[ "]), plain_documents), max_size=6
    )
)
def test_what_an_unterminated_comment_or_cdata_swallowed_comes_out_at_the_end(
    frame: Frame, parts: list[tuple[bytes, bytes]]
) -> None:
    items = frame([lost + good for lost, good in parts])
    assert [item.raw for item in items if isinstance(item, Document)] == [good for _, good in parts]


class CountingBuffer(bytearray):
    """Counts how many bytes `find` had to look at."""

    work = 0

    def find(self, sub: Any, start: Any = 0, end: Any = None) -> int:
        end = len(self) if end is None else min(end, len(self))
        found = super().find(sub, start, end)
        CountingBuffer.work += max((end if found < 0 else found) - start, 0)
        return found


class CountingFramer(Framer):
    """Counts the bytes it searches; with the parser's share added by the fixture."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self._buffer = CountingBuffer()

    def _search(self, pattern: re.Pattern[bytes], start: int, end: int) -> re.Match[bytes] | None:
        found = super()._search(pattern, start, end)
        CountingBuffer.work += max((found.start() if found else min(end, len(self._buffer))) - start, 0)
        return found


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[bytes], int], int]:
    """Frames pieces and returns how many bytes were searched or parsed for it."""

    def counting(raw: bytes, parser: etree.XMLParser | None = None) -> etree._Element:
        CountingBuffer.work += len(raw)
        return parse(raw, parser)

    monkeypatch.setattr(framing, "parse", counting)

    def run(data: list[bytes], limit: int) -> int:
        CountingBuffer.work = 0
        framer = CountingFramer(limit)
        for piece in data:
            framer.receive(piece)
        framer.finish("cut_off")
        return CountingBuffer.work

    return run


N = 800
NASTY = {
    "root starts": b"<VerbaApi>" * 50 * N,
    "closing tags in CDATA": b"<VerbaApi><![CDATA[" + b"</VerbaApi>" * 50 * N + b"]]></VerbaApi>",
    "nested CDATA before a bad end": b"<VerbaApi><![CDATA[" * N + b"]]>" + b"<a/>" * 10 * N + b"</b></VerbaApi>",
    "nested CDATA, comments behind": b"<VerbaApi><![CDATA[" * N + b"]]>" + b"<!---->" * 10 * N,
    "comments without end": b"<VerbaApi><!--" * 10 * N,
    "instructions without end": b"<VerbaApi><?x " * 10 * N,
    "declared comments without end": b"<?xml version='1.0'?><!--" * 10 * N,
    "comments with an end": b"<VerbaApi><!-- --> " * N + b"</VerbaApi>",
    "declarations": b"<?xml " * 10 * N,
    "attributes without end": b"<VerbaApi a='" * 10 * N,
    "document types": b"<!DOCTYPE " * 10 * N,
    "closing tags without end": b"<VerbaApi>" + b"</VerbaApi " * 10 * N,
    "brackets": b"<" * 50 * N,
    "question marks": b"<?" * 25 * N,
    "garbage lines": b"no document\n" * 10 * N,
    "byte order marks, almost": b"\xef\xbb" * 10 * N,
    "bad documents": b"<VerbaApi><a></VerbaApi>" * N,
    "a large document": b"<VerbaApi>" + b"<a b='c'>d</a>" * 10 * N + b"</VerbaApi>",
}


@pytest.mark.slow
@pytest.mark.parametrize("limit", [5_000, 1 << 24], ids=["small limit", "large limit"])
@pytest.mark.parametrize("name", NASTY)
def test_work_is_linear_in_the_bytes(counted: Callable[[list[bytes], int], int], name: str, limit: int) -> None:
    stream = NASTY[name]
    assert counted([stream], limit) < 25 * len(stream)
    assert counted([stream[at : at + 1000] for at in range(0, len(stream), 1000)], limit) < 25 * len(stream)


@pytest.mark.slow
def test_a_document_read_byte_by_byte_costs_no_more_than_the_overlap_of_a_token(
    counted: Callable[[list[bytes], int], int],
) -> None:
    stream = b"<VerbaApi>" + b"<a b='c'>d</a>" * 6_000 + b"</VerbaApi>"
    assert counted([stream[at : at + 1] for at in range(len(stream))], 1 << 20) < 30 * len(stream)


@pytest.mark.slow
@pytest.mark.parametrize(
    "endless",
    [b"a", b"<a>b</a>", b"<!--", b" ", b"</VerbaApi ", b"\n \n"],
    ids=["text", "elements", "comments", "space", "closing tags", "blank lines"],
)
@pytest.mark.parametrize(
    "start", [b"", b"<VerbaApi>", b"<VerbaApi><!--", b"<VerbaApi a='", b"<VerbaApi></VerbaApi", b"<!--", b"<?xml "]
)
def test_endless_input_does_not_grow_memory(start: bytes, endless: bytes) -> None:
    limit, chunk = 200_000, endless * (65_536 // len(endless))
    framer = Framer(limit)
    framer.receive(start)
    tracemalloc.start()
    try:
        for _ in range(16):
            framer.receive(chunk)
            assert framer.buffered <= limit + len(chunk) + 64
        assert tracemalloc.get_traced_memory()[1] < 4 * limit + 4 * len(chunk)
    finally:
        tracemalloc.stop()
