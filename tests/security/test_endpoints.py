"""Strangers at the worker's HTTP endpoints: they learn nothing, and hurt nobody."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter
from support.hostile_texts import HTML, TERMINAL

from etl.config import Settings
from etl.worker import endpoints as module
from etl.worker.endpoints import Endpoints, Readiness, RecorderLine

PATHS = ("/", "/metrics", "/healthz", "/readyz", "/nothing")
MUCH = "".join(HTML + TERMINAL)
SECOND = 1.0
PATIENCE = 30.0


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoints]:
    """With names and troubles that nobody would want in a browser, and few connections."""
    monkeypatch.setattr(module, "MOST", 8)
    registry = CollectorRegistry()
    Counter("cdr_reconnects", "Sessions", ["recorder"], registry=registry).labels(MUCH).inc()
    line = RecorderLine(MUCH, "unreachable", "", MUCH)
    endpoints = Endpoints("127.0.0.1:0", registry, lambda: Readiness((MUCH,), (line,), ((MUCH, MUCH),)))
    endpoints.start()
    assert endpoints.bound.wait(10)
    yield endpoints
    endpoints.stop()


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch, served: Endpoints) -> Endpoints:
    """The same with little time for each connection."""
    monkeypatch.setattr(module, "TIMEOUT", SECOND)
    monkeypatch.setattr(module._Handler, "timeout", SECOND)
    return served


def ask(served: Endpoints, path: str, method: str = "GET", **headers: str) -> tuple[HTTPResponse, str]:
    connection = HTTPConnection("127.0.0.1", served.port, timeout=PATIENCE)
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return response, body


def raw(served: Endpoints, request: bytes) -> bytes:
    """What comes back for these bytes, until the connection is closed."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=PATIENCE) as line:
        line.sendall(request)
        said = b""
        try:
            while piece := line.recv(65536):
                said += piece
        except ConnectionError:
            pass
        return said


def test_it_listens_on_this_machine_alone_unless_told_otherwise() -> None:
    assert Settings().http.listen == "127.0.0.1:9464"


@pytest.mark.parametrize("path", PATHS)
def test_a_browser_may_do_nothing_with_an_answer_but_show_it(served: Endpoints, path: str) -> None:
    response, body = ask(served, path)
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "Access-Control-Allow-Origin" not in response.headers
    assert "Set-Cookie" not in response.headers
    assert response.headers["Content-Type"].startswith("text/html") == (path == "/")
    if path == "/":
        assert not [word for word in ("<script", "<img", "<iframe", "<svg") if word in body.lower()]


@pytest.mark.parametrize("path", PATHS)
def test_no_answer_tells_what_runs_here(served: Endpoints, path: str) -> None:
    assert ask(served, path)[0].headers["Server"] == "cdr"


