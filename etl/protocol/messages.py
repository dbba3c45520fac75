"""Document -> messages: what the recorder says, under a dialect, without knowing what was asked.

`read` is total: what cannot be placed comes out as `Unplaced`, for quarantine. What a response answers is
known only by its id (the vendor documents that its `type` can differ); see `etl.protocol.answers`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from lxml import etree

from etl import heap
from etl.model import Kind, Record
from etl.protocol.dialect import Dialect
from etl.protocol.records import BadRecord, local_name, own_text, read_call, read_record

LONGEST_KEEPALIVE = 86_400.0
"""Seconds; a longer announced interval is taken for a mistake: it would switch the proof of life off."""

LONG = 10_000
"""Calls from which on a list is used up while it is read, in portions of so many."""

_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?")


@dataclass(frozen=True, slots=True)
class Notification:
    """Calls that started (`Kind.START`) or ended (`Kind.END`); `bad` holds those without an id."""

    kind: Kind
    records: tuple[Record, ...]
    bad: tuple[BadRecord, ...]


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """The recorder lives; the next keep-alive follows within `seconds`, times 1.5 at most."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Response:
    """An answer to the request `request_id`, whatever that was.

    `calls` are its Call elements, `details` its full records, `bad` those of either without an id. `strange`
    names what nobody knows in it, so that an answer of unknown shape is never taken for an empty one.
    `keepalive` is in seconds.
    """

    request_id: str | None
    code: str
    ok: bool
    keepalive: float | None
    calls: tuple[Record, ...]
    details: tuple[Record, ...]
    bad: tuple[BadRecord, ...]
    error: str | None
    unknown_call: bool
    strange: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unplaced:
    """Well-formed, but not understood. `reason` is a machine word, `detail` names the element or value."""

    reason: str
    detail: str = ""


_Parts: TypeAlias = dict[str, list[etree._Element]]
Message: TypeAlias = Notification | KeepAlive | Response | Unplaced


def read(root: etree._Element, dialect: Dialect) -> tuple[Message, ...]:
    """All messages of one document, in order; at least one. The tree of a long list is used up by it."""
    if local_name(root) != dialect.root:
        return (Unplaced("unknown_root", local_name(root)),)
    error = _error_of(root, dialect)
    found: list[Message] = []
    for child in root:
        found += _read_child(child, error, dialect)
    if not found:
        found.append(Unplaced("error_without_response", error.text) if error.text else Unplaced("empty"))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Error:
    """What all error messages of a document say, for every response in it: read once, for both can be many.
    `unknown_call`: it says that a call is not known."""

    text: str
    unknown_call: bool


def _read_child(element: etree._Element, error: _Error, dialect: Dialect) -> Iterable[Message]:
    name = local_name(element)
    if name == dialect.notification:
        return _notification(element, dialect)
    if name == dialect.response:
        return (_response(element, error, dialect),)
    if name in ("", dialect.error):
        return ()  # an error message is read with the response beside it
    return (Unplaced("unknown_message", name),)


def _notification(element: etree._Element, dialect: Dialect) -> list[Message]:
    type_ = _attribute(element, dialect.type_attribute)
    kind = {dialect.call_start: Kind.START, dialect.call_end: Kind.END}.get(type_)
    if kind is None:
        return [Unplaced("unknown_notification", type_)]
    parts = _parts(element)
    records, bad = _records(parts.pop(dialect.call, []), read_call, dialect)
    strange = [Unplaced("unknown_in_notification", name) for name in sorted(parts)]
    if not records and not bad:
        return [*strange] or [Unplaced("notification_without_call", type_)]
    return [Notification(kind, records, bad), *strange]


