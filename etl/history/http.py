"""The history over HTTP: logs in, asks for windows page by page, and tries again where that can help.

Source: section 4 of the protocol.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Final, Self, TypeAlias, TypeVar

import structlog
from lxml import etree

from etl import heap
from etl.calls.history import SKEW, local_span, widened
from etl.config import HistoryHttp
from etl.errors import HistoryRefused, HistoryUnavailable, HistoryUnreadable
from etl.history.exchange import Answer, Exchange, Patience, TooLarge
from etl.history.paging import Page, Unsettled, read_window
from etl.history.redaction import redacted, unmistakable, without
from etl.model import Interval, Json, Kind, Quarantined
from etl.protocol.dialect import Dialect
from etl.protocol.documents import NotWellFormed, new_parser, parse
from etl.protocol.history import Failure, read_search, read_token

__all__ = ["PAUSES", "HistoryClient", "NotUnderstood", "Page", "Patience"]

PAUSES: Final = (1.0, 2.0, 4.0, 8.0)
"""Seconds between the tries of a request; after the last it is given up."""
LONGEST_WAIT: Final = 60.0
"""Seconds that we wait at most where the server asks for a pause."""
LONGEST_TEXT: Final = 500
"""Characters of the source's own words in a message of ours."""
PAGE_LENGTH: Final = 1000
"""Rows asked for at once; the source may give fewer."""

_LOGIN, _KEY, _NO_TOKEN, _EXPIRED = -40, -41, -42, -43
_HINTS: Final = {
    -20: "is history.http.url that of the API, and the source's version one that knows these parameters?",
    _LOGIN: "check history.http.username and history.http.password",
    _KEY: "check history.http.api_key",
    _NO_TOKEN: "a new token did not help; check history.http.username and what its user may see",
    _EXPIRED: "a new token is expired at once; is the source's clock right?",
}
_HTTP_REFUSED: Final = (401, 403)
_HTTP_BUSY: Final = (408, 425, 429)

T = TypeVar("T")
Read: TypeAlias = Callable[[etree._Element, Dialect], T | Failure]


class NotUnderstood(HistoryUnreadable):
    """The history keeps answering what cannot be understood; `quarantined` is the last such answer."""

    def __init__(self, message: str, quarantined: Quarantined) -> None:
        super().__init__(message)
        self.quarantined = quarantined


@dataclass(frozen=True, slots=True)
class _Trouble:
    """A try that failed where another can help: what to raise in the end, and how long the server wants peace."""

    error: HistoryUnavailable
    wait: float = 0.0


def _utc_now() -> datetime:
    return datetime.now(UTC)


