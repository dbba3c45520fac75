"""What the HTTP history knows, and its searches: no sockets."""

from __future__ import annotations

import secrets
from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias
from zoneinfo import ZoneInfo

from etl.simulator.calls import Fields, SimulatedCall, cut, local_text
from etl.simulator.clock import Clock
from etl.simulator.config import HttpConfig
from etl.simulator.wire import Wire
from etl.simulator.world import World

Parameters: TypeAlias = Mapping[str, Sequence[str]]
_FORMATS = ("%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d")


class Refused(Exception):
    """The history says no, which is an answer and no failure of ours: a code of the API, and why."""

    def __init__(self, code: int, text: str) -> None:
        """`code` is negative, as in the API."""
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Answer:
    """A document, the code in it, and how many rows it has."""

    document: bytes
    code: int = 0
    rows: int | None = None


class History:
    """Every record that was ever finished, whatever the recorder itself has forgotten since."""

    def __init__(self, config: HttpConfig | None, world: World, clock: Clock) -> None:
        """Takes in the calls of `world` as they end."""
        self._config = config or HttpConfig()
        self._worlds: list[World] = []
        self._clock = clock
        self._zone = ZoneInfo(self._config.timezone)
        self._wire = Wire()
        self._calls: list[SimulatedCall] = []
        self._tokens: dict[str, float] = {}
        self.take_in(world)

    def take_in(self, world: World) -> None:
        """Takes in the calls of one more recorder, too: a site has one history for all."""
        self._worlds.append(world)
        world.on_ended.append(lambda call: insort(self._calls, call, key=_start))

    def answer(self, parameters: Parameters, login: tuple[str, str] | None) -> Answer:
        """Answers one request; `login` is the name and password of HTTP Basic, if any."""
        action = _one(parameters, "action")
        try:
            if action == "RequestToken":
                return Answer(self._wire.token(self._token(parameters, login)))
            if action == "SearchCalls":
                return self._search(parameters)
            raise Refused(-20, f"Unknown action: {action}")
        except Refused as refused:
            return Answer(self._wire.http_error(action, refused.code, str(refused)), refused.code)

    def _token(self, parameters: Parameters, login: tuple[str, str] | None) -> str:
        self._check_key(parameters)
        given = login or (_one(parameters, "userName"), _one(parameters, "password"))
        expected = (self._config.username, self._config.password)
        if self._config.username and given != expected:
            raise Refused(-40, "Wrong user name or password")
        token = secrets.token_hex(16)
        self._tokens[token] = self._clock.monotonic() + self._config.token_lifetime
        return token

    def _check_key(self, parameters: Parameters) -> None:
        if self._config.api_key and _one(parameters, "apiKey") != self._config.api_key:
            raise Refused(-41, "Wrong API key")

    def _check_token(self, parameters: Parameters) -> None:
        if not self._config.username:
            return
        token = _one(parameters, "token")
        if not token:
            raise Refused(-42, "Login required")
        if self._tokens.get(token, 0.0) <= self._clock.monotonic():
            raise Refused(-43, "Token expired")

    def _search(self, parameters: Parameters) -> Answer:
        self._check_key(parameters)
        self._check_token(parameters)
        start, end = self._moment(parameters, "start"), self._moment(parameters, "end")
        found = [call for call in self._candidates(parameters, start, end) if _wanted(call, parameters)]
        order = _one(parameters, "orderby") or "start_time"
        found.sort(key=lambda call: (self._text(call, order), call.call_id))
        if _one(parameters, "order") == "desc":
            found.reverse()
        page = self._page(found, parameters)
        rows = [self._wire.record("1" if call.end else "0", self._row(call)) for call in page]
        return Answer(self._wire.search_result(rows), rows=len(rows))

    def _candidates(self, parameters: Parameters, start: datetime, end: datetime) -> list[SimulatedCall]:
        if _one(parameters, "status") == "ongoing":
            ongoing = (call for world in self._worlds for call in world.ongoing.values())
            return [call for call in ongoing if start <= call.start < end]
        first, behind = (bisect_left(self._calls, moment, key=_start) for moment in (start, end))
        return [call for call in self._calls[first:behind] if self._appeared(call)]

    def _appeared(self, call: SimulatedCall) -> bool:
        return self._clock.monotonic() >= (call.ended or 0.0) + self._config.delay

    def _page(self, found: list[SimulatedCall], parameters: Parameters) -> list[SimulatedCall]:
        first = _number(parameters, "pagefirst", 1)
        length = min(_number(parameters, "pagelen", self._config.page_limit), self._config.page_limit)
        return found[first - 1 : first - 1 + length]

    def _moment(self, parameters: Parameters, name: str) -> datetime:
        text = _one(parameters, name)
        for form in _FORMATS:
            try:
                return datetime.strptime(text, form).replace(tzinfo=self._zone).astimezone(UTC)
            except ValueError:
                continue
        raise Refused(-20, f"{name} is missing or no time: {text!r}")

    def _row(self, call: SimulatedCall) -> Fields:
        times: Fields = {"start_time": local_text(call.start, self._zone, "milliseconds")}
        if call.end is not None:
            times["end_time"] = local_text(call.end, self._zone, "milliseconds")
            times["duration"] = _duration(call)
        return {"ccdr_id": call.call_id, **times, **call.fields}

    def _text(self, call: SimulatedCall, name: str) -> str:
        # in UTC: the order of local times is not that of the calls when clocks are set back
        if name == "start_time":
            return call.start.isoformat()
        if name == "end_time":
            return (call.end or call.start).isoformat()
        return str(call.fields.get(name, ""))


def _start(call: SimulatedCall) -> datetime:
    return call.start


def _duration(call: SimulatedCall) -> str:
    assert call.end is not None
    seconds = int((cut(call.end, "milliseconds") - call.start).total_seconds())
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def _one(parameters: Parameters, name: str) -> str:
    return next(iter(parameters.get(name, ())), "")


def _number(parameters: Parameters, name: str, default: int) -> int:
    text = _one(parameters, name)
    if not text:
        return default
    if not text.isdecimal() or int(text) < 1:
        raise Refused(-20, f"{name} must be 1 or more, not {text!r}")
    return int(text)


def _wanted(call: SimulatedCall, parameters: Parameters) -> bool:
    if call.fields.get("secondary") == "true" and _one(parameters, "secondary") != "1":
        return False
    return _any(call, parameters.get("anynum", ()), "caller_id") and _any(call, parameters.get("anyname", ()), "name")


def _any(call: SimulatedCall, wanted: Sequence[str], part: str) -> bool:
    return not wanted or any(call.fields.get(f"{side}_{part}") in wanted for side in ("source", "destination"))