def _response(element: etree._Element, error: _Error, dialect: Dialect) -> KeepAlive | Response | Unplaced:
    code = _attribute(element, dialect.code_attribute)
    parts = _parts(element)
    request_id = _request_id(element, parts, dialect)
    if set(parts) == {dialect.keepalive} and request_id is None and code in ("", dialect.success_code):
        return _keepalive(parts[dialect.keepalive][0], dialect)
    if not code:
        return Unplaced("response_without_code")
    return _answer(parts, request_id, code, error, dialect)


def _keepalive(element: etree._Element, dialect: Dialect) -> KeepAlive | Unplaced:
    seconds = _interval(element, dialect)
    if seconds is None:
        return Unplaced("bad_keepalive", _attribute(element, dialect.keepalive_attribute))
    return KeepAlive(seconds)


def _answer(parts: _Parts, request_id: str | None, code: str, error: _Error, dialect: Dialect) -> Response:
    calls, bad_calls = _records(parts.get(dialect.call, []), read_call, dialect)
    details, bad_details = _records(parts.get(dialect.record, []), read_record, dialect)
    alive = next(iter(parts.get(dialect.keepalive, ())), None)
    seconds = None if alive is None else _interval(alive, dialect)
    strange = set(parts) - {dialect.request, dialect.keepalive, dialect.error, dialect.call, dialect.record}
    if alive is not None and seconds is None:
        strange.add(dialect.keepalive)
    ok = code == dialect.success_code
    bad, unknown, told = bad_calls + bad_details, not ok and error.unknown_call, error.text or None
    return Response(request_id, code, ok, seconds, calls, details, bad, told, unknown, tuple(sorted(strange)))


def _request_id(element: etree._Element, parts: _Parts, dialect: Dialect) -> str | None:
    """The id that the echoed request carries, else the one on the response itself (documented for failures)."""
    holders = (*parts.get(dialect.request, ()), element)
    return next((found for holder in holders if (found := _attribute(holder, dialect.id_attribute))), None)


def _interval(element: etree._Element, dialect: Dialect) -> float | None:
    """Seconds until the next keep-alive; None where the value makes no sense."""
    text = _attribute(element, dialect.keepalive_attribute)
    seconds = float(text) * dialect.keepalive_unit if _NUMBER.fullmatch(text) else 0.0
    return seconds if 0 < seconds <= LONGEST_KEEPALIVE else None


def _records(
    elements: list[etree._Element],
    read_one: Callable[[etree._Element, Dialect], Record | BadRecord],
    dialect: Dialect,
) -> tuple[tuple[Record, ...], tuple[BadRecord, ...]]:
    long = len(elements) >= LONG
    found = [read_one(element, dialect) for element in (_used_up(elements) if long else elements)]
    good = tuple(record for record in found if isinstance(record, Record))
    return good, tuple(record for record in found if isinstance(record, BadRecord))


def _used_up(elements: list[etree._Element]) -> Iterator[etree._Element]:
    """The elements, each removed from its tree when the next is asked for: the tree of a long list and its records
    need not fit into memory side by side."""
    elements.reverse()
    while elements:
        element = elements.pop()
        yield element
        if (parent := element.getparent()) is not None:
            parent.remove(element)
        if len(elements) % LONG == 0:
            heap.give_back()


def _error_of(root: etree._Element, dialect: Dialect) -> _Error:
    """What the error messages anywhere in the document say: description and text."""
    found = []
    for element in root.iter(f"{{*}}{dialect.error}"):
        parts = (_attribute(element, dialect.description_attribute), own_text(element))
        found.append(": ".join(part for part in parts if part))
    text = "; ".join(filter(None, found))
    return _Error(text, bool(text) and re.search(dialect.unknown_call_pattern, text, re.IGNORECASE) is not None)


def _parts(parent: etree._Element) -> _Parts:
    """The children by name; loose text stands under `#text`."""
    parts: _Parts = {"#text": [parent]} if own_text(parent) else {}
    for child in parent:
        if name := local_name(child):
            parts.setdefault(name, []).append(child)
    return parts


def _attribute(element: etree._Element, name: str) -> str:
    return (element.get(name) or "").strip()
