"""Document -> messages: what the recorder says, under a dialect, without knowing what was asked.

`read` is total: what cannot be placed comes out as `Unplaced`, for quarantine. What a response answers is
known only by its id (the vendor documents that its `type` can differ); see `etl.protocol.answers`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from lxml import etree

from etl.model import Kind, Record
from etl.protocol.dialect import Dialect
from etl.protocol.records import BadRecord, local_name, own_text, read_call, read_record

LONGEST_KEEPALIVE = 86_400.0
"""Seconds; a longer announced interval is taken for a mistake: it would switch the proof of life off."""

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


Message: TypeAlias = Notification | KeepAlive | Response | Unplaced


def read(root: etree._Element, dialect: Dialect) -> tuple[Message, ...]:
    """All messages of one document, in order; at least one."""
    if local_name(root) != dialect.root:
        return (Unplaced("unknown_root", local_name(root)),)
    errors = _texts_of_errors(root, dialect)
    found: list[Message] = []
    for child in _elements(root):
        found += _read_child(child, errors, dialect)
    if not found:
        found.append(Unplaced("error_without_response", "; ".join(errors)) if errors else Unplaced("empty"))
    return tuple(found)


def _read_child(element: etree._Element, errors: list[str], dialect: Dialect) -> Iterable[Message]:
    name = local_name(element)
    if name == dialect.notification:
        return _notification(element, dialect)
    if name == dialect.response:
        return (_response(element, errors, dialect),)
    if name == dialect.error:
        return ()  # read with the response beside it
    return (Unplaced("unknown_message", name),)


def _notification(element: etree._Element, dialect: Dialect) -> list[Message]:
    type_ = (element.get(dialect.type_attribute) or "").strip()
    kind = {dialect.call_start: Kind.START, dialect.call_end: Kind.END}.get(type_)
    if kind is None:
        return [Unplaced("unknown_notification", type_)]
    strange = [Unplaced("unknown_in_notification", name) for name in _strange(element, {dialect.call})]
    records, bad = _records(element, dialect.call, read_call, dialect)
    if not records and not bad:
        return [*strange] or [Unplaced("notification_without_call", type_)]
    return [Notification(kind, records, bad), *strange]


def _response(element: etree._Element, errors: list[str], dialect: Dialect) -> KeepAlive | Response | Unplaced:
    code = (element.get(dialect.code_attribute) or "").strip()
    request_id = _request_id(element, dialect)
    names = [local_name(child) for child in _elements(element)]
    alive = element.find(f"{{*}}{dialect.keepalive}")
    if names == [dialect.keepalive] and request_id is None and code in ("", dialect.success_code):
        return _keepalive(alive, dialect)
    if not code:
        return Unplaced("response_without_code")
    return _answer(element, request_id, code, errors, dialect)


def _keepalive(element: etree._Element | None, dialect: Dialect) -> KeepAlive | Unplaced:
    seconds = _interval(element, dialect)
    if seconds is None:
        given = "" if element is None else element.get(dialect.keepalive_attribute) or ""
        return Unplaced("bad_keepalive", given)
    return KeepAlive(seconds)


def _answer(
    element: etree._Element, request_id: str | None, code: str, errors: list[str], dialect: Dialect
) -> Response:
    calls, bad_calls = _records(element, dialect.call, read_call, dialect)
    details, bad_details = _records(element, dialect.record, read_record, dialect)
    alive = element.find(f"{{*}}{dialect.keepalive}")
    seconds = _interval(alive, dialect)
    strange = _strange(element, {dialect.request, dialect.keepalive, dialect.error, dialect.call, dialect.record})
    if alive is not None and seconds is None:
        strange = (*strange, dialect.keepalive)
    ok = code == dialect.success_code
    error = "; ".join(errors) or None
    unknown = not ok and re.search(dialect.unknown_call_pattern, error or "", re.IGNORECASE) is not None
    bad = bad_calls + bad_details
    return Response(request_id, code, ok, seconds, calls, details, bad, error, unknown, strange)


def _request_id(element: etree._Element, dialect: Dialect) -> str | None:
    """The id that the request echoed inside carries, else the one on the response itself (documented for failures)."""
    echo = element.find(f"{{*}}{dialect.request}")
    for holder in (echo, element):
        if holder is not None and (found := (holder.get(dialect.id_attribute) or "").strip()):
            return found
    return None


def _interval(element: etree._Element | None, dialect: Dialect) -> float | None:
    """Seconds until the next keep-alive; None without one, or where the value makes no sense."""
    text = "" if element is None else (element.get(dialect.keepalive_attribute) or "").strip()
    seconds = float(text) * dialect.keepalive_unit if _NUMBER.fullmatch(text) else 0.0
    return seconds if 0 < seconds <= LONGEST_KEEPALIVE else None


def _records(
    parent: etree._Element,
    name: str,
    read_one: Callable[[etree._Element, Dialect], Record | BadRecord],
    dialect: Dialect,
) -> tuple[tuple[Record, ...], tuple[BadRecord, ...]]:
    good: list[Record] = []
    bad: list[BadRecord] = []
    for child in _elements(parent):
        if local_name(child) == name:
            found = read_one(child, dialect)
            good.append(found) if isinstance(found, Record) else bad.append(found)
    return tuple(good), tuple(bad)


def _strange(parent: etree._Element, known: set[str]) -> tuple[str, ...]:
    names = {local_name(child) for child in _elements(parent)} - known
    return (*sorted(names), *(("#text",) if own_text(parent) else ()))


def _texts_of_errors(root: etree._Element, dialect: Dialect) -> list[str]:
    """What the error messages anywhere in the document say: description and text."""
    found = []
    for element in root.iter(f"{{*}}{dialect.error}"):
        parts = ((element.get(dialect.description_attribute) or "").strip(), own_text(element))
        found.append(": ".join(part for part in parts if part))
    return [text for text in found if text]


def _elements(parent: etree._Element) -> list[etree._Element]:
    return [child for child in parent if isinstance(child.tag, str)]
