"""The HTTP endpoints, as a monitor and a person see them."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPResponse

import pytest
from prometheus_client import CollectorRegistry, Counter

from etl.worker import endpoints as module
from etl.worker.endpoints import Endpoints, Readiness, RecorderLine

READY = Readiness((), (RecorderLine("ny-1", "subscribed", "2024-05-01 12:00:00", ""),), (("Database", "connected"),))

Ask = Callable[..., tuple[HTTPResponse, str]]


class Situation:
    """What the worker would say; a test changes it."""

    def __init__(self) -> None:
        self.readiness = READY
        self.registry = CollectorRegistry()

    def serve(self, listen: str) -> Endpoints:
        return Endpoints(listen, self.registry, lambda: self.readiness)


@pytest.fixture
def situation() -> Situation:
    return Situation()


@pytest.fixture
def served(situation: Situation) -> Iterator[Endpoints]:
    endpoints = situation.serve("127.0.0.1:0")
    endpoints.start()
    assert endpoints.bound.wait(10)
    yield endpoints
    endpoints.stop()


@pytest.fixture
def ask(served: Endpoints) -> Ask:
    def request(path: str, method: str = "GET", host: str = "127.0.0.1") -> tuple[HTTPResponse, str]:
        connection = HTTPConnection(host, served.port, timeout=10)
        connection.request(method, path)
        response = connection.getresponse()
        body = response.read().decode()
        connection.close()
        return response, body

    return request


def test_a_process_that_lives_is_healthy_whatever_is_out_of_reach(ask: Ask, situation: Situation) -> None:
    situation.readiness = Readiness(("database: gone",), (), ())
    response, body = ask("/healthz")
    assert (response.status, body) == (200, "alive\n")


def test_ready_is_ready(ask: Ask) -> None:
    response, body = ask("/readyz")
    assert (response.status, body) == (200, "ready\n")


def test_not_ready_is_503_and_says_each_reason(ask: Ask, situation: Situation) -> None:
    situation.readiness = Readiness(("recorder ny-1: connection refused", "database: starting"), (), ())
    response, body = ask("/readyz")
    assert response.status == 503
    assert body == "recorder ny-1: connection refused\ndatabase: starting\n"


def test_metrics_are_in_the_format_of_prometheus(ask: Ask, situation: Situation) -> None:
    Counter("cdr_reconnects", "Sessions", ["recorder"], registry=situation.registry).labels("ny-1").inc()
    response, body = ask("/metrics")
    assert response.status == 200
    assert response.headers["Content-Type"].startswith("text/plain")
    assert 'cdr_reconnects_total{recorder="ny-1"} 1.0' in body


def test_the_status_page_shows_recorders_and_nothing_that_a_browser_would_obey(ask: Ask, situation: Situation) -> None:
    line = RecorderLine("<b>ny</b>", "disconnected", "", '<script>alert("x")</script>')
    situation.readiness = Readiness(("<i>",), (line,), (("<u>", "<u>"),))
    response, body = ask("/")
    assert response.status == 200
    assert "Not ready: &lt;i&gt;" in body
    assert "<script>" not in body
    assert "<u>" not in body
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_changed(ask: Ask, method: str) -> None:
    assert ask("/readyz", method)[0].status == 405


def test_an_unknown_path_names_the_known_ones(ask: Ask) -> None:
    response, body = ask("/metric")
    assert response.status == 404
    assert "/metrics" in body


def test_a_client_that_says_nothing_keeps_nobody_waiting(ask: Ask, served: Endpoints) -> None:
    with socket.create_connection(("127.0.0.1", served.port)):
        assert ask("/healthz")[0].status == 200


def test_a_busy_port_is_taken_as_soon_as_it_is_free(situation: Situation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_EVERY", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as busy:
        endpoints = situation.serve(f"127.0.0.1:{busy.getsockname()[1]}")
        endpoints.start()
        assert not endpoints.bound.wait(0.05)
    assert endpoints.bound.wait(10)
    endpoints.stop()


def test_a_stop_while_the_port_is_busy_returns_at_once(situation: Situation) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        endpoints = situation.serve(f"127.0.0.1:{busy.getsockname()[1]}")
        endpoints.start()
        begun = time.monotonic()
        endpoints.stop()
        assert time.monotonic() - begun < 2
    assert "http" not in {thread.name for thread in threading.enumerate()}


def test_it_listens_on_ipv6_too(situation: Situation) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    endpoints = situation.serve("[::1]:0")
    endpoints.start()
    assert endpoints.bound.wait(10)
    connection = HTTPConnection("::1", endpoints.port, timeout=10)
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    connection.close()
    endpoints.stop()


def test_metrics_asked_for_in_a_format_that_makes_no_sense_come_in_the_usual_one(served: Endpoints) -> None:
    """It was an error 500, with a traceback in the log for every stranger who asks."""
    connection = HTTPConnection("127.0.0.1", served.port, timeout=10)
    connection.request("GET", "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.x"})
    response = connection.getresponse()
    assert (response.status, response.getheader("Content-Type", "").partition(";")[0]) == (200, "text/plain")
    connection.close()
