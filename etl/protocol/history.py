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
from etl.protocol.records import BadRecord, local_name, own_text, read_record

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
    """An answer that is none. `code` is the API's own, None where the answer is not understood; `text` for the user."""

    code: int | None
    text: str


def find_records(root: etree._Element, dialect: Dialect) -> Found:
    """Every record of a document, outermost first: elements that are called like one, else those that hold an id.

    An element that only has an `id` is a record if that is a UUID or one of our fields stands beside it: other XML
    has ids too.
    """
    elements = _called(root, dialect.record) or _holders(root, dialect)
    return Found(tuple(read_record(each, dialect) for each in _outermost(elements)))


def read_search(root: etree._Element, dialect: Dialect) -> Found | Failure:
    """The rows of a search. An answer without rows is one only if it says that it succeeded."""
    response = _response(root, dialect)
    if isinstance(response, Failure):
        return response
    for echo in [each for each in response if local_name(each) == dialect.request]:
        response.remove(echo)
    return find_records(response, dialect)


def read_token(root: etree._Element, dialect: Dialect) -> str | Failure:
    """The token of a login."""
    response = _response(root, dialect)
    if isinstance(response, Failure):
        return response
    found = (each.get(_TOKEN) or (own_text(each) if local_name(each) == _TOKEN else "") for each in response.iter())
    return next((token.strip() for token in found if token and token.strip()), Failure(None, "the answer has no token"))


def _response(root: etree._Element, dialect: Dialect) -> etree._Element | Failure:
    """The element that says whether it succeeded, if it did."""
    response = next((each for each in root.iter() if local_name(each) == dialect.response), None)
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
    for each in root.iter():
        if local_name(each) == dialect.error and (
            text := own_text(each) or (each.get(dialect.description_attribute) or "").strip()
        ):
            return text
    return ""


def _holders(root: etree._Element, dialect: Dialect) -> list[etree._Element]:
    """The elements that a record's id and fields stand in, whatever they are called."""
    return [each for each in root.iter() if isinstance(each.tag, str) and _holds_record(each, dialect)]


def _holds_record(element: etree._Element, dialect: Dialect) -> bool:
    children = {local_name(child): own_text(child) for child in element if not len(child)}
    attributes = {str(key).rpartition("}")[2]: str(value).strip() for key, value in element.items()}
    held = {**attributes, **children}
    ids = [held[name] for name in dialect.id_names if held.get(name)]
    sure = dialect.id_names[0] in children or any(_UUID.fullmatch(each) for each in ids)
    return bool(ids) and (sure or not dialect.known_fields.keys().isdisjoint(held))


def _called(root: etree._Element, name: str) -> list[etree._Element]:
    """The elements of this name in any namespace, in the order of the document."""
    return list(root.iter(f"{{*}}{name}"))


def _outermost(elements: list[etree._Element]) -> list[etree._Element]:
    """Those that stand inside none of the others; `elements` in the order of the document."""
    chosen: dict[etree._Element, None] = {}
    for each in elements:
        if not any(above in chosen for above in each.iterancestors()):
            chosen[each] = None
    return list(chosen)
