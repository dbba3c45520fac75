"""Documents of the history -> records: metadata files, and answers of the HTTP API.

Where a record stands in a document is not documented: the root may be one, or hold one, at any depth (section 5
of the protocol). So records are found by what they are, not by where they stand.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

from lxml import etree

from etl.model import Record
from etl.protocol.dialect import Dialect
from etl.protocol.records import BadRecord, attributes, local_name, own_text, read_record

_UUID = re.compile(r"\{?[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\}?", re.IGNORECASE)
_TOKEN = "token"  # noqa: S105 - the name of an attribute

Name: TypeAlias = str | bytes


@dataclass(frozen=True, slots=True)
class Found:
    """The records of a document, and what looks like one but has no id, in order. Empty: there is none in it."""

    rows: tuple[Record | BadRecord, ...] = ()

    @property
    def records(self) -> tuple[Record, ...]:
        """Those that have an id."""
        return tuple(each for each in self.rows if isinstance(each, Record))

    @property
    def bad(self) -> tuple[BadRecord, ...]:
        """Those that have none."""
        return tuple(each for each in self.rows if isinstance(each, BadRecord))

    @property
    def names(self) -> tuple[Name, ...]:
        """What tells the rows apart: their ids, and of those without one their bytes."""
        return tuple(each.call_id if isinstance(each, Record) else each.element for each in self.rows)


@dataclass(frozen=True, slots=True)
class Failure:
    """An answer that is none. `code` is the API's own, None where the answer is not understood; `text` for the user;
    `reason` a machine word for what is not understood."""

    code: int | None
    text: str
    reason: str = "not_understood"


def find_records(root: etree._Element, dialect: Dialect) -> Found:
    """Every record of a document in order, outermost ones only: elements that are called like one, else holders.

    A holder has an id, and a field of ours or `ccdr_id` beside it. Where there is none, a UUID as the id is enough.
    Other XML has ids too: nothing of all that, and there is no record in it.
    """
    return _read(_called(root, dialect.record) or _holders(_elements(root, dialect), dialect), dialect)


def read_search(root: etree._Element, dialect: Dialect) -> Found | Failure:
    """The rows of a search, wherever they stand. An answer without rows is one only if it says that it succeeded.

    What has fields of ours but no id comes out as bad: a row of unknown shape must not look like no row.
    """
    response = _response(root, dialect)
    if isinstance(response, Failure):
        return response
    if called := _called(root, dialect.record):
        return _read(called, dialect)
    inside = [each for each in _elements(root, dialect) if each is not root and each is not response]
    return _read(_holders(inside, dialect) or _nameless(inside, dialect), dialect)


def read_token(root: etree._Element, dialect: Dialect) -> str | Failure:
    """The token of a login."""
    response = _response(root, dialect)
    if isinstance(response, Failure):
        return response
    found = (each.get(_TOKEN) or (own_text(each) if local_name(each) == _TOKEN else "") for each in response.iter())
    return next((token.strip() for token in found if token and token.strip()), Failure(None, "the answer has no token"))


def _response(root: etree._Element, dialect: Dialect) -> etree._Element | Failure:
    """The element that says whether it succeeded, if it did."""
    response = next(iter(_called(root, dialect.response)), None)
    if response is None:
        return Failure(None, f"the answer holds no {dialect.response} (its root is {local_name(root)!r})")
    code = (response.get(dialect.code_attribute) or "").strip()
    if code == dialect.success_code:
        return response
    try:
        number = int(code)
    except ValueError:
        return Failure(None, f"the answer's code is {code!r}, which is no number")
    return Failure(number, _error_text(root, dialect) or "no reason given")


def _error_text(root: etree._Element, dialect: Dialect) -> str:
    texts = (own_text(each) or (each.get(dialect.description_attribute) or "") for each in _called(root, dialect.error))
    return next((text.strip() for text in texts if text.strip()), "")


def _read(elements: list[etree._Element], dialect: Dialect) -> Found:
    return Found(tuple([read_record(each, dialect) for each in _outermost(elements)]))


def _elements(root: etree._Element, dialect: Dialect) -> list[etree._Element]:
    """What can hold something, in order; not the echo of a request, whose id is not a call's."""
    echoed = {each for echo in _called(root, dialect.request) if echo is not root for each in echo.iter("*")}
    return [each for each in root.iter("*") if (len(each) or each.keys()) and each not in echoed]


def _holders(elements: list[etree._Element], dialect: Dialect) -> list[etree._Element]:
    """The elements that a record's id and fields stand in, whatever they are called."""
    sure: list[etree._Element] = []
    likely: list[etree._Element] = []
    for each in elements:
        held = _held(each)
        ids = [held[name] for name in dialect.id_names if name in held]
        if ids and (dialect.id_names[0] in held or not dialect.known_fields.keys().isdisjoint(held)):
            sure.append(each)
        elif any(_UUID.fullmatch(text) for text in ids):
            likely.append(each)
    return sure or likely


def _nameless(elements: list[etree._Element], dialect: Dialect) -> list[etree._Element]:
    """What holds several fields of ours."""
    return [each for each in elements if len(dialect.known_fields.keys() & _held(each).keys()) > 1]


def _held(element: etree._Element) -> dict[str, str]:
    """The texts that stand in an element, as attributes or as children, by name."""
    texts = [(local_name(child), own_text(child)) for child in element if not len(child)]
    texts += [(key.rpartition("}")[2], value.strip()) for key, value in attributes(element)]
    return {name: text for name, text in reversed(texts) if text}


def _called(root: etree._Element, name: str) -> list[etree._Element]:
    """The elements of this name in any namespace, in order; the root alone where it has the name, as in most files."""
    return [root] if local_name(root) == name else list(root.iter(f"{{*}}{name}"))


def _outermost(elements: list[etree._Element]) -> list[etree._Element]:
    """Those that stand inside none of the others; `elements` in the order of the document."""
    if len(elements) < 2:
        return elements
    chosen: dict[etree._Element, None] = {}
    for each in elements:
        if not any(above in chosen for above in each.iterancestors()):
            chosen[each] = None
    return list(chosen)
