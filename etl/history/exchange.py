"""One request to the HTTP history and its answer, as bytes; whatever goes wrong in words that tell what to do.

Environment variables change nothing here (no proxy, no `.netrc`, no `SSL_CERT_FILE`): a proxy that was set for other
programs would see the login and everybody's calls.
"""

from __future__ import annotations

import ssl
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Self

import httpx

from etl.config import HistoryHttp
from etl.errors import HistoryRefused, HistoryUnavailable, HistoryUnreadable, UsageError
from etl.protocol.markup import Excerpt

_GZIP = 16 + zlib.MAX_WBITS
_OTHER_NAME = (62, 64)
"""OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, in seconds: for a connection, for the next byte, and for a whole answer."""

    connect: float = 10.0
    silence: float = 60.0
    whole: float = 180.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came, and when it had come (UTC). `wait`: for how many seconds the server asks us to keep away."""

    status: int
    body: bytes
    received_at: datetime
    wait: float = 0.0

    @property
    def succeeded(self) -> bool:
        """Whether HTTP says so."""
        return 200 <= self.status < 300

    @property
    def told(self) -> str:
        """The status in words."""
        return f"HTTP {self.status} {httpx.codes.get_reason_phrase(self.status)}".strip()


class TooLarge(HistoryUnavailable):
    """An answer above the limit; `kept` are its ends as far as it was read, `told` how much that was."""

    def __init__(self, message: str, excerpt: Excerpt, received_at: datetime) -> None:
        super().__init__(message)
        self.kept = excerpt.kept
        self.told = excerpt.told()
        self.received_at = received_at


class Exchange:
    """A connection to the history that opens itself again when needed."""

    def __init__(
        self,
        settings: HistoryHttp,
        limit: int,
        patience: Patience,
        now: Callable[[], datetime],
        clean: Callable[[str], str],
    ) -> None:
        """`limit`: bytes of the largest answer, unpacked. `clean` takes our secrets out of the source's words.

        Raises UsageError for a URL or `ca` that cannot be used.
        """
        self._url = _url(settings.url)
        self._limit = limit
        self._patience = patience
        self._now = now
        self._clean = clean
        self._shaking_hands = False
        timeout = httpx.Timeout(patience.silence, connect=patience.connect)
        self._client = httpx.Client(
            verify=_trust(settings.ca),
            timeout=timeout,
            trust_env=False,
            follow_redirects=False,
            headers={"Accept-Encoding": "gzip"},
        )

    def __enter__(self) -> Self:
        """Connects with the first request."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the connection."""
        self._client.close()

    @property
    def where(self) -> str:
        """The source's address, for messages."""
        return str(self._url)

    def send(self, form: Mapping[str, str], login: tuple[str, str] | None = None) -> Answer:
        """Posts a form, so that no secret stands in a URL; `login` by HTTP Basic.

        Raises HistoryUnavailable where another try can help (HistoryUnreadable once there was a connection), TooLarge,
        and HistoryRefused for a certificate that does not fit, no TLS where it should be, or a redirect.
        """
        until = monotonic() + self._patience.whole
        auth = httpx.BasicAuth(*login) if login else None
        self._shaking_hands = False
        try:
            with self._client.stream(
                "POST", self._url, data=form, auth=auth, extensions={"trace": self._note}
            ) as response:
                body = self._body(response, until)
        except httpx.RequestError as error:
            raise self._plainly(error) from None
        if response.is_redirect:
            target = self._clean(response.headers.get("Location", "").partition("?")[0])
            raise HistoryRefused(
                f"{self.where} redirects to {target!r}, where the login is not sent unasked; "
                "if that is right, set history.http.url"
            )
        wait = _seconds(response.headers.get("Retry-After", ""), self._now())
        return Answer(response.status_code, body, self._now(), wait)

    def _note(self, event: str, _info: Mapping[str, object]) -> None:
        """What httpcore is about: a connection that nobody answers, and TLS that nobody answers, both time out."""
        if event == "connection.start_tls.started":
            self._shaking_hands = True

    def _body(self, response: httpx.Response, until: float) -> bytes:
        body = bytearray()
        unpack = self._unpacker(response.headers.get("Content-Encoding", ""))
        for packed in response.iter_raw():
            body += unpack(packed, self._limit + 1 - len(body))
            if len(body) > self._limit:
                excerpt = Excerpt()
                excerpt.add(memoryview(body))
                told = f"{self.where} answers with more than {self._limit} bytes; if that is right, raise"
                raise TooLarge(f"{told} worker.document_limit", excerpt, self._now())
            if monotonic() > until:
                raise HistoryUnreadable(f"{self.where}: the answer was not whole within {self._patience.whole:g} s")
        return bytes(body)

    def _unpacker(self, encoding: str) -> Callable[[bytes, int], bytes]:
        """Unpacks the next piece of an answer into at most so many bytes: gzip makes a thousand of one, and is not
        accepted upon gzip."""
        encoding = encoding.strip().lower()
        if encoding in ("", "identity"):
            return lambda packed, _most: packed
        if encoding not in ("gzip", "x-gzip"):
            raise HistoryUnreadable(f"{self.where}: the answer is encoded in a way that we do not accept")
        inflate = zlib.decompressobj(_GZIP)

        def unpack(packed: bytes, most: int) -> bytes:
            try:
                return inflate.decompress(packed, most)
            except zlib.error:
                raise HistoryUnreadable(f"{self.where}: the answer is no gzip, though it says so") from None

        return unpack

    def _plainly(self, error: httpx.RequestError) -> HistoryRefused | HistoryUnavailable:
        """A failure of the transport in words that tell what to do."""
        tls = next((each for each in _causes(error) if isinstance(each, ssl.SSLError)), None)
        if tls is not None:
            return _tls_failure(tls, self.where)
        if isinstance(error, httpx.ConnectTimeout) and self._shaking_hands:
            told = f"TLS got no answer within {self._patience.connect:g} s"
            told += "; is the port of history.http.url right, or should it be http?"
        elif isinstance(error, httpx.ConnectTimeout):
            told = f"no connection within {self._patience.connect:g} s; is there a firewall between?"
        elif isinstance(error, httpx.ConnectError):
            told = f"cannot connect: {error}; is history.http.url right?"
        elif isinstance(error, httpx.TimeoutException):
            return HistoryUnreadable(f"{self.where}: nothing came for {self._patience.silence:g} s")
        else:
            told = self._clean(str(error)) or type(error).__name__
            return HistoryUnreadable(f"{self.where}: the connection broke: {told}")
        return HistoryUnavailable(f"{self.where}: {told}")


