"""What a response means, given what was asked. The live session and a replay of the journal both use this.

A failure, and an answer that is not understood, say nothing about any call: out of reach is never empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from etl.model import Asked, Record
from etl.protocol.messages import Response
from etl.protocol.records import BadRecord


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The subscription is confirmed; the first keep-alive follows within `keepalive` seconds (None: there are none).

    `strange` names what else the response held and nobody reads.
    """

    keepalive: float | None
    strange: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ListAnswer:
    """All calls being recorded; `bad` are listed calls without an id."""

    records: tuple[Record, ...]
    bad: tuple[BadRecord, ...]


@dataclass(frozen=True, slots=True)
class DetailAnswer:
    """The record of the very call that was asked for; `strange` names what stood beside it and nobody reads."""

    record: Record
    strange: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UnknownCall:
    """The recorder does not know the call; `error` is its text."""

    error: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The recorder answered with an error: it says nothing about any call."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class NotUnderstood:
    """A success of a shape that nobody knows, for quarantine. `reason` is a machine word, `detail` names what."""

    reason: str
    detail: str = ""


Answer: TypeAlias = Subscribed | ListAnswer | DetailAnswer | UnknownCall | Failed | NotUnderstood


def read_answer(response: Response, asked: Asked, call_id: str | None = None) -> Answer:
    """What `response` says; `call_id` is the call that a detail was asked for (ids are compared without case)."""
    if not response.ok:
        return _failure(response, asked)
    if asked is Asked.SUBSCRIBE:
        return Subscribed(response.keepalive, _beside(response))
    if asked is Asked.DETAIL:
        return _detail(response, call_id or "")
    return _list(response, asked)


def _failure(response: Response, asked: Asked) -> UnknownCall | Failed:
    text = response.error or "no text given"
    if asked is Asked.DETAIL and response.unknown_call:
        return UnknownCall(text)
    return Failed(response.code, text)


def _beside(response: Response) -> tuple[str, ...]:
    held = [name for name, there in (("calls", response.calls or response.bad), ("records", response.details)) if there]
    return (*response.strange, *held)


def _list(response: Response, asked: Asked) -> ListAnswer | NotUnderstood:
    """A probe asks for life, not for content: what is strange in its answer is strange in every list's answer too,
    and is reported there; and where the dialect names another request as probe, its content is of no interest."""
    if response.details:
        return NotUnderstood("records_in_list")
    if response.strange and asked is not Asked.PROBE:
        return NotUnderstood("strange_list", ", ".join(response.strange))
    return ListAnswer(response.calls, response.bad)


def _detail(response: Response, call_id: str) -> DetailAnswer | NotUnderstood:
    if response.bad:
        return NotUnderstood("detail_without_id")
    if response.calls:
        return NotUnderstood("calls_in_detail")
    if len(response.details) != 1:
        return NotUnderstood("no_record" if not response.details else "several_records")
    record = response.details[0]
    if record.call_id.casefold() != call_id.strip().casefold():
        return NotUnderstood("other_call", f"asked for {call_id}, got {record.call_id}")
    return DetailAnswer(record, response.strange)
