"""What a recorder sends: bytes of a connection, documents, and what a line of the journal comes to."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from random import Random
from uuid import UUID

import psycopg
from fuzz.law import Target, storable

from etl.config import Settings
from etl.ingest.history import HistoryReader
from etl.ingest.interpret import Interpreter
from etl.model import Asked, Draft, Fact, Json, Kind, Quarantined, What
from etl.protocol.answers import read_answer
from etl.protocol.dialect import Dialect
from etl.protocol.documents import NotWellFormed, parse
from etl.protocol.framing import Document, Framer, Rejected
from etl.protocol.messages import Response, read
from etl.protocol.subscription import Subscription
from etl.store import quarantine, staging
from etl.store.elements import pack, unpack

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
_TESTS = Path(__file__).parent.parent
DOCUMENTS = tuple(path.read_bytes() for path in sorted((_TESTS / "protocol" / "samples").glob("*.xml")))
STREAMS = tuple(
    path.read_bytes() for path in sorted((_TESTS / "scenarios").glob("*/*.xml")) if path.stat().st_size < 1500
)

SETTINGS = Settings.model_validate(
    {
        "recorder": [
            {"name": "ny-1", "host": "h", "port": 1, "timezone": "America/New_York", "location": "NY-RECORDER"},
            {"name": "bud", "host": "h", "port": 1, "timezone": "Europe/Budapest", "extensions": ["1000"]},
        ],
        "history": {"http": {"url": "http://h/", "timezone": "Europe/Budapest"}, "files": {"roots": ["/media"]}},
    }
)
INTERPRETER = Interpreter(SETTINGS)
READER = HistoryReader(SETTINGS)
DIALECT = Dialect()
LIMITS = (12, 30, 64, 200, 1 << 20)
GROWTH = 8
"""How many times longer what we keep of an input may be than the input: `>` becomes `&gt;`, `"` in an attribute
`&quot;`, and each call's element repeats the namespaces around it."""
OWN = 4096
"""Bytes that may come on top, for each element that is kept."""


# The stream ------------------------------------------------------------------------------------------------------


def _frame(pieces: Iterable[bytes], limit: int) -> list[tuple[str, bytes, str]]:
    framer = Framer(limit)
    items: list[Document | Rejected] = []
    for piece in pieces:
        items += framer.receive(piece)
        assert framer.buffered <= limit + len(piece) + 64
    items += framer.finish("cut_off")
    assert framer.buffered == 0
    return [(e.reason, e.raw, e.detail) if isinstance(e, Rejected) else ("document", e.raw, "") for e in items]


def framing(data: bytes) -> None:
    """Any chopping gives the same items; nothing is lost but white space; what comes out as a document is one.

    The first byte chooses the limit and seeds the chopping.
    """
    first, stream = (data[0], data[1:]) if data else (0, b"")
    limit = LIMITS[first % len(LIMITS)]
    whole = _frame([stream], limit)
    dice = Random(first)
    cuts = sorted({0, len(stream), *(dice.randint(0, len(stream)) for _ in range(5))})
    assert _frame([stream[a:b] for a, b in pairwise(cuts)], limit) == whole
    if len(stream) < 2000:
        assert _frame((stream[at : at + 1] for at in range(len(stream))), limit) == whole
    at = 0
    for kind, raw, _ in whole:
        found = stream.find(raw, at)
        assert raw
        assert found >= 0
        assert not stream[at:found].replace(b"\xef\xbb\xbf", b"").strip(b" \t\r\n")
        at = found + len(raw)
        if kind == "document":
            assert parse(raw).tag == "VerbaApi" or b"VerbaApi" in raw
    assert not stream[at:].replace(b"\xef\xbb\xbf", b"").strip(b" \t\r\n")


# Documents -------------------------------------------------------------------------------------------------------


