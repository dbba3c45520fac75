"""What comes over HTTP: answers of the history, byte by byte and page by page, and requests to our own endpoints."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime, timedelta
from functools import cache
from io import BytesIO
from typing import Any
from unittest.mock import patch

import httpcore
import httpx
import structlog
from fuzz.law import Target
from fuzz.wire import DOCUMENTS, READER
from prometheus_client import CollectorRegistry, Counter

from etl.config import HistoryHttp
from etl.errors import HistoryError
from etl.history import http as module
from etl.history.http import HistoryClient, NotUnderstood
from etl.history.paging import Page, Unsettled, read_window
from etl.model import Interval, Record
from etl.protocol.history import Found
from etl.worker.endpoints import Endpoints, Readiness, RecorderLine, _Handler

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
WINDOW = Interval(NOON, NOON + timedelta(hours=1))
LIMIT = 20_000
"""Bytes of the largest answer that the client takes here."""
_HISTORY = HistoryHttp.model_validate(
    {"url": "http://h/api", "username": "auditor", "password": "hunter-2", "api_key": "k-e-y"}
)
_TRANSPORT = httpx.HTTPTransport(trust_env=False)


@cache
def _client() -> HistoryClient:
    """One client for all runs: each would read all certificates of this machine."""
    client = HistoryClient(_HISTORY, LIMIT, sleep=lambda _: None, now=lambda: NOON)
    client._exchange._client._transport = _TRANSPORT
    return client


def _answered(data: bytes) -> HistoryClient:
    """A client as new, whose connections give these bytes, each the same, whatever is asked."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))  # that a source fails is no news
    client = _client()
    client._token, client._basic = "", True
    _TRANSPORT._pool = httpcore.ConnectionPool(network_backend=httpcore.MockBackend([data]))
    return client


def http(data: bytes) -> None:
    """The history's answers, head and all: rows, or a documented error that does not tell our password."""
    client = _answered(data)
    try:
        with patch.object(module, "PAUSES", (1.0,)):  # each of these bytes again and again tells nothing new
            for number, page in enumerate(client.search(WINDOW)):
                READER.rows(page.found, NOON)
                assert number < 1000, "the reading never ends"
    except HistoryError as error:
        assert str(error).strip()
        assert "hunter-2" not in str(error)
        assert not isinstance(error, NotUnderstood) or len(error.quarantined.body) <= LIMIT


class _Pages:
    """A source whose answers are bytes: each byte is the length of a page, each byte of it a row; then it is empty."""

    def __init__(self, data: bytes) -> None:
        self._left = data
        self.asked = 0

    def ask(self, _first: int | None) -> Page:
        self.asked += 1
        length = self._left[0] % 4 if self._left else 0
        names, self._left = self._left[1 : 1 + length], self._left[1 + length :]
        return Page(NOON, Found(tuple(Record(str(each), "1", {}, {}, b"") for each in names)))


def paging(data: bytes) -> None:
    """Whatever a source answers, the reading ends not long after its rows do."""
    pages = _Pages(data)
    try:
        for _ in read_window(pages.ask, lambda _: None):
            pass
    except Unsettled as error:
        assert error.reason
    assert pages.asked <= len(data) + 30


# Our own endpoints -----------------------------------------------------------------------------------------------


def _endpoints() -> Endpoints:
    registry = CollectorRegistry()
    Counter("cdr_messages", "Messages", ["recorder"], registry=registry).labels("ny-1").inc()
    line = RecorderLine("ny-1", "subscribed", "2024-05-01 12:00:00", "<b>")
    return Endpoints("127.0.0.1:0", registry, lambda: Readiness(("why",), (line,), (("Database", "connected"),)))


_ENDPOINTS = _endpoints()


class _Server:
    """As much of a server as a request handler needs."""

    def __init__(self) -> None:
        self.base_environ = {"SERVER_NAME": "h", "SERVER_PORT": "1", "GATEWAY_INTERFACE": "CGI/1.1", "SCRIPT_NAME": ""}

    def get_app(self) -> Any:
        return _ENDPOINTS._answer


