"""Bytes to facts: framing, parsing, reading and typing, beside lxml alone and lxml with a plain loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from lxml import etree

from benchmarks.measure import Comparison, Figure, Task
from benchmarks.sample import BEGIN, DIALECT, READING, ZONE, documents
from etl.calls.facts import read_fact
from etl.fields import BY_WIRE_NAME, FieldType
from etl.model import Fact, Kind
from etl.protocol.documents import new_parser
from etl.protocol.framing import Document, Framer
from etl.protocol.messages import Notification, read

READ = 1 << 16
LIMIT = 64_000_000
FIRST_BYTES = 200
"""Documents that are also fed byte by byte, which is slow for everybody."""


def figures(count: int, repetitions: int) -> list[Figure]:
    """`count` calls' documents."""
    found = documents(count)
    few = found[:FIRST_BYTES]
    pieces, bytes_ = _cut(found, READ), _cut(few, 1)
    comparison = Comparison("bytes to facts (CPU time)", "document", repetitions, time.process_time)
    lxml: dict[str, Task] = {"lxml parses the same documents": lambda: [_parse(document) for document in found]}
    return [
        comparison.figure(
            "framed, parsed and read, in 64 kB reads",
            len(found),
            lambda: _facts(pieces, len(found)),
            {**lxml, "lxml and a plain loop over the same fields": lambda: [_plain(_parse(each)) for each in found]},
        ),
        comparison.figure(
            "framed and parsed only, in 64 kB reads", len(found), lambda: _framed(pieces, len(found)), lxml
        ),
        comparison.figure(
            "framed and parsed only, in reads of one byte",
            len(few),
            lambda: _framed(bytes_, len(few)),
            {"lxml's feed parser, one byte at a time": lambda: [_fed(document) for document in few]},
        ),
    ]


def _cut(found: Sequence[bytes], size: int) -> list[bytes]:
    stream = b"".join(found)
    return [stream[at : at + size] for at in range(0, len(stream), size)]


_PARSER = new_parser()


def _parse(document: bytes) -> etree._Element:
    return etree.fromstring(document, _PARSER)


def _fed(document: bytes) -> etree._Element:
    parser = new_parser()
    for at in range(len(document)):
        parser.feed(document[at : at + 1])
    return parser.close()


def _framed(pieces: Sequence[bytes], expected: int) -> list[Document]:
    framer = Framer(LIMIT)
    found = [item for piece in pieces for item in framer.receive(piece) if isinstance(item, Document)]
    assert len(found) == expected
    return found


def _facts(pieces: Sequence[bytes], expected: int) -> None:
    framer = Framer(LIMIT)
    made = 0
    for piece in pieces:
        for item in framer.receive(piece):
            assert isinstance(item, Document)
            made += len(_read(item))
    assert made == expected


def _read(document: Document) -> list[Fact]:
    facts = []
    for message in read(document.root, DIALECT):
        if isinstance(message, Notification):
            facts += [read_fact(record, message.kind, BEGIN, READING) for record in message.records]
        else:
            records = getattr(message, "details", ())
            facts += [read_fact(record, Kind.DETAIL, BEGIN, READING) for record in records]
    return facts


# The plain loop: what anyone would write who trusts the recorder.


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZONE).astimezone(UTC)


def _interval(text: str) -> timedelta:
    hours, minutes, seconds = text.split(":")
    return timedelta(hours=int(hours), minutes=int(minutes), seconds=float(seconds))


_TYPES: dict[FieldType, Callable[[str], Any]] = {
    FieldType.TEXT: str,
    FieldType.INTEGER: int,
    FieldType.BOOLEAN: lambda text: text.lower() in ("true", "1"),
    FieldType.TIME: _time,
    FieldType.INTERVAL: _interval,
}
_READERS = {name: _TYPES[field.type] for name, field in BY_WIRE_NAME.items()}


def _plain(root: etree._Element) -> tuple[str | None, dict[str, Any], dict[str, Any]]:
    """The call's id, its typed fields, and all others as text."""
    element = root.find("Notification/Call")
    if element is None:
        element = root.find("Response/verbacdr")
    assert element is not None
    call_id = element.get("id")
    values: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for child in element:
        text = child.text.strip() if child.text else ""
        if child.tag == "ccdr_id":
            call_id = text
        elif child.tag in _READERS and text:
            values[child.tag] = _READERS[child.tag](text)
        elif len(child):
            others[child.tag] = {inner.tag: inner.text for inner in child}
        elif text:
            others[child.tag] = text
    return call_id, values, others
