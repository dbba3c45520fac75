"""From a record as received to a fact: typed values, and flags for all that does not fit.

Pure and total: any record gives a fact. A value that does not fit is no value, is named in `quality`, and
stays as it came in the fact's element. Source: section 6 of the contract; `docs/facts.md` explains the flags.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from etl.calls.ids import canonical, id_time, is_timed
from etl.calls.zones import Readings, parse_local, readings
from etl.fields import FIELDS, FieldType
from etl.model import FINISHED, HISTORY, Fact, Json, Kind, Record, Value

DURATION_FITS = timedelta(minutes=1)
"""A reported duration decides between two readings of an end when it leads to within this of one of them.
Readings lie half an hour or more apart, so a duration that leads near neither decides nothing."""

DURATION_TOLERANCE = timedelta(seconds=2)
"""How far end minus start may differ from the reported duration: start, end and duration may each be cut
down to whole seconds, so honest records differ by less than this."""

QUARTER = timedelta(minutes=15)
_HALF = QUARTER / 2
ZONE_SLACK = timedelta(seconds=15)
"""A start suggests a wrong zone when it misses the id's time by whole quarters of an hour, to within this.
An id's time lies about a second before the start, so a wrong zone shows as sharply as this. A recording that
starts late, by chance just then, is flagged in one case of thirty."""

ZONE_REACH = timedelta(hours=26)
"""No two zones differ by more (UTC-12 and UTC+14)."""

FLAGS: Mapping[str, str] = {
    "bad_<field>": "the field has a text that does not fit its type; the field is null",
    "end_before_start": "the end lies before the start; the end is null",
    "end_ambiguous": "the end lies in the hour that a clock set back repeats, and nothing tells which of the two",
    "nonexistent_time": "start or end lies in the hour that a clock set forward skips; read by the offset before",
    "duration_differs": "end minus start differs from the reported duration by more than 2 s",
    "zone_suspect": "the start misses the id's time by whole quarters of an hour: check the zone of its source",
    "recorder_differs": "the record's location names another recorder than the one whose stream showed it",
}
"""Every flag that `quality` can hold, and what it says. `recorder_differs` is found by the merge."""

_INTEGER = re.compile(r"[+-]?\d{1,20}", re.ASCII)
_DURATION = re.compile(r"(\d{1,6}):([0-5]\d):([0-5]\d)(?:\.(\d{1,9}))?", re.ASCII)
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_REPEATED = 1024
"""How many readings of each type are kept in mind: codes and words repeat from record to record."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read the records of one source.

    `zone` is the zone of its local times. `recorder` is the configured recorder whose stream they came over,
    None for history. `locations` maps case-folded locations to recorders. `finished_states` are the words,
    case-folded, by which a record says that it is finished.
    """

    zone: ZoneInfo
    recorder: str | None
    locations: Mapping[str, str] = field(default_factory=dict)
    finished_states: frozenset[str] = frozenset({"1", "recorded"})


def read_fact(record: Record, kind: Kind, observed_at: datetime, reading: Reading) -> Fact:
    """What a record says of its call, as a fact of this kind observed at this time (UTC).

    For a record in full pass where it came from (`DETAIL`, `HTTP`, `FILE`): the fact becomes `UNFINISHED`
    where the record says that it is not finished.
    """
    call_id = canonical(record.call_id)
    time = id_time(call_id)
    values, flags, attributes = _plain_values(record)
    times = _read_times(record.fields, reading.zone, flags)
    _place_times(times, time, values, flags)
    return Fact(
        call_id=call_id,
        id_time=time,
        kind=_finished_or_not(kind, record, "end_time" in times, reading.finished_states),
        observed_at=observed_at,
        recorder=reading.recorder,
        located=_located(values.get("location"), reading.locations),
        digest=content_digest(record.element, reading.recorder),
        element=record.element,
        values=values,
        attributes=attributes,
        quality=tuple(sorted(flags)),
        history=kind if kind in HISTORY else None,
    )


def is_finished(record: Record, reading: Reading) -> bool:
    """Whether a record in full is a finished one: whether `read_fact` would leave its kind as it is."""
    return _finished(record, "end_time" in _read_times(record.fields, reading.zone, set()), reading.finished_states)


def absent_fact(call_id: str, observed_at: datetime, recorder: str, element: bytes) -> Fact:
    """The fact that a recorder does not know a call; `element` is the evidence, its answer as received."""
    call_id = canonical(call_id)
    return Fact(
        call_id=call_id,
        id_time=id_time(call_id),
        kind=Kind.ABSENT,
        observed_at=observed_at,
        recorder=recorder,
        located=None,
        digest=content_digest(element, recorder),
        element=element,
        values={},
        attributes={},
        quality=(),
    )


def content_digest(element: bytes, recorder: str | None) -> bytes:
    """16 bytes that identify what was received and over whose stream.

    Never taken over values, which depend on zones and dialect: a mended setting must not make new facts.
    """
    return hashlib.blake2b(b"%b\0%b" % ((recorder or "").encode(), element), digest_size=16).digest()


def parse_duration(text: str) -> timedelta | None:
    """Reads `hh:mm:ss[.fraction]`, where hours may exceed 24; None for anything else."""
    match = _DURATION.fullmatch(text)
    if match is None:
        return None
    hours, minutes, seconds, fraction = match.groups()
    return timedelta(
        hours=int(hours),
        minutes=int(minutes),
        seconds=int(seconds),
        microseconds=int((fraction or "0").ljust(6, "0")[:6]),
    )


def _plain_values(record: Record) -> tuple[dict[str, Value], set[str], Mapping[str, Json]]:
    """Every value but the times, a `bad_` flag for each that does not fit, and the attributes."""
    values: dict[str, Value] = {}
    flags: set[str] = set()
    unknown: dict[str, Json] = {}
    for wire_name, text in record.fields.items():
        if wire_name in _TEXTS:
            values[wire_name] = text
        elif column := _PLAIN.get(wire_name):
            name, read = column
            value = read(text)
            if value is None:
                flags.add(f"bad_{name}")
            else:
                values[name] = value
        elif wire_name not in _TIMES:
            unknown[wire_name] = text
    return values, flags, {**unknown, **record.extras} if unknown else record.extras


@lru_cache(_REPEATED)
def _boolean(text: str) -> bool | None:
    return _BOOLEANS.get(text.lower())


@lru_cache(_REPEATED)
def _integer(text: str) -> int | None:
    if not _INTEGER.fullmatch(text):
        return None
    number = int(text)
    return number if -(2**31) <= number < 2**31 else None


def _read_times(fields: Mapping[str, str], zone: ZoneInfo, flags: set[str]) -> dict[str, Readings]:
    """The readings of start and end, where they can be read; a flag where they can't."""
    times: dict[str, Readings] = {}
    for name in _TIMES:
        text = fields.get(name)
        if text is None:
            continue
        local = parse_local(text)
        read = readings(local, zone) if local else Readings(())
        if read.instants:
            times[name] = read
        else:
            flags.add(f"bad_{name}")
    return times