def messages(data: bytes) -> None:
    """A document is refused, or says at least one message; each of them is taken by a subscription in any state."""
    try:
        root = parse(data)
    except NotWellFormed as error:
        assert error.reason in ("not_well_formed", "doctype", "empty", "namespaces")
        return
    said = read(root, DIALECT)
    assert said
    for start in (False, True):
        subscription = Subscription((), DIALECT, probe_every=30, request_timeout=10)
        subscription.start(0)
        if start:
            subscription.message(read(parse(DOCUMENTS[-1]), DIALECT)[0], 1)
        for now, message in enumerate(said, 2):
            subscription.message(message, float(now))
            subscription.tick(float(now))
            assert (due := subscription.deadline()) is None or due < 1e6
    for message in said:
        if isinstance(message, Response):
            for asked in Asked:
                read_answer(message, asked, "1")


# Lines of the journal --------------------------------------------------------------------------------------------

_TIME = NOON.isoformat()
_ID = "1e5d34f0-0b0a-11ef-9262-0242ac120002"
NOTES: tuple[dict[str, Json], ...] = (
    {},
    {"asked": "subscribe"},
    {"asked": "list", "channel": "query", "requested_at": _TIME},
    {"asked": "detail", "channel": "query", "requested_at": _TIME, "call_id": _ID, "purpose": "last"},
    {"asked": "detail", "channel": "query", "requested_at": _TIME, "call_id": "1", "purpose": "end"},
    {"asked": "probe"},
    {"asked": "of another version", "requested_at": "never"},
    {"call_id": "1", "seen_at": _TIME},
)  # fmt: skip


def interpret(data: bytes) -> None:
    """A line of the journal is understood or quarantined; what is kept of it fits the tables, is no more than a few
    times what came, and is understood again the same way from what the archive keeps.

    The first byte chooses the note, the second recorder and kind of line.
    """
    note = NOTES[data[0] % len(NOTES)] if data else {}
    second = data[1] if len(data) > 1 else 0
    what = (What.DOCUMENT, What.DOCUMENT, What.DOCUMENT, What.REJECTED, What.ABSENT)[second % 5]
    recorder = ("ny-1", "bud", "gone")[second % 3]
    told = INTERPRETER.interpret(Draft(NOON, recorder, UUID(int=1), what, data[2:], note))
    _check([*told.facts, *told.strangers], told.quarantined, len(data))


def metadata(data: bytes) -> None:
    """A metadata file: the same as for a line of the journal."""
    told = READER.file("/media/x.xml", NOON, data)
    assert told.read or told.quarantined or told.skipped
    _check(told.read, told.quarantined, len(data))


def _check(facts: list[Fact], bad: list[Quarantined], length: int) -> None:
    kept = [*(fact.element for fact in facts), *(each.body for each in bad)]
    assert sum(map(len, kept)) <= GROWTH * length + OWN * len(kept), "much more is kept than came"
    assert len(kept) <= length + 1
    for fact in facts:
        _fits(fact)
    for each in bad:
        quarantine.digest(each)
        storable([each.reason, each.origin, json.dumps(dict(each.note))])


def _fits(fact: Fact) -> None:
    storable([fact.call_id, fact.recorder, fact.located, *(v for v in fact.values.values() if isinstance(v, str))])
    assert "\\u0000" not in json.dumps(fact.attributes)
    try:
        staging.row(fact)
    except psycopg.DataError:
        return
    kept = unpack(pack(fact.element))
    assert kept == fact.element
    if fact.kind is Kind.ABSENT:
        return
    again = INTERPRETER.reread(fact.history or fact.kind, fact.recorder, fact.call_id, fact.observed_at, kept)
    came = (fact.call_id, fact.kind, fact.values, fact.quality)
    assert (again.call_id, again.kind, again.values, again.quality) == came, "what is kept of the call is not what came"


TARGETS = (
    Target("framing", framing, tuple(b"\x04" + each for each in STREAMS)),
    Target("messages", messages, DOCUMENTS),
    Target(
        "interpret",
        interpret,
        tuple(
            bytes([number % len(NOTES), second]) + each for number, each in enumerate(DOCUMENTS) for second in (0, 1)
        ),
    ),
    Target("metadata", metadata, DOCUMENTS),
)
