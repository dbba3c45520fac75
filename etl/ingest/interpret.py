"""What one line of the journal says: facts, quarantine, and what a session's coverage needs to know.

Pure, and free of memory: whatever is needed to understand an answer stands in the entry's own note. So a
replay, today or in a year, comes to the same result under the same settings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from etl import heap
from etl.calls import coverage
from etl.calls.facts import Reading, absent_fact, read_fact
from etl.config import RecorderDefaults, Settings
from etl.errors import CdrError
from etl.model import Asked, Draft, Fact, Kind, Quarantined, Record, What
from etl.protocol.answers import (
    Answer,
    DetailAnswer,
    ListAnswer,
    NotUnderstood,
    Subscribed,
    UnknownCall,
    read_answer,
)
from etl.protocol.dialect import Dialect
from etl.protocol.documents import NotWellFormed, new_parser, parse
from etl.protocol.messages import Message, Notification, Response, Unplaced, read
from etl.protocol.records import BadRecord, read_call, read_record


@dataclass(frozen=True, slots=True)
class Source:
    """How the documents of one recorder are read: its dialect, zone and place; and the extensions subscribed to
    (none: all calls)."""

    dialect: Dialect
    reading: Reading
    extensions: frozenset[str] = frozenset()

    def wants(self, record: Record) -> bool:
        """Whether the subscription would show this call: a number matches as calling or called party."""
        return not self.extensions or any(
            party in self.extensions
            for name in ("source_caller_id", "destination_caller_id")
            if (number := record.fields.get(name))
            for party in (number, _user(number))
        )


@dataclass(slots=True)
class Interpreted:
    """What a line of the journal came to. `heard` is what the session's coverage learns from it.

    `strangers` are listed calls that match none of the extensions we subscribe to: facts only of calls that are
    known anyway.
    """

    facts: list[Fact] = field(default_factory=list)
    strangers: list[Fact] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    heard: coverage.Heard | None = None


class Interpreter:
    """Reads journal lines of any recorder under the given settings. One for each thread.

    A recorder that is no longer configured is read with the defaults: its calls must not be lost, and
    `cdr rebuild` can mend their times.
    """

    def __init__(self, settings: Settings) -> None:
        locations = settings.locations()
        self._sources = {recorder.name: _source(recorder, recorder.name, locations) for recorder in settings.recorder}
        self._defaults = settings.recorder_defaults
        self._http, self._files = settings.history.http, settings.history.files
        self._locations = locations
        self._parser = new_parser()

    def source(self, recorder: str) -> Source:
        """How to read what this recorder sent."""
        if recorder not in self._sources:
            self._sources[recorder] = _source(self._defaults, recorder, self._locations)
        return self._sources[recorder]

    def interpret(self, draft: Draft) -> Interpreted:
        """What this line says. Total: whatever is not understood comes out as quarantined."""
        if draft.what is What.REJECTED:
            return Interpreted(quarantined=[_quarantined(draft, str(draft.note.get("reason", "rejected")), draft.body)])
        if draft.what is What.ABSENT:
            told = Interpreted()
            _tell_absent(told, draft)
            return told
        if draft.what is not What.DOCUMENT:
            return Interpreted()
        source = self.source(draft.recorder)
        try:
            messages = self._messages(draft.body, source.dialect)
        except NotWellFormed as error:
            return Interpreted(quarantined=[_quarantined(draft, error.reason, draft.body)])
        told = Interpreted()
        if draft.note.get("channel") != "query":
            told.heard = coverage.Message()
        for message in messages:
            _tell(told, message, draft, source)
        told.quarantined = _once(told.quarantined, draft.body)
        return told

    def _messages(self, body: bytes, dialect: Dialect) -> tuple[Message, ...]:
        messages = read(parse(body, self._parser), dialect)
        if len(body) >= heap.LARGE:
            heap.give_back()
        return messages

    def reread(self, kind: Kind, recorder: str | None, call_id: str, observed_at: datetime, element: bytes) -> Fact:
        """A stored fact's element under today's settings.

        Raises CdrError where it cannot be read any more, and for a history that is not configured: nobody knows the
        zone of its times then.
        """
        if kind is Kind.ABSENT:
            return absent_fact(call_id, observed_at, recorder or "", element)
        if recorder is None and (self._files if kind is Kind.FILE else self._http) is None:
            table = "[history.files]" if kind is Kind.FILE else "[history.http]"
            raise CdrError(f"call {call_id}: the kept element of its {kind} fact needs the timezone under {table}")
        try:
            record = self.record(kind, recorder, element)
        except NotWellFormed as error:
            raise CdrError(f"call {call_id}: the kept element of its {kind} fact cannot be read: {error}") from None
        if isinstance(record, BadRecord):
            raise CdrError(f"call {call_id}: the kept element of its {kind} fact has no id under this dialect")
        source = self._source_of(kind, recorder)
        if kind is Kind.UNFINISHED:  # whether it is finished is what today's settings decide
            kind = Kind.DETAIL if recorder is not None else Kind.HTTP
        return read_fact(record, kind, observed_at, source.reading)

    def record(self, kind: Kind, recorder: str | None, element: bytes) -> Record | BadRecord:
        """A stored fact's element as text, under today's dialect; `recorder` is None for history.

        Raises NotWellFormed.
        """
        root = parse(element, self._parser)
        read_element = read_call if kind in (Kind.START, Kind.END, Kind.LIST) else read_record
        return read_element(root, self._source_of(kind, recorder).dialect)

    def _source_of(self, kind: Kind, recorder: str | None) -> Source:
        return self.source(recorder) if recorder is not None else self.history(kind)

    def history(self, kind: Kind) -> Source:
        """How the history's records are read: in a zone of their own, and without a dialect."""
        settings = self._files if kind is Kind.FILE else self._http
        zone = settings.timezone if settings is not None else ZoneInfo("UTC")
        return Source(Dialect(), Reading(zone, None, self._locations))