def _place_times(times: Mapping[str, Readings], id_moment: datetime, values: dict[str, Value], flags: set[str]) -> None:
    """Adds start and end to the values, with the flags that judge them."""
    start, end = times.get("start_time"), times.get("end_time")
    duration = values.get("recorder_duration")
    assert duration is None or isinstance(duration, timedelta)
    began = _start(start, id_moment, flags) if start else None
    if began is not None:
        values["start_time"] = began
    if end is None:
        return
    ended = _end(end, began, id_moment, duration, flags)
    if began is not None and ended < began:
        flags.add("end_before_start")
        flags.discard("end_ambiguous")
        return
    values["end_time"] = ended
    if began is not None and duration is not None and abs(ended - began - duration) > DURATION_TOLERANCE:
        flags.add("duration_differs")


def _start(read: Readings, id_moment: datetime, flags: set[str]) -> datetime:
    """The reading nearest to the id's time; without such a time the first."""
    if read.nonexistent:
        flags.add("nonexistent_time")
    if not is_timed(id_moment):
        return read.instants[0]
    start = read.instants[0]
    if len(read.instants) > 1:
        start = min(read.instants, key=lambda instant: abs(instant - id_moment))
    if _suggests_wrong_zone(start - id_moment):
        flags.add("zone_suspect")
    return start


def _suggests_wrong_zone(difference: timedelta) -> bool:
    if -_HALF <= difference <= _HALF:
        return False
    quarters = round(difference / QUARTER)
    return quarters != 0 and abs(difference) <= ZONE_REACH and abs(difference - quarters * QUARTER) <= ZONE_SLACK


def _end(
    read: Readings, start: datetime | None, id_moment: datetime, duration: timedelta | None, flags: set[str]
) -> datetime:
    """The one reading; of two the one that the duration decides, else the first not before the start.

    Where the record has no start the id's time stands in for it, about a second early.
    """
    if read.nonexistent:
        flags.add("nonexistent_time")
    if len(read.instants) == 1:
        return read.instants[0]
    origin = start or (id_moment if is_timed(id_moment) else None)
    if origin is None:
        flags.add("end_ambiguous")
        return read.instants[0]
    if duration is not None:
        nearest = min(read.instants, key=lambda instant: abs(instant - origin - duration))
        if abs(nearest - origin - duration) <= DURATION_FITS:
            return nearest
    possible = [instant for instant in read.instants if instant >= origin]
    if len(possible) != 1:
        flags.add("end_ambiguous")
    return possible[0] if possible else read.instants[-1]


def _finished_or_not(kind: Kind, record: Record, has_end: bool, finished_states: frozenset[str]) -> Kind:
    if kind not in FINISHED:
        return kind
    return kind if _finished(record, has_end, finished_states) else Kind.UNFINISHED


def _finished(record: Record, has_end: bool, finished_states: frozenset[str]) -> bool:
    """A record is finished by its own word; without a word, by having an end that can be read."""
    return has_end if record.state is None else record.state.strip().casefold() in finished_states


def _located(location: Value | None, locations: Mapping[str, str]) -> str | None:
    if not isinstance(location, str):
        return None
    return locations.get(location.casefold(), location)


_TIMES = ("start_time", "end_time")
_TEXTS = frozenset(field.name for field in FIELDS if field.type is FieldType.TEXT and not field.wire)
"""Fields that are text, and columns of the same name."""
_READERS: Mapping[FieldType, Callable[[str], Value | None]] = {
    FieldType.TEXT: str,
    FieldType.INTEGER: _integer,
    FieldType.BOOLEAN: _boolean,
    FieldType.INTERVAL: parse_duration,
}
_PLAIN = {field.wire_name: (field.name, _READERS[field.type]) for field in FIELDS if field.type in _READERS}
"""Every field but the times: its wire name, with its column and what reads its text."""
