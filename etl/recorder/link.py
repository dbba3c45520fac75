"""One TCP connection to a recorder, with or without TLS, and the framing of what comes over it."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import ssl
import sys
import termios
from collections.abc import Iterable

from etl.config import Recorder, Tls
from etl.errors import RecorderUnavailable, UsageError
from etl.protocol.framing import Document, Framer, Rejected

PIECE = 1 << 13
"""Bytes that are framed in one turn of the event loop. Framing costs more than receiving: a recorder that floods
us with small documents must not keep the others waiting."""
BUFFER = 1 << 16
"""Bytes that wait in memory until the sender is held back (the event loop allows for twice that)."""
NEARLY_NOTHING = 1 << 14
"""Bytes that may wait unread although nobody is held back: less than the smallest usual receive window."""
_OTHER_NAME = (62, 64)
"""OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH."""


class Link:
    """An open connection. Whatever arrives comes out as whole documents and rejected bytes."""

    def __init__(self, name: str, framer: Framer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._name = name
        self._framer = framer
        self._reader = reader
        self._writer = writer
        self._emptied = True

    @classmethod
    async def open(cls, recorder: Recorder, framer: Framer) -> Link:
        """Connect within `connect_timeout`; raises RecorderUnavailable that says what stood in the way."""
        context = tls_context(recorder.name, recorder.tls) if recorder.tls else None
        where = f"{recorder.host}:{recorder.port}"
        try:
            async with asyncio.timeout(recorder.connect_timeout.total_seconds()):
                reader, writer = await asyncio.open_connection(recorder.host, recorder.port, ssl=context, limit=BUFFER)
        except TimeoutError:
            within = f"{recorder.connect_timeout.total_seconds():g} s"
            told = f"TLS connection to {where} within {within}; does it speak TLS on this port?"
            plain = f"connection to {where} within {within}; is there a firewall between?"
            raise RecorderUnavailable(recorder.name, f"no {told if context else plain}") from None
        except (OSError, ssl.SSLError) as error:
            raise RecorderUnavailable(recorder.name, f"cannot connect to {where}: {_plainly(error)}") from None
        _keep_alive(writer)
        return cls(recorder.name, framer, reader, writer)

    @property
    def receiving(self) -> bool:
        """A document has begun and is not yet whole."""
        return self._framer.open

    @property
    def caught_up(self) -> bool:
        """Nearly nothing waits to be read. Otherwise the recorder may be held back: then what it says now waits on its
        side, and is gone with the connection."""
        return self._emptied and self._unread() < NEARLY_NOTHING

    def _unread(self) -> int:
        """Bytes that the kernel holds for us."""
        sock: socket.socket | None = self._writer.get_extra_info("socket")
        try:
            held = fcntl.ioctl(sock.fileno(), termios.FIONREAD, bytes(4)) if sock is not None else bytes(4)
        except (OSError, ValueError):  # the connection is gone
            return sys.maxsize
        return int.from_bytes(held, sys.byteorder)

    def send(self, data: bytes) -> None:
        """Hand bytes to the kernel; requests are small, so this never waits."""
        self._writer.write(data)

    async def receive(self) -> bytes:
        """The next bytes, empty at the end of the stream; raises RecorderUnavailable when it breaks."""
        await asyncio.sleep(0)  # what is buffered already would be read without giving others their turn
        try:
            data = await self._reader.read(PIECE)
        except (OSError, ssl.SSLError) as error:
            raise RecorderUnavailable(self._name, f"the connection broke: {_plainly(error)}") from None
        self._emptied = len(data) < PIECE
        return data

    def frame(self, data: bytes) -> Iterable[Document | Rejected]:
        """What has become whole, or was found not to be a document, with these bytes."""
        return self._framer.receive(data)

    def finish(self, reason: str) -> Iterable[Document | Rejected]:
        """What is left over when nothing more will come."""
        return self._framer.finish(reason)

    def close(self) -> None:
        """Destroy the socket at once; a graceful TLS goodbye could wait for ever for a silent peer."""
        self._writer.transport.abort()


def tls_context(name: str, tls: Tls) -> ssl.SSLContext:
    """Our side of TLS; raises UsageError that names the file which does not fit."""
    try:
        context = ssl.create_default_context(cafile=str(tls.ca) if tls.ca else None)
        if tls.certificate:
            context.load_cert_chain(tls.certificate, tls.key)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(f"{key} = {path}" for key, path in tls if path)
        raise UsageError(f'recorder["{name}"].tls: cannot use {files}: {error}') from None
    return context


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    """TCP keep-alive finds a dead peer also where the recorder announces no keep-alive of its own."""
    sock: socket.socket | None = writer.get_extra_info("socket")
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, option):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _plainly(error: OSError) -> str:
    """An operating system or TLS error in words that tell what to do."""
    if isinstance(error, ssl.SSLCertVerificationError) and error.verify_code in _OTHER_NAME:
        return f"its certificate is for another name ({error.verify_message}); set host to the name in it"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message}); set tls.ca to the authority that signed it"
    if isinstance(error, ssl.SSLError):
        reason = str(error.reason or error)
        if "WRONG_VERSION" in reason or "RECORD_LAYER" in reason:
            return "it does not speak TLS on this port; remove tls or give its TLS port"
        return f"TLS failed ({reason}); does it ask for a client certificate (tls.certificate, tls.key)?"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused; is the recorder's API enabled and the port right?"
    if isinstance(error, socket.gaierror):
        return f"its host name cannot be resolved ({error.strerror})"
    return error.strerror or str(error) or type(error).__name__
