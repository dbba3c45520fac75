"""The vocabulary that all layers share: plain immutable values, no behaviour beyond their own fields.

Every time in here is an aware `datetime` in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, StrEnum
from typing import TypeAlias
from uuid import UUID

from etl.errors import CdrError

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"
Value: TypeAlias = str | int | bool | datetime | timedelta
"""A typed field value as PostgreSQL will hold it."""


class Kind(StrEnum):
    """What a fact stems from. Of each kind only the fact observed last counts for a call."""

    DETAIL = "detail"
    HTTP = "http"
    FILE = "file"
    UNFINISHED = "unfinished"
    END = "end"
    START = "start"
    LIST = "list"
    ABSENT = "absent"


PRECEDENCE: dict[Kind, int] = {
    Kind.DETAIL: 0,
    Kind.HTTP: 0,
    Kind.FILE: 0,
    Kind.UNFINISHED: 1,
    Kind.END: 2,
    Kind.START: 3,
    Kind.LIST: 4,
    Kind.ABSENT: 5,
}
"""The merge's law as data: a lower number speaks first; within a number the fact observed last, then the
greater digest. The SQL of the merge is generated from this table."""

FINISHED: frozenset[Kind] = frozenset({Kind.DETAIL, Kind.HTTP, Kind.FILE})
"""The kinds that hold a finished record: one of them makes a call `complete`."""


HISTORY: frozenset[Kind] = frozenset({Kind.HTTP, Kind.FILE})
"""The kinds of finished records that the history shows, and no recorder's stream."""


class State(StrEnum):
    """The state of a call; follows from its facts alone."""

    ONGOING = "ongoing"
    ENDED = "ended"
    COMPLETE = "complete"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Record:
    """One call as one message or file shows it, not yet interpreted: text as received.

    `state` is the record's own word on whether it is finished (`1`, `0`, `recorded`, …), None without one.
    `fields` maps our wire names (see `etl.fields`) to stripped, non-empty text. `extras` holds everything
    else, nested too, without nulls. `element` is the call's own element as received, in UTF-8.
    """

    call_id: str
    state: str | None
    fields: Mapping[str, str]
    extras: Mapping[str, Json]
    element: bytes


@dataclass(frozen=True, slots=True)
class Fact:
    """What one message or record says of one call.

    `recorder` is the configured recorder whose stream showed it (None for history). `located` is the
    recorder that the record's location maps to, else the location as written, else None. `digest`
    identifies the content as received. `values` holds only the fields that have a value; `quality` the
    flags of this fact. `history` is `HTTP` or `FILE` for a record of the history, finished or not: it says in
    which zone it is to be read.
    """

    call_id: str
    id_time: datetime
    kind: Kind
    observed_at: datetime
    recorder: str | None
    located: str | None
    digest: bytes
    element: bytes
    values: Mapping[str, Value]
    attributes: Mapping[str, Json]
    quality: tuple[str, ...]
    history: Kind | None = None


class What(Enum):
    """What a line of the journal holds."""

    DOCUMENT = "document"
    """A complete document as received, in `body`."""
    REJECTED = "rejected"
    """Bytes that could not be understood, in `body`; `note["reason"]` says why."""
    OPENED = "opened"
    """A session was opened: `note` has `worker` and `extensions`."""
    PAUSED = "paused"
    """Reading stood still from `note["from"]` until `observed_at`."""
    STEPPED = "stepped"
    """The clock was set: `note["from"]` is the time before, `note["to"]` the time after the step."""
    ABSENT = "absent"
    """A run found that the recorder neither lists nor knows the call `note["call_id"]`; `body` is its answer."""
    CLOSED = "closed"
    """The session ended; `note["reason"]` says why."""


class Asked(StrEnum):
    """What a response answers; stands in the note of a journaled document as `asked`."""

    SUBSCRIBE = "subscribe"
    LIST = "list"
    DETAIL = "detail"
    PROBE = "probe"


@dataclass(frozen=True, slots=True)
class Draft:
    """A line for the journal before it has a number.

    `observed_at` is the time of receipt. For a document that answers a request, `note` names what was
    asked: `asked`, `requested_at` (ISO 8601), and for a detail `call_id` and `purpose`.
    """

    observed_at: datetime
    recorder: str
    session: UUID
    what: What
    body: bytes = b""
    note: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the journal: a draft that was committed under a `sequence`, from 1 without holes."""

    sequence: int
    draft: Draft


@dataclass(frozen=True, slots=True)
class Quarantined:
    """Something that could not be understood, kept as it came.

    `origin` is where from: `stream`, `http`, or a file's path. `digest` makes a replay harmless.
    """

    observed_at: datetime
    recorder: str | None
    origin: str
    reason: str
    body: bytes
    session: UUID | None = None
    note: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, order=True)
class Interval:
    """A half-open span of time `[start, end)`, never empty."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if not self.start < self.end:
            raise CdrError(f"an interval must end after its start, not {self.start} .. {self.end}")