def _url(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
        host = url.host
    except (httpx.InvalidURL, ValueError) as error:  # the latter for a host name that cannot be one
        raise UsageError(f"history.http.url is no URL: {error}") from None
    if url.scheme not in ("http", "https") or not host or not 0 < (url.port or 443) < 1 << 16:
        raise UsageError('history.http.url: write a URL such as "https://verba.example/verba/api"')
    if url.userinfo or url.query:
        raise UsageError(
            "history.http.url must hold neither a login nor parameters, because URLs are logged; "
            "use history.http.username, password and api_key"
        )
    return url


def _trust(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(ca) if ca else None)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"history.http.ca = {str(ca)!r} cannot be used: {error}") from None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _tls_failure(error: ssl.SSLError, where: str) -> HistoryRefused | HistoryUnavailable:
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _OTHER_NAME:
            hint = "write the name that stands in it into history.http.url"
            return HistoryRefused(f"{where}: its certificate is for another name ({error.verify_message}); {hint}")
        hint = "set history.http.ca to the authority that signed it"
        return HistoryRefused(f"{where}: its certificate is not trusted ({error.verify_message}); {hint}")
    reason = str(error.reason or error)
    if "WRONG_VERSION" in reason or "RECORD_LAYER" in reason:
        return HistoryRefused(f"{where} does not speak TLS on this port; correct history.http.url")
    return HistoryUnavailable(f"{where}: TLS failed ({reason})")


def _seconds(text: str, now: datetime) -> float:
    """The `Retry-After` of an answer: seconds, or a moment; 0 for none and for what is neither."""
    if text.strip().isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return 0.0
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds())