@pytest.mark.parametrize("request_", [b"\0\xff\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"<script>\r\n\r\n", b"GET /\n\n"])
def test_what_is_no_request_is_refused_without_details(served: Endpoints, request_: bytes) -> None:
    said = raw(served, request_)
    for word in (b"Python", b"WSGI", b"Traceback", b"<script>", b"/etl/"):
        assert word not in said


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"])
@pytest.mark.parametrize("path", PATHS)
def test_nothing_but_reading_is_allowed(served: Endpoints, method: str, path: str) -> None:
    response, body = ask(served, path, method)
    assert response.status == 405
    assert MUCH not in body


def test_a_body_is_not_waited_for(served: Endpoints) -> None:
    """Nor one of a size that nobody has."""
    said = raw(served, b"POST / HTTP/1.1\r\nContent-Length: 99999999999999\r\n\r\n" + b"x" * 1000)
    assert said.startswith(b"HTTP/1.0 405") or said == b""


@pytest.mark.parametrize(
    "request_",
    [b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5_000 + b"\r\n"],
    ids=["line", "headers"],
)
def test_a_request_has_a_limit(served: Endpoints, request_: bytes) -> None:
    assert b" 200 " not in raw(served, request_).split(b"\r\n")[0]
    assert ask(served, "/healthz")[0].status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:9464", "127.0.0.1.evil.example", "10.1.2.3", "[2001:db8::1]", ""]
)
@pytest.mark.parametrize("path", PATHS)
def test_a_page_from_elsewhere_that_has_its_name_lead_here_reads_nothing(
    served: Endpoints, path: str, host: str
) -> None:
    """DNS rebinding: its browser sends the name that the page came from."""
    response, body = ask(served, path, Host=host)
    assert response.status == 421
    assert MUCH not in body


@pytest.mark.parametrize("host", ["127.0.0.1:9464", "localhost", "LOCALHOST.:1", "[::1]:9464", "127.1.2.3"])
def test_whoever_asks_this_machine_by_address_or_as_localhost_is_answered(served: Endpoints, host: str) -> None:
    assert ask(served, "/healthz", Host=host)[0].status == 200


def test_an_address_that_is_open_to_others_answers_to_any_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Monitors on other machines know it by its name."""
    endpoints = Endpoints("0.0.0.0:0", CollectorRegistry(), lambda: Readiness((), (), ()))
    endpoints.start()
    assert endpoints.bound.wait(10)
    assert ask(endpoints, "/healthz", Host="worker.example")[0].status == 200
    endpoints.stop()


@pytest.mark.slow
def test_a_client_that_sends_a_byte_now_and_then_is_hung_up_on(hurried: Endpoints) -> None:
    """Each byte once renewed its time: it could have kept a thread for days."""
    with socket.create_connection(("127.0.0.1", hurried.port), timeout=PATIENCE) as line:
        began = time.monotonic()
        try:
            while time.monotonic() - began < PATIENCE:
                line.send(b"G")
                line.settimeout(0.1)
                try:
                    if line.recv(1) == b"":
                        break
                except TimeoutError:
                    continue
        except OSError:
            pass
        assert SECOND / 2 < time.monotonic() - began < PATIENCE


@pytest.mark.slow
def test_many_connections_keep_neither_threads_nor_anybody_waiting(served: Endpoints) -> None:
    """Whoever comes last is served, in place of the oldest."""
    with ExitStack() as lines:
        for _ in range(100):
            lines.enter_context(socket.create_connection(("127.0.0.1", served.port), timeout=PATIENCE))
        assert ask(served, "/healthz")[0].status == 200
        deadline = time.monotonic() + PATIENCE
        while _serving() > 8:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    while _serving():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _serving() -> int:
    return sum("process_request_thread" in thread.name for thread in threading.enumerate())


@pytest.mark.slow
def test_each_newcomer_takes_the_place_of_another_one_though_nobody_has_left_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same connection was hung up on again and again while its thread was busy, and all others stayed."""
    monkeypatch.setattr(module, "MOST", 8)
    busy = threading.Event()

    def slow() -> Readiness:
        busy.wait(PATIENCE)
        return Readiness((), (), ())

    endpoints = Endpoints("127.0.0.1:0", CollectorRegistry(), slow)
    endpoints.start()
    assert endpoints.bound.wait(10)
    with ExitStack() as stack:
        stack.callback(endpoints.stop)
        stack.callback(busy.set)
        lines = []
        for _ in range(12):
            line = stack.enter_context(socket.create_connection(("127.0.0.1", endpoints.port), timeout=PATIENCE / 3))
            line.sendall(b"GET / HTTP/1.0\r\n\r\n")
            lines.append(line)
        assert [line.recv(1) for line in lines[:4]] == [b""] * 4


def test_a_client_that_goes_away_or_says_nothing_leaves_no_traceback(
    hurried: Endpoints, capfd: pytest.CaptureFixture[str]
) -> None:
    """One that said nothing once wrote a traceback to the log of the worker after ten seconds."""
    with socket.create_connection(("127.0.0.1", hurried.port), timeout=PATIENCE) as silent:
        assert silent.recv(1) == b""
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", hurried.port)) as gone:
            gone.send(b"GET /metrics HTTP/1.1\r\n\r\n")
    deadline = time.monotonic() + PATIENCE
    while _serving():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert "Traceback" not in "".join(capfd.readouterr())


def test_a_failure_of_our_own_is_told_without_its_details() -> None:
    def fail() -> Any:
        raise RuntimeError("secret-of-ours")

    endpoints = Endpoints("127.0.0.1:0", CollectorRegistry(), fail)
    endpoints.start()
    assert endpoints.bound.wait(10)
    response, body = ask(endpoints, "/")
    endpoints.stop()
    assert response.status == 500
    assert "secret-of-ours" not in body
    assert "Traceback" not in body
