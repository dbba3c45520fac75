"""The HTTP side of the history: just enough of HTTP/1.1 for one request per connection."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Mapping
from urllib.parse import parse_qs, urlsplit

from etl.simulator.clock import Clock
from etl.simulator.config import SimulatorConfig
from etl.simulator.history import Answer, History
from etl.simulator.truth import ServedLine, TruthWriter

PATH = "/verba/api"
_LONGEST_BODY = 1024 * 1024


class HistoryServer:
    """Answers `GET` and `POST` on `/verba/api`."""

    def __init__(self, config: SimulatorConfig, history: History, truth: TruthWriter, clock: Clock) -> None:
        """Does nothing yet; `config.http` says where and how."""
        assert config.http is not None
        self._host = config.host
        self._wanted_port = config.http.port
        self._history = history
        self._truth = truth
        self._clock = clock
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The bound port; 0 before `start`."""
        return int(self._server.sockets[0].getsockname()[1]) if self._server and self._server.sockets else 0

    async def start(self) -> None:
        """Listens. Raises `OSError`."""
        self._server = await asyncio.start_server(self._serve, self._host, self._wanted_port)

    async def stop(self) -> None:
        """Stops listening."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(await self._respond(reader))
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass  # the client went away or speaks no HTTP: nothing to answer
        finally:
            writer.close()

    async def _respond(self, reader: asyncio.StreamReader) -> bytes:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        request_line, *lines = head.rstrip().split("\r\n")
        method, target, _ = request_line.split(" ", 2)
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(min(int(headers.get("content-length", "0")), _LONGEST_BODY))
        url = urlsplit(target)
        if method not in ("GET", "POST") or url.path != PATH:
            return _response("404 Not Found", b"")
        form = parse_qs(f"{url.query}&{body.decode()}")
        answer = self._history.answer(form, _login(headers))
        self._tell(answer)
        return _response("200 OK", answer.document)

    def _tell(self, answer: Answer) -> None:
        self._truth.write(ServedLine(self._clock.now(), "history", str(answer.code), rows=answer.rows))


def _response(status: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/xml; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + body


def _login(headers: Mapping[str, str]) -> tuple[str, str] | None:
    scheme, _, text = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, _, password = base64.b64decode(text, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return name, password
