"""The subscription over one connection: a state machine without clock or socket.

`now` is any monotonic time in seconds, given by the caller. The whole behaviour is `TRANSITIONS`, one table of
(state, event) -> state; whatever it lacks is a mistake of ours and raises `ProtocolError`.

What counts as life. Where keep-alives are announced, only they count: the vendor says that the session is
disconnected when the next one has not arrived within 1.5 times the interval announced last, whatever else
arrives. Where none is announced, a request is sent every `probe_every` seconds, and any message read after it
is proof of life: an answer, even a failure, and a notification just as well, for that is what the connection is for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from etl.errors import CdrError
from etl.model import Asked
from etl.protocol import requests
from etl.protocol.answers import Subscribed, read_answer
from etl.protocol.dialect import Dialect
from etl.protocol.messages import KeepAlive, Message, Response

PATIENCE = 1.5
"""How many announced intervals may pass until the next keep-alive (documented by the vendor)."""


class ProtocolError(CdrError):
    """The state machine was driven in a way its table does not know: a mistake of this program."""


class State(Enum):
    """Where a subscription stands."""

    NEW = "new"
    SUBSCRIBING = "subscribing"
    """The request is sent; its response is awaited for `request_timeout`."""
    ANNOUNCED = "announced"
    """Confirmed; the next keep-alive is awaited for 1.5 times its announced interval."""
    QUIET = "quiet"
    """Confirmed, no keep-alive announced; the next probe is due after `probe_every`."""
    PROBING = "probing"
    """A probe is sent; a sign of life is awaited for `request_timeout`."""
    CLOSED = "closed"
    """Refused or dead; what is still read changes nothing."""


class Happening(Enum):
    """What can happen to a subscription."""

    START = "start"
    CONFIRMED = "confirmed, keep-alive announced"
    CONFIRMED_WITHOUT = "confirmed without keep-alive"
    REFUSED = "refused"
    KEEPALIVE = "keep-alive"
    MESSAGE = "any other message"
    DUE = "deadline passed"


_S, _H = State, Happening

TRANSITIONS: dict[tuple[State, Happening], State] = {
    (_S.NEW, _H.START): _S.SUBSCRIBING,
    (_S.SUBSCRIBING, _H.CONFIRMED): _S.ANNOUNCED,
    (_S.SUBSCRIBING, _H.CONFIRMED_WITHOUT): _S.QUIET,
    (_S.SUBSCRIBING, _H.REFUSED): _S.CLOSED,
    (_S.SUBSCRIBING, _H.KEEPALIVE): _S.SUBSCRIBING,
    (_S.SUBSCRIBING, _H.MESSAGE): _S.SUBSCRIBING,
    (_S.SUBSCRIBING, _H.DUE): _S.CLOSED,
    (_S.ANNOUNCED, _H.CONFIRMED): _S.ANNOUNCED,
    (_S.ANNOUNCED, _H.CONFIRMED_WITHOUT): _S.ANNOUNCED,
    (_S.ANNOUNCED, _H.REFUSED): _S.CLOSED,
    (_S.ANNOUNCED, _H.KEEPALIVE): _S.ANNOUNCED,
    (_S.ANNOUNCED, _H.MESSAGE): _S.ANNOUNCED,
    (_S.ANNOUNCED, _H.DUE): _S.CLOSED,
    (_S.QUIET, _H.CONFIRMED): _S.ANNOUNCED,
    (_S.QUIET, _H.CONFIRMED_WITHOUT): _S.QUIET,
    (_S.QUIET, _H.REFUSED): _S.CLOSED,
    (_S.QUIET, _H.KEEPALIVE): _S.ANNOUNCED,
    (_S.QUIET, _H.MESSAGE): _S.QUIET,
    (_S.QUIET, _H.DUE): _S.PROBING,
    (_S.PROBING, _H.CONFIRMED): _S.ANNOUNCED,
    (_S.PROBING, _H.CONFIRMED_WITHOUT): _S.QUIET,
    (_S.PROBING, _H.REFUSED): _S.CLOSED,
    (_S.PROBING, _H.KEEPALIVE): _S.ANNOUNCED,
    (_S.PROBING, _H.MESSAGE): _S.QUIET,
    (_S.PROBING, _H.DUE): _S.CLOSED,
    (_S.CLOSED, _H.CONFIRMED): _S.CLOSED,
    (_S.CLOSED, _H.CONFIRMED_WITHOUT): _S.CLOSED,
    (_S.CLOSED, _H.REFUSED): _S.CLOSED,
    (_S.CLOSED, _H.KEEPALIVE): _S.CLOSED,
    (_S.CLOSED, _H.MESSAGE): _S.CLOSED,
}


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The recorder confirmed the subscription, for the first time; `keepalive` in seconds, None without one."""

    keepalive: float | None


