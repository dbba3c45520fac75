"""The requests we send, as bytes. Ids and numbers are escaped; UTF-8, with an XML declaration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lxml import etree

from etl.errors import UsageError
from etl.protocol.dialect import Dialect

_DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>\n'


def subscribe(request_id: str, extensions: Sequence[str], dialect: Dialect) -> bytes:
    """Ask for call events of these extensions, calling or called; of all calls when there are none.

    Raises UsageError for an extension that XML cannot carry.
    """
    numbers = ((dialect.extension, dialect.number_attribute, number) for number in extensions)
    return _request(dialect.subscribe_request, request_id, dialect, numbers)


def call_list(request_id: str, dialect: Dialect) -> bytes:
    """Ask for all calls that are being recorded."""
    return _request(dialect.list_request, request_id, dialect)


def call_detail(request_id: str, call_id: str, dialect: Dialect) -> bytes:
    """Ask for the full record of one call; `call_id` as the recorder wrote it."""
    return _request(dialect.detail_request, request_id, dialect, [(dialect.call, dialect.id_attribute, call_id)])


def probe(request_id: str, dialect: Dialect) -> bytes:
    """Ask for a sign of life."""
    return _request(dialect.probe_request, request_id, dialect)


def _request(type_: str, request_id: str, dialect: Dialect, parts: Iterable[tuple[str, str, str]] = ()) -> bytes:
    root = etree.Element(dialect.root)
    request = etree.SubElement(root, dialect.request)
    request.set(dialect.type_attribute, type_)
    request.set(dialect.id_attribute, request_id)
    for name, attribute, value in parts:
        try:
            etree.SubElement(request, name).set(attribute, value)
        except ValueError:
            raise UsageError(f"{name} {value!r}: holds a character that XML cannot carry") from None
    return _DECLARATION + etree.tostring(root, encoding="utf-8")
