"""An HTTP history that a test plays by hand: it pages, and misbehaves as it is told."""

from __future__ import annotations

import base64
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeAlias
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from etl.config import HistoryHttp

Form: TypeAlias = dict[str, str]


@dataclass(frozen=True)
class Row:
    """A finished call as the history shows it; times in UTC, as it writes them."""

    call_id: str
    start: datetime
    end: datetime
    fields: dict[str, str] = field(default_factory=dict)

    @property
    def xml(self) -> str:
        shown = {"ccdr_id": self.call_id, "start_time": text(self.start), "end_time": text(self.end), **self.fields}
        return "<verbacdr state='1'>" + "".join(f"<{k}>{escape(v)}</{k}>" for k, v in shown.items()) + "</verbacdr>"


def rows_from(start: datetime, count: int, name: str = "call") -> list[Row]:
    """Calls that start one second after the other."""
    starts = [start + timedelta(seconds=each) for each in range(count)]
    return [Row(f"{name}-{number}", each, each + timedelta(minutes=1)) for number, each in enumerate(starts)]


def text(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(sep=" ", timespec="milliseconds")


def document(inside: str, code: int = 0) -> bytes:
    return f'<VerbaApi><Response code="{code}">{inside}</Response></VerbaApi>'.encode()


def failure(code: int, told: str) -> bytes:
    return document(f"<ErrorMessage description='{told}'>{told}</ErrorMessage>", code)


@dataclass
class Reply:
    """An answer as it goes over the wire. `pieces` are sent one after the other, `pause` seconds apart."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    pieces: Iterator[bytes] | None = None
    pause: float = 0.0


class Site:
    """What the history holds, and how it behaves.

    `before` is called with each search before it is answered: it may change `rows`, and its reply, if it gives one,
    goes out instead. `cap`: no page is longer. `overlap`: the window selects calls that overlap it, not those that
    start in it. `first`: the number of the first row. `tenant`: with False every answer is empty and happy.
    `pages`: with False it gives the same page for ever. `forget_at`: at these searches the token has expired.
    """

    def __init__(self, *rows: Row, cap: int = 1000, username: str = "", password: str = "", key: str = "") -> None:
        self.rows = list(rows)
        self.cap = cap
        self.username, self.password, self.key = username, password, key
        self.basic = True
        self.wants_token = bool(username)
        self.overlap = False
        self.first = 1
        self.tenant = True
        self.pages = True
        self.forget_at: set[int] = set()
        self.tokens: set[str] = set()
        self.issued = 0
        self.token_replies: list[Reply] = []
        self.before: Callable[[Form], Reply | None] = lambda form: None
        self.asked: list[Form] = []
        self.logins: list[str | None] = []

    @property
    def searches(self) -> list[Form]:
        return [form for form in self.asked if form["action"] == "SearchCalls"]

    @property
    def requested_tokens(self) -> int:
        return len(self.asked) - len(self.searches)

    def reply(self, form: Form, login: str | None) -> Reply:
        self.asked.append(form)
        self.logins.append(login)
        if self.key and form.get("apiKey") != self.key:
            return Reply(failure(-41, f"Wrong API key {form.get('apiKey')}"))
        if form["action"] == "RequestToken":
            return self.token_replies.pop(0) if self.token_replies else self._token(form, login)
        if len(self.searches) in self.forget_at and form["action"] == "SearchCalls":
            self.tokens.clear()
        if self.wants_token and form.get("token") not in self.tokens:
            return Reply(failure(-43, "Token expired") if form.get("token") else failure(-42, "Login required"))
        return self.before(form) or Reply(document(f"<rows>{self.page(form)}</rows>"))

    def _token(self, form: Form, login: str | None) -> Reply:
        given = login if self.basic else f"{form.get('userName')}:{form.get('password')}"
        if self.username and given != f"{self.username}:{self.password}":
            return Reply(failure(-40, "Wrong login"))
        self.issued += 1
        self.tokens = {f"token-{self.issued}"}
        return Reply(f'<VerbaApi><Response code="0" token="token-{self.issued}"/></VerbaApi>'.encode())

    def page(self, form: Form) -> str:
        """The rows of a page; equal starts stay in the order of `rows`."""
        start, end = (datetime.fromisoformat(form[name]).replace(tzinfo=UTC) for name in ("start", "end"))
        shown = [
            row for row in self.rows if row.start < end and (row.end > start if self.overlap else row.start >= start)
        ]
        shown.sort(key=lambda row: row.start)
        first = int(form.get("pagefirst", self.first)) - self.first if self.pages else 0
        length = min(int(form["pagelen"]), self.cap)
        return "".join(row.xml for row in shown[first : first + length]) if self.tenant else ""


@contextmanager
def serving(site: Site, keys: Path | None = None) -> Iterator[str]:
    """Serve a site on this machine; gives its URL. `keys`: the folder of a `server` certificate, for HTTPS."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.site = site
    if keys is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(keys / "server.pem", keys / "server.key")
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"{'https' if keys else 'http'}://127.0.0.1:{server.server_address[1]}/verba/api"
    finally:
        server.stopped.set()
        server.shutdown()
        thread.join()
        server.server_close()


def settings(url: str, **options: object) -> HistoryHttp:
    return HistoryHttp.model_validate({"url": url, **options})


class _Server(ThreadingHTTPServer):
    site: Site
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self.stopped = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one piece, else each answer waits for an acknowledgement
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert "?" not in self.path
        scheme, _, word = self.headers.get("Authorization", "").partition(" ")
        login = base64.b64decode(word).decode() if scheme == "Basic" else None
        reply = self.server.site.reply(dict(parse_qsl(body.decode())), login)
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.pieces is None:
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)
            return
        self.send_header("Connection", "close")
        self.end_headers()
        with suppress(OSError):
            for piece in reply.pieces:
                self.wfile.write(piece)
                self.wfile.flush()
                if self.server.stopped.wait(reply.pause):
                    return

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""