class _Socket:
    """A connection on which a stranger has sent everything already."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.sent = b""

    def makefile(self, *_: object) -> BytesIO:
        return BytesIO(self._data)

    def sendall(self, data: bytes) -> None:
        self.sent += data

    def settimeout(self, _: float) -> None:
        """As it is asked for."""


class _Quiet(_Handler):
    """A handler whose complaints are kept instead of printed."""

    def get_stderr(self) -> Any:
        self.complaints = getattr(self, "complaints", None) or _Complaints()
        return self.complaints


class _Complaints:
    def write(self, text: str) -> None:
        raise AssertionError(text)

    def flush(self) -> None:
        """Nothing is held back."""


def endpoints(data: bytes) -> None:
    """A stranger's request is answered, or its connection closed; no failure of ours stands behind the answer."""
    connection = _Socket(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _Quiet(connection, ("127.0.0.1", 1), _Server())  # type: ignore[arg-type]
    status = connection.sent[:13]
    assert not status.startswith((b"HTTP/1.0 500", b"HTTP/1.1 500"))


def _head(body: bytes, more: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n%s" % (len(body), more, body)


_SEARCH = next(each for each in DOCUMENTS if b"verbacdr" in each and b"Response" in each)
_TOKEN = next(each for each in DOCUMENTS if b"token" in each)
_GET = b"GET %s HTTP/1.1\r\nHost: h\r\nAccept: %s\r\n\r\n"

TARGETS = (
    Target(
        "http",
        http,
        (
            _head(_SEARCH),
            _head(_TOKEN),
            _head(b"<VerbaApi><Response code='0' token='t'><rows/></Response></VerbaApi>"),
            _head(b"<VerbaApi><Response code='-43'><ErrorMessage>expired</ErrorMessage></Response></VerbaApi>"),
            _head(b"<html>hunter-2</html>", b"Content-Type: text/html\r\n"),
            b"HTTP/1.1 429 Busy\r\nRetry-After: Wed, 01 May 2024 12:00:30 GMT\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 302 Found\r\nLocation: /login?x=y\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n<a/>\n\r\n0\r\n\r\n",
        ),
        (
            b"Retry-After: ", b"Content-Encoding: gzip\r\n", b"Content-Encoding: gzip, gzip\r\n",
            b"Content-Encoding: br\r\n",
            b"Content-Length: 99999999999999999999\r\n", b"Transfer-Encoding: chunked\r\n",
            b"Content-Type: text/xml; charset=x\r\n",
            b"Location: http://[\r\n", b"Set-Cookie: a=b\r\n", b"HTTP/1.1 999 ", b"HTTP/1.1 100 Continue\r\n\r\n",
            b"\r\n", b"code='-40'",
            b"code='-50'", b"code='x'", b"code='" + b"9" * 5000 + b"'", b"token=' '",
            b"Mon, 01 Jan 2024 00:00:00 +99999999999",
            b"Mon, 01 Jan 99999999999999 00:00:00 GMT", b"hunter-2", b"k-e-y", b"<token>t</token>", b"<rows>",
            b"</rows>",
        ),
    ),
    Target("paging", paging, (b"\x02ab\x02bc\x02cd\x01d", b"\x01a\x01b\x01c\x00\x01a\x01b\x01c\x00", b"\x03abc\x00")),
    Target(
        "endpoints",
        endpoints,
        (
            *(_GET % (path, b"*/*") for path in (b"/", b"/metrics", b"/healthz", b"/readyz", b"/none")),
            _GET % (b"/metrics?name[]=cdr_messages_total", b"application/openmetrics-text; version=1.0.0; q=0.5"),
            b"POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello",
        ),
        (
            b"/metrics", b"/readyz", b"?name[]=", b"%00", b"%ff", b"\xff", b"\r\n", b"Accept: ",
            b"application/openmetrics-text",
            b"; version=", b"; q=", b"; charset=", b"; escaping=", b"Accept-Encoding: gzip", b"text/plain",
            b"HTTP/9.9", b"HEAD ",
            b"Content-Length: -1", b"Content-Length: x", b"Host: ", b"Expect: 100-continue", b" ", b"\0", b"a" * 300,
        ),
    ),
)  # fmt: skip