def _source(settings: RecorderDefaults, recorder: str, locations: Mapping[str, str]) -> Source:
    dialect = Dialect.from_overrides(settings.dialect)
    finished = frozenset(word.casefold() for word in dialect.finished_states)
    reading = Reading(settings.timezone, recorder, locations, finished)
    return Source(dialect, reading, frozenset(settings.extensions))


def _user(number: str) -> str:
    """The user part of an address such as `sip:1000@example.com`; a plain number as it is."""
    return number.partition("@")[0].rpartition(":")[2]


def _tell(told: Interpreted, message: Message, draft: Draft, source: Source) -> None:
    if isinstance(message, Notification):
        _add(told, message.records, message.bad, message.kind, draft, source)
    elif isinstance(message, Response):
        _tell_response(told, message, draft, source)
    elif isinstance(message, Unplaced):
        told.quarantined.append(_quarantined(draft, message.reason, draft.body))


def _tell_response(told: Interpreted, response: Response, draft: Draft, source: Source) -> None:
    asked = _asked(draft)
    if asked is None:
        told.quarantined.append(_quarantined(draft, "answers_nothing_asked", draft.body))
        return
    call_id = draft.note.get("call_id")
    answer = read_answer(response, asked, str(call_id) if call_id is not None else None)
    _tell_answer(told, answer, asked, draft, source)


def _tell_answer(told: Interpreted, answer: Answer, asked: Asked, draft: Draft, source: Source) -> None:
    if isinstance(answer, Subscribed | DetailAnswer) and answer.strange:
        told.quarantined.append(_quarantined(draft, "partly_understood", draft.body))
    if isinstance(answer, Subscribed):
        told.heard = coverage.Subscribed()
    elif isinstance(answer, ListAnswer):
        _add(told, answer.records, answer.bad, Kind.LIST, draft, source)
        if asked is Asked.LIST and (requested_at := _time(draft, "requested_at")):
            told.heard = coverage.Listed(requested_at)
    elif isinstance(answer, DetailAnswer):
        _add(told, (answer.record,), (), Kind.DETAIL, draft, source)
    elif isinstance(answer, UnknownCall):
        _tell_unknown(told, draft)
    elif isinstance(answer, NotUnderstood):
        told.quarantined.append(_quarantined(draft, answer.reason, draft.body))


def _tell_unknown(told: Interpreted, draft: Draft) -> None:
    """The recorder does not know an ended call, asked for the last time: it will not come from there.

    Earlier answers of that kind prove nothing: a recorder may take its time to write a record.
    """
    if draft.note.get("purpose") == "last":
        _tell_absent(told, draft)


def _tell_absent(told: Interpreted, draft: Draft) -> None:
    call_id = draft.note.get("call_id")
    if isinstance(call_id, str) and call_id:
        seen_at = _time(draft, "seen_at") or draft.observed_at
        told.facts.append(absent_fact(call_id, seen_at, draft.recorder, draft.body))
    else:
        told.quarantined.append(_quarantined(draft, "absent_without_id", draft.body))


def _asked(draft: Draft) -> Asked | None:
    """What was asked; None for a word that only another version of this program knows."""
    return next((each for each in Asked if each == draft.note.get("asked")), None)


def _time(draft: Draft, key: str) -> datetime | None:
    """A moment that the note holds."""
    try:
        moment = datetime.fromisoformat(str(draft.note.get(key)))
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def _add(
    told: Interpreted,
    records: Iterable[Record],
    bad: Iterable[BadRecord],
    kind: Kind,
    draft: Draft,
    source: Source,
) -> None:
    for record in records:
        fact = read_fact(record, kind, draft.observed_at, source.reading)
        wanted = kind is not Kind.LIST or source.wants(record)
        (told.facts if wanted else told.strangers).append(fact)
    marked = replace(draft, note={**draft.note, "kind": kind.value})
    told.quarantined += [_quarantined(marked, record.reason, record.element) for record in bad]


def _once(found: list[Quarantined], body: bytes) -> list[Quarantined]:
    """A document is kept once, for the first reason: it can hold a hundred thousand things that nobody knows."""
    if len(found) < 2:
        return found
    whole = next((each for each in found if each.body is body), None)
    return [each for each in found if each is whole or each.body is not body]


def _quarantined(draft: Draft, reason: str, body: bytes) -> Quarantined:
    return Quarantined(draft.observed_at, draft.recorder, "stream", reason, body, draft.session, draft.note)
