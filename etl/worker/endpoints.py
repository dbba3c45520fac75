"""The worker's HTTP endpoints: a status page, /metrics, /healthz, /readyz. Read only, no personal data.

Whoever can connect may ask, so nobody who asks can hurt: connections and their time are limited, the oldest one makes
room for the newest, and what strangers send is neither repeated nor logged.
"""

from __future__ import annotations

import html
import ipaddress
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import structlog
from prometheus_client import CollectorRegistry, make_wsgi_app

RETRY_EVERY = 5.0
"""Seconds until a busy port is tried again: with `--for` two workers overlap."""
TIMEOUT = 10
"""Seconds a client may take for its request and our answer, however it spreads them."""
MOST = 32
"""Connections at a time; whoever comes then takes the place of the oldest."""
_HEADERS = (
    ("Server", "cdr"),
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    (
        "Content-Security-Policy",
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
)


@dataclass(frozen=True, slots=True)
class RecorderLine:
    """One recorder on the status page; times as text in UTC."""

    name: str
    state: str
    since: str
    last_error: str


@dataclass(frozen=True, slots=True)
class Readiness:
    """What stands in the way of readiness (nothing: ready), and the lines of the status page."""

    obstacles: tuple[str, ...]
    recorders: tuple[RecorderLine, ...]
    facts: tuple[tuple[str, str], ...]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *arguments: Any) -> None:
        self._open: dict[socket.socket, float] = {}
        """Connections that are being served, the oldest first, and when each began (seconds, monotonic)."""
        self._lock = threading.Lock()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            if len(self._open) >= MOST:
                oldest = next(iter(self._open))
                del self._open[oldest]  # at once: its thread may take a while, and is not to be chosen again
                _hang_up(oldest)
            self._open[request] = time.monotonic()
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """Called several times a second: whose time is up is hung up on."""
        with self._lock:
            for request, began in self._open.items():
                if time.monotonic() - began > TIMEOUT:
                    _hang_up(request)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away, or says nothing, is no news."""
        structlog.get_logger().debug("an http request came to nothing", error=type(sys.exception()).__name__)


def _hang_up(request: socket.socket) -> None:
    """Whoever waits for this connection, on either side, is told that it has ended; its thread closes it."""
    with suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = TIMEOUT

    def version_string(self) -> str:
        """Nobody needs to know more."""
        return "cdr"

    def log_message(self, format: str, *args: Any) -> None:
        """Requests of monitors are no news."""


class Endpoints:
    """Serves in a thread of its own; a busy port is retried until `stop`."""

    def __init__(self, listen: str, registry: CollectorRegistry, readiness: Callable[[], Readiness]) -> None:
        host, _, port = listen.rpartition(":")
        self._address = (host.strip("[]") or "0.0.0.0", int(port))  # noqa: S104 - only where the user leaves it out
        self._kind = _Server6 if ":" in self._address[0] else _Server
        self._local = _is_local(self._address[0])
        self._metrics = make_wsgi_app(registry)
        self._readiness = readiness
        self._stopped = threading.Event()
        self._server: WSGIServer | None = None
        self.bound = threading.Event()
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    @property
    def port(self) -> int:
        """The bound port (of use where 0 was asked for)."""
        return self._server.server_port if self._server else 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._server is not None:
            self._server.shutdown()
        self._thread.join(timeout=TIMEOUT)

    def _run(self) -> None:
        log, complaint = structlog.get_logger(), ""
        while not self._stopped.is_set():
            try:
                self._server = make_server(*self._address, self._answer, self._kind, _Handler)
            except (OSError, OverflowError) as error:
                if str(error) != complaint:  # once, not at every try
                    listen = f"{self._address[0]}:{self._address[1]}"
                    log.warning("http endpoint not available yet; trying on", listen=listen, error=str(error))
                complaint = str(error)
                self._stopped.wait(RETRY_EVERY)
                continue
            with self._server as server:
                self.bound.set()
                server.serve_forever(poll_interval=0.2)

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        def begin(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            return start(status, [*headers, *_HEADERS], *more)

        path, method = environ.get("PATH_INFO", "/"), environ.get("REQUEST_METHOD", "GET")
        if method not in ("GET", "HEAD"):
            return _send(begin, "405 Method Not Allowed", "text/plain", "only GET and HEAD\n")
        if self._local and not _is_local(_host(environ)):
            return _send(begin, "421 Misdirected Request", "text/plain", "ask by address, or as localhost\n")
        if path == "/metrics":
            return self._measured(environ, begin)
        if path == "/healthz":
            return _send(begin, "200 OK", "text/plain", "alive\n")
        if path == "/readyz":
            return self._ready(begin)
        if path == "/":
            return _send(begin, "200 OK", "text/html", _page(self._readiness()))
        return _send(begin, "404 Not Found", "text/plain", "try /, /metrics, /healthz or /readyz\n")

    def _measured(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """The metrics in the format that is asked for; in the usual one where what is asked for makes no sense."""
        found: Iterable[bytes]
        try:
            found = self._metrics(environ, start)
        except (TypeError, ValueError):
            found = self._metrics({**environ, "HTTP_ACCEPT": "", "QUERY_STRING": ""}, start)
        return found

    def _ready(self, start: Callable[..., Any]) -> Iterable[bytes]:
        obstacles = self._readiness().obstacles
        status = "503 Service Unavailable" if obstacles else "200 OK"
        return _send(start, status, "text/plain", "\n".join(obstacles or ("ready",)) + "\n")


def _host(environ: dict[str, Any]) -> str:
    """Whom the client thinks it talks to, without the port; a client that does not say is no browser."""
    given = str(environ.get("HTTP_HOST", "localhost"))
    return given[1:].partition("]")[0] if given.startswith("[") else given.partition(":")[0]


def _is_local(host: str) -> bool:
    """Whether this means the machine itself. A page from elsewhere that is shown by a browser on this machine could
    have its own name lead here (DNS rebinding), and read the answer: its name is none of these."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host.lower().rstrip(".") == "localhost"


def _send(start: Callable[..., Any], status: str, kind: str, text: str) -> list[bytes]:
    body = text.encode()
    start(status, [("Content-Type", f"{kind}; charset=utf-8"), ("Content-Length", str(len(body)))])
    return [body]


_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .8rem;border-bottom:1px solid #ccc}"
    "@media(prefers-color-scheme:dark){body{background:#111;color:#eee}}"
)


def _page(readiness: Readiness) -> str:
    verdict = "Ready" if not readiness.obstacles else "Not ready: " + "; ".join(readiness.obstacles)
    lines = "".join(
        "<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in (r.name, r.state, r.since, r.last_error)) + "</tr>"
        for r in readiness.recorders
    )
    facts = "".join(
        f"<tr><th scope=row>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in readiness.facts
    )
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>cdr worker</title><style>{_STYLE}</style><h1>cdr worker</h1><p>{html.escape(verdict)}</p>"
        f"<h2>Recorders</h2><table><tr><th>Recorder<th>State<th>Since (UTC)<th>Last error</tr>{lines}</table>"
        f"<h2>Archive</h2><table>{facts}</table><p><a href=/metrics>metrics</a></p></html>"
    )