@dataclass(frozen=True, slots=True)
class Refused:
    """The recorder refused the subscription; `text` is its own word."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Alive:
    """A proof of life after the confirmation: a keep-alive, or a message after a probe."""


@dataclass(frozen=True, slots=True)
class Stray:
    """A response to nothing that was asked on this connection: for quarantine, and no reason to end it."""

    request_id: str | None


@dataclass(frozen=True, slots=True)
class Dead:
    """The recorder is silent for too long; `reason` says for whom to wait no longer."""

    reason: str


Event: TypeAlias = Confirmed | Refused | Alive | Stray | Dead


class Subscription:
    """One connection's subscription. Verbs: `start`, `message`, `tick`, `resumed`; ask `deadline` when to tick."""

    def __init__(
        self, extensions: Sequence[str], dialect: Dialect, *, probe_every: float, request_timeout: float
    ) -> None:
        self._extensions = tuple(extensions)
        self._dialect = dialect
        self._probe_every = probe_every
        self._request_timeout = request_timeout
        self._interval = 0.0
        self._deadline = math.inf
        self._last_id = 0
        self.state = State.NEW
        self.confirmed = False
        """Whether the recorder has confirmed the subscription, also when it died since."""

    def start(self, now: float) -> bytes:
        """The subscribe request, to be sent at once on the fresh connection."""
        self._happen(Happening.START, now)
        return requests.subscribe(self._next_id(), self._extensions, self._dialect)

    def message(self, message: Message, now: float) -> list[Event]:
        """Take note of a message read on this connection."""
        if isinstance(message, Response):
            return self._response(message, now)
        if isinstance(message, KeepAlive):
            return self._hear(Happening.KEEPALIVE, now, message.seconds)
        return self._hear(Happening.MESSAGE, now)

    def tick(self, now: float) -> tuple[bytes | None, Event | None]:
        """What is due: bytes to send, or the end. To be called at `deadline()` or later; earlier does nothing."""
        if now < self._deadline:
            return None, None
        before = self.state
        self._happen(Happening.DUE, now)
        if self.state is State.PROBING:
            return requests.probe(self._next_id(), self._dialect), None
        return None, Dead(self._why(before))

    def resumed(self, now: float) -> None:
        """Reading stood still until now: what is waiting gets the chance to be read before silence is judged."""
        waits = {State.ANNOUNCED: PATIENCE * self._interval, State.QUIET: 0.0}
        grace = min(self._request_timeout, waits.get(self.state, self._request_timeout))
        self._deadline = max(self._deadline, now + grace)

    def receiving(self, now: float) -> None:
        """Bytes of an unfinished document arrive: an awaited answer (a list can be large) may be on its way."""
        if self.state in (State.SUBSCRIBING, State.PROBING):
            self._deadline = max(self._deadline, now + self._request_timeout)

    def deadline(self) -> float | None:
        """When `tick` has something to do; None when nothing is awaited."""
        return None if math.isinf(self._deadline) else self._deadline

    def asked(self, request_id: str | None) -> Asked | None:
        """What the request of that id asked for; None if this connection never sent it.

        Ids are numbered from 1, the subscription's; so late and repeated answers are known for ever, at no cost.
        """
        if request_id == "1" and self._last_id:
            return Asked.SUBSCRIBE
        sent = request_id is not None and len(request_id) < 16 and request_id.isascii() and request_id.isdecimal()
        return Asked.PROBE if sent and 1 < int(request_id or 0) <= self._last_id else None

    def _response(self, response: Response, now: float) -> list[Event]:
        asked = self.asked(response.request_id)
        if asked is None:
            return [Stray(response.request_id), *self._hear(Happening.MESSAGE, now)]
        if asked is Asked.PROBE:
            return self._hear(Happening.MESSAGE, now)
        answer = read_answer(response, asked)
        if not isinstance(answer, Subscribed):
            return self._refused(response, now)
        return self._confirmed(answer.keepalive, now)

    def _confirmed(self, keepalive: float | None, now: float) -> list[Event]:
        happening = Happening.CONFIRMED_WITHOUT if keepalive is None else Happening.CONFIRMED
        first = self.state is State.SUBSCRIBING
        self._happen(happening, now, keepalive)
        self.confirmed = self.confirmed or first
        return [Confirmed(keepalive)] if first else []

    def _refused(self, response: Response, now: float) -> list[Event]:
        closed = self.state is State.CLOSED
        self._happen(Happening.REFUSED, now)
        return [] if closed else [Refused(response.code, response.error or "no text given")]

    def _hear(self, happening: Happening, now: float, seconds: float | None = None) -> list[Event]:
        before = self.state
        self._happen(happening, now, seconds)
        alive = before is State.PROBING or (happening is Happening.KEEPALIVE and self.state is State.ANNOUNCED)
        return [Alive()] if alive else []

    def _happen(self, happening: Happening, now: float, seconds: float | None = None) -> None:
        """Follow the table, then set the deadline that the new state brings."""
        before = self.state
        after = TRANSITIONS.get((before, happening))
        if after is None:
            raise ProtocolError(f'a subscription in state "{before.value}" does not know the event "{happening.value}"')
        self.state = after
        if seconds is not None:
            self._interval = seconds
        if after is not before or (after is State.ANNOUNCED and seconds is not None):
            self._deadline = now + self._wait()

    def _wait(self) -> float:
        """How long the state that was just entered may last, in seconds."""
        if self.state is State.ANNOUNCED:
            return PATIENCE * self._interval
        if self.state is State.QUIET:
            return self._probe_every
        return math.inf if self.state is State.CLOSED else self._request_timeout

    def _why(self, before: State) -> str:
        if before is State.ANNOUNCED:
            return f"no keep-alive within {PATIENCE:g} times the announced {self._interval:g} s"
        what = "subscription" if before is State.SUBSCRIBING else "probe"
        return f"the {what} was not answered within {self._request_timeout:g} s"

    def _next_id(self) -> str:
        self._last_id += 1
        return str(self._last_id)


def diagram() -> str:
    """The table as a Mermaid state diagram, one arrow for each pair of states."""
    arrows: dict[tuple[State, State], list[str]] = {}
    for (before, happening), after in TRANSITIONS.items():
        if before is not after:
            arrows.setdefault((before, after), []).append(happening.value)
    lines = [f"    {a.value} --> {b.value}: {' / '.join(words)}" for (a, b), words in arrows.items()]
    return "\n".join(["stateDiagram-v2", "    [*] --> new", *lines, "    closed --> [*]"])
