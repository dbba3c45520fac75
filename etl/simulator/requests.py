"""Reads a client's requests, as tolerant as it can: whatever is not understood gets an answer that says so."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lxml import etree

_END = re.compile(rb"</VerbaApi\s*>|<VerbaApi[^<>]*/>")
LIMIT = 1024 * 1024
"""Bytes; a request that is longer ends its connection."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request: its type and id as sent, the numbers of a filter, the call that is asked for."""

    type: str
    id: str | None
    extensions: tuple[str, ...] = ()
    call_id: str | None = None


@dataclass(frozen=True, slots=True)
class BadRequest:
    """A document that is no request, and why."""

    reason: str


class RequestReader:
    """Cuts the bytes of one connection into requests."""

    def __init__(self) -> None:
        """Starts with nothing read."""
        self._waiting = bytearray()

    @property
    def waiting(self) -> int:
        """Bytes of a request that is not whole yet."""
        return len(self._waiting)

    def feed(self, data: bytes) -> list[Request | BadRequest]:
        """The requests that `data` makes whole."""
        self._waiting += data
        found: list[Request | BadRequest] = []
        while end := _END.search(self._waiting):
            found.append(_read(bytes(self._waiting[: end.end()])))
            del self._waiting[: end.end()]
        return found


def _read(document: bytes) -> Request | BadRequest:
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    try:
        root = etree.fromstring(document.strip(), parser)
    except etree.XMLSyntaxError as error:
        return BadRequest(f"not well-formed: {error}")
    request = root.find("Request")
    if request is None:
        return BadRequest("no Request in it")
    call = request.find("Call")
    return Request(
        type=request.get("type", ""),
        id=request.get("id"),
        extensions=tuple(item.get("number", "") for item in request.findall("Extension")),
        call_id=None if call is None else call.get("id"),
    )