class HistoryClient:
    """Asks one HTTP history. For one thread; a context manager, which closes the connection.

    `limit`: bytes of the largest answer. Raises UsageError where the settings cannot be used.
    """

    def __init__(
        self,
        settings: HistoryHttp,
        limit: int,
        *,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], datetime] = _utc_now,
        patience: Patience = Patience(),  # noqa: B008 - immutable
    ) -> None:
        self._settings = settings
        self._exchange = Exchange(settings, limit, patience, now, self._clean)
        self._sleep = sleep
        self._dialect = Dialect()
        self._parser = new_parser()
        self._token = ""
        self._basic = True
        self._log = structlog.get_logger()

    def __enter__(self) -> Self:
        """Connects and logs in with the first search."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the connection."""
        self._exchange.__exit__(kind, error, trace)

    def search(self, window: Interval) -> Iterator[Page]:
        """The finished calls of a window, copies too, as pages come; a page can be empty, and rows can come twice.

        The source is asked for the window widened by SKEW, so rows lie outside of it, too. When the iterator ends
        the window was read whole. Raises HistoryUnavailable, HistoryRefused, and HistoryUnreadable (NotUnderstood
        with the answer) where another window may fare better.
        """
        form = self._search_form(window)

        def ask(first: int | None) -> Page:
            answer, found = self._call(form if first is None else {**form, "pagefirst": str(first)}, read_search)
            return Page(answer.received_at, found)

        try:
            yield from read_window(ask, self._settle)
        except Unsettled as error:
            told = f"the rows from {window.start:%Y-%m-%d %H:%M:%S} to {window.end:%Y-%m-%d %H:%M:%S} UTC"
            hint = "try again later; if that never helps, the source does not number its rows from 1 (pagefirst)"
            raise HistoryUnreadable(
                f"{self._exchange.where}: {told} moved in every reading ({error.reason}); {hint}"
            ) from None

    def _search_form(self, window: Interval) -> dict[str, str]:
        start, end = local_span(widened(window, SKEW), self._settings.timezone)
        return {
            "action": "SearchCalls",
            "start": _written(start),
            "end": _written(end + timedelta(microseconds=999)),
            "status": "recorded",
            "secondary": "1",
            "orderby": "start_time",
            "order": "asc",
            "pagelen": str(PAGE_LENGTH),
            "returnMetadata": "1",
        }

    def _settle(self, reading: int) -> None:
        self._log.warning("the history moved while it was read; reading the window again", readings=reading + 1)
        self._sleep(PAUSES[min(reading, len(PAUSES) - 1)])

    # tokens

    def _call(self, form: Mapping[str, str], read: Read[T]) -> tuple[Answer, T]:
        """An answer under a token; a new one is asked for once."""
        if self._settings.username and not self._token:
            self._log_in()
        answer, meant = self._ask(form, read)
        if isinstance(meant, Failure) and meant.code in (_NO_TOKEN, _EXPIRED):
            self._log_in()
            answer, meant = self._ask(form, read)
        if isinstance(meant, Failure):
            raise self._refused(meant)
        return answer, meant

    def _log_in(self) -> None:
        """By HTTP Basic, else by parameters; what worked once is kept, because a refused login may be counted."""
        self._token = ""
        form = {"action": "RequestToken"}
        name = self._settings.username
        password = self._settings.password.get_secret_value() if self._settings.password else ""
        if name and self._basic:
            _, token = self._ask(form, read_token, (name, password))
            self._basic = not isinstance(token, Failure) or token.code == _KEY
        if name and not self._basic:
            _, token = self._ask({**form, "userName": name, "password": password}, read_token)
        if not name:
            _, token = self._ask(form, read_token)
        if isinstance(token, Failure):
            self._basic = True
            raise self._refused(token)
        self._token = token

    def _refused(self, failure: Failure) -> HistoryRefused:
        hint = _HINTS.get(failure.code or 0, "the source gives no other reason")
        return HistoryRefused(f"{self._exchange.where} refuses: {failure.text} (code {failure.code}); {hint}")

    # tries

    def _ask(
        self, form: Mapping[str, str], read: Read[T], login: tuple[str, str] | None = None
    ) -> tuple[Answer, T | Failure]:
        """An answer that was understood: what was asked for, or a refusal of the API."""
        for pause in PAUSES:
            tried = self._try(form, read, login)
            if not isinstance(tried, _Trouble):
                return tried
            wait = max(pause, min(tried.wait, LONGEST_WAIT))
            self._log.warning("the history failed; trying again", why=str(tried.error), seconds=wait)
            self._sleep(wait)
        tried = self._try(form, read, login)
        if isinstance(tried, _Trouble):
            raise tried.error
        return tried

    def _try(
        self, form: Mapping[str, str], read: Read[T], login: tuple[str, str] | None
    ) -> tuple[Answer, T | Failure] | _Trouble:
        try:
            answer = self._exchange.send(self._signed(form), login)
        except TooLarge as error:
            kept = _kept(error.received_at, "too_large", self._harmless(error.kept), detail=error.told)
            raise NotUnderstood(str(error), kept) from None
        except HistoryUnavailable as error:
            return _Trouble(error)
        if read is not read_token:  # there it is what we ask for
            own = [secret for secret in self._secrets() if unmistakable(secret)]
            answer = replace(answer, body=without(answer.body, own, self._settings.username or ""))
        meant = self._meaning(answer, read)
        if isinstance(meant, Failure) and meant.code is not None and meant.code < 0:
            return answer, self._cleaned(meant)
        if not answer.succeeded:
            return self._failed(answer, meant)
        if isinstance(meant, Failure):
            return self._not_answered(answer, meant, secret=read is read_token)
        return answer, meant

    def _signed(self, form: Mapping[str, str]) -> dict[str, str]:
        key = self._settings.api_key.get_secret_value() if self._settings.api_key else ""
        signs = {"apiKey": key, "token": self._token, "responseType": "XML"}
        return {**form, **{name: value for name, value in signs.items() if value}}

    def _meaning(self, answer: Answer, read: Read[T]) -> T | Failure:
        if answer.status in _HTTP_REFUSED:
            return Failure(_LOGIN, answer.told)
        try:
            return read(parse(answer.body, self._parser), self._dialect)
        except NotWellFormed as error:
            return Failure(None, f"not XML: {error.reason}", error.reason)
        finally:
            if len(answer.body) >= heap.LARGE:
                heap.give_back()

    def _failed(self, answer: Answer, meant: object) -> _Trouble:
        """An answer with an HTTP status that says no, and perhaps a document that says why."""
        reason = f": {self._cleaned(meant).text}" if isinstance(meant, Failure) and meant.code is not None else ""
        told = f"{self._exchange.where}: {answer.told}{reason}"
        if answer.status >= 500:
            return _Trouble(HistoryUnreadable(told), answer.wait)
        if answer.status in _HTTP_BUSY:
            return _Trouble(HistoryUnavailable(told), answer.wait)
        raise HistoryRefused(f"{told}; check history.http.url")

    def _not_answered(self, answer: Answer, failure: Failure, *, secret: bool) -> _Trouble:
        """A failure of the source's own, or what is no answer at all: that is kept, unless a token may stand in it."""
        text = self._cleaned(failure).text
        if failure.code is not None:
            return _Trouble(HistoryUnreadable(f"{self._exchange.where}: {text} (code {failure.code})"))
        told = f"{self._exchange.where}: the answer is not understood ({text}); is history.http.url that of the API?"
        if secret:
            return _Trouble(HistoryUnavailable(told))
        return _Trouble(NotUnderstood(told, _kept(answer.received_at, failure.reason, self._harmless(answer.body))))

    def _cleaned(self, failure: Failure) -> Failure:
        return replace(failure, text=self._clean(failure.text))

    def _clean(self, text: str) -> str:
        """The source's text on one line, not too long, and without our secrets, should it repeat them."""
        return redacted(text, self._secrets(), self._settings.username or "")[:LONGEST_TEXT]

    def _harmless(self, body: bytes) -> bytes:
        """What nobody understood, as it is kept: a page that repeats our request would hold our secrets."""
        return without(body, self._secrets(), self._settings.username or "")

    def _secrets(self) -> list[str]:
        kept = (self._settings.api_key, self._settings.password)
        return [self._token, *(each.get_secret_value() for each in kept if each is not None)]


def _kept(received_at: datetime, reason: str, body: bytes, **note: Json) -> Quarantined:
    return Quarantined(received_at, None, "http", reason, body, note={"kind": Kind.HTTP.value, **note})


def _written(local: datetime) -> str:
    """A local time as the API reads it, cut to milliseconds."""
    return local.isoformat(sep=" ", timespec="milliseconds")
