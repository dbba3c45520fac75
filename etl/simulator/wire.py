"""The recorder's documents as bytes, from templates of the simulator's own.

The shapes follow sections 1 to 5 of the protocol notes; the style decides how the same content is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

from etl.simulator.calls import Fields, FieldValue
from etl.simulator.config import PLAIN, WireStyle

AS_PRINTED_BY_THE_VENDOR: tuple[bytes, ...] = (
    b'<VerbaApi><Response code="0""><Request type="SubscribeOnCallEvent" id="1"/><Keepalive time="10"/>'
    b"</Response></VerbaApi>",
    b'<?xml version="1.0" encoding="UTF-8"?>\n<VerbaApi><Response code="2" type="GetManagementSummary" id="9"/>'
    b'<ErrorMessage description="Processing Error">Escaped text</ErrorMessage></Response></VerbaApi>',
    b'<VerbaApi><Response code="0"><verbacdr state="1"><direction_id>0</diection_id></verbacdr></Response></VerbaApi>',
)
"""Documents that are not well-formed, as the vendor's own pages have them."""

GARBAGE: tuple[bytes, ...] = (
    b"ERROR 17: event queue overflow\r\n",
    b"\x00\x00\x00\x07\xff\xfe garbled \xc3\x28",
    b"<html><body>502 Bad Gateway</body></html>",
    b"]]> --> &nbsp; > / </Response>",
)
"""Bytes that belong to no document."""

HALF_A_DOCUMENT = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<VerbaApi><Notification type="CallStart">'
    b'<Call id="00000000-0000-1000-8000-000000000000"><source_caller_id>10'
)
"""The beginning of a notification of a call that does not exist."""


class Wire:
    """Writes documents in one style."""

    def __init__(self, style: WireStyle = PLAIN) -> None:
        """`style` holds for all documents of this writer."""
        self._style = style
        self._quote = "'" if style.single_quotes else '"'
        self._between = "\n  " if style.pretty else ""
        comment = "<!-- no end: </VerbaApi> -->" if style.comments else ""
        self._head = f"{self._declaration()}<VerbaApi>{self._between}{comment}"
        self._tail = f"{self._between}</VerbaApi >\r\n\t" if style.loose else f"{self._between}</VerbaApi>"

    def notification(self, event: str, call_id: str, fields: Mapping[str, str]) -> bytes:
        """A call's start or end: `event` is the notification's type."""
        call = self._call(call_id, fields)
        return self._document(self._element("Notification", {"type": event}, [call]))

    def subscribed(self, request_id: str | None, keepalive: float) -> bytes:
        """The answer to a subscription; `keepalive` in seconds, 0 announces none."""
        beat = [self._element("Keepalive", {"time": f"{keepalive:g}"})] if keepalive else []
        return self._response("SubscribeOnCallEvent", request_id, beat)

    def keepalive(self, seconds: float) -> bytes:
        """A keep-alive that announces the next one."""
        beat = self._element("Keepalive", {"time": f"{seconds:g}"})
        return self._document(self._element("Response", {"code": "0"}, [beat]))

    def call_list(self, request_id: str | None, calls: Iterable[tuple[str, Mapping[str, str]]]) -> bytes:
        """The answer to a list request: each call's id and fields."""
        return self._response("GetCallList", request_id, [self._call(call_id, fields) for call_id, fields in calls])

    def detail(self, request_id: str | None, state: str, call_id: str, fields: Fields) -> bytes:
        """The answer to a detail request."""
        return self._response("GetCallDetails", request_id, [self.record(state, {"ccdr_id": call_id, **fields})])

    def error(self, request_type: str, request_id: str | None, code: int, description: str, text: str) -> bytes:
        """A failure."""
        message = self._element("ErrorMessage", {"description": description}, [self._text(text)])
        return self._response(request_type, request_id, [message], code)

    def metadata_file(self, call_id: str, fields: Fields) -> bytes:
        """The content of a metadata file."""
        body = self.record("1", {"id": call_id, **fields})
        return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'.encode()

    def token(self, token: str) -> bytes:
        """The HTTP answer that holds a token."""
        return self._document(self._element("Response", {"code": "0", "type": "RequestToken", "token": token}))

    def search_result(self, records: list[str]) -> bytes:
        """The HTTP answer to a search; `records` as `record` writes them."""
        rows = self._element("verbacdrlist", {"rowcount": str(len(records))}, records)
        return self._document(self._element("Response", {"code": "0", "type": "SearchCalls"}, [rows]))

    def http_error(self, action: str, code: int, text: str) -> bytes:
        """An HTTP failure: a negative code."""
        message = self._element("ErrorMessage", {"description": text}, [self._text(text)])
        return self._document(self._element("Response", {"code": str(code), "type": action}, [message]))

    def record(self, state: str, fields: Fields) -> str:
        """A call detail record, without a document around it."""
        return self._element("verbacdr", {"state": state}, [self._field(*item) for item in fields.items()])

    def _declaration(self) -> str:
        quote = self._quote
        mark = "\ufeff" if self._style.bom else ""
        if not self._style.declaration:
            return mark
        return f"{mark}<?xml version={quote}1.0{quote} encoding={quote}UTF-8{quote}?>\n"

    def _document(self, body: str) -> bytes:
        return f"{self._head}{body}{self._tail}".encode()

    def _response(self, request_type: str, request_id: str | None, children: list[str], code: int = 0) -> bytes:
        request = {"type": request_type} if request_id is None else {"type": request_type, "id": request_id}
        echo = self._element("Request", request)
        return self._document(self._element("Response", {"code": str(code)}, [echo, *children]))

    def _call(self, call_id: str, fields: Mapping[str, str]) -> str:
        if self._style.attributes:
            return self._element("Call", {"id": call_id, **fields})
        return self._element("Call", {"id": call_id}, [self._field(*item) for item in fields.items()])

    def _field(self, name: str, value: FieldValue) -> str:
        if isinstance(value, str):
            return f"<{name}>{self._text(value)}</{name}>"
        if isinstance(value, list):
            return self._between.join(self._field(name, item) for item in value)
        return self._element(name, {}, [self._field(*item) for item in value.items()])

    def _element(self, name: str, attributes: Mapping[str, str], children: Iterable[str] = ()) -> str:
        quote = self._quote
        listed = "".join(f" {key}={quote}{escape(value)}{quote}" for key, value in attributes.items())
        inner = self._between.join(children)
        return f"<{name}{listed}>{inner}</{name}>" if inner else f"<{name}{listed}/>"

    def _text(self, text: str) -> str:
        if self._style.cdata and "]]>" not in text:
            return f"<![CDATA[{text}]]>"
        return escape(text)
