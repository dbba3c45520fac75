"""What the known archive (`support.known`) is told in: where and when it was, what a call is, a gap, and the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from etl.model import Kind

UTC_ZONE, BERLIN, NEW_YORK = ZoneInfo("UTC"), ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")
ZONES = {"berlin-1": BERLIN, "ny-1": NEW_YORK, "ny-2": NEW_YORK}
"""The recorders and the zones of the times that they send."""

BEGIN, END = datetime(2025, 3, 1, tzinfo=UTC), datetime(2025, 4, 1, tzinfo=UTC)
"""March, in UTC."""

SUBSCRIBED, LISTENED = datetime(2025, 2, 28, tzinfo=UTC), datetime(2025, 4, 2, tzinfo=UTC)
"""When all three were subscribed to first, and up to when those in use were listened to."""

RETIRED = datetime(2025, 3, 25, 12, tzinfo=UTC)
"""When `ny-2` was retired."""

READ_HISTORY = datetime(2025, 3, 14, 6, tzinfo=UTC)
"""When the history over HTTP was read."""

SUSPECT = "+12125550666"
"""A party under investigation."""

ERASED = "+12125550199"
"""A party whose calls were erased: nothing in the archive tells of it any more."""

HEARD = (Kind.START, Kind.END, Kind.DETAIL)
"""How the archive learns of a call when all is well."""


@dataclass(frozen=True)
class KnownCall:
    """A call as it was, in UTC, and how the archive learned of it (`heard`, in order).

    `name` says what it is there for; the calls of every day have none. `conversation`: what it is a copy of; calls of
    one conversation share it. `platform`: the id that copies and the halves of a failover share. `wire`: what its
    records say otherwise. `clock_off`: by how much the time in its id is off.
    """

    recorder: str
    start: datetime | None
    end: datetime | None
    caller: str | None
    called: str | None
    extension: str | None
    name: str = ""
    call_id: str = ""
    state: str = "complete"
    heard: tuple[Kind, ...] = HEARD
    cause: int | None = 0
    direction: int | None = None
    modality: str = "voice"
    signaling: int | None = 2
    caller_name: str | None = None
    agent: str | None = None
    platform: str | None = None
    conversation: str = ""
    secondary: bool | None = None
    quality: tuple[str, ...] = ()
    wire: Mapping[str, str] = field(default_factory=dict)
    clock_off: timedelta = timedelta(0)

    @property
    def duration(self) -> timedelta | None:
        return self.end - self.start if self.start and self.end else None

    @property
    def moment(self) -> datetime:
        """When it began, as far as anyone knows: that decides to which hour and day it belongs."""
        return self.start or self.first_seen

    @property
    def first_seen(self) -> datetime:
        return min(self.observed(kind) for kind in self.heard)

    @property
    def recovered(self) -> bool:
        """Its start was heard by nobody: a list or the history showed it first."""
        first = min(self.heard, key=self.observed)
        return Kind.START not in self.heard and first in (Kind.LIST, Kind.HTTP, Kind.FILE)

    @property
    def parties(self) -> tuple[str | None, str | None]:
        return self.caller, self.called

    def observed(self, kind: Kind) -> datetime:
        """When a fact of this kind was received."""
        began = self.start or datetime(2025, 3, 11, 12, tzinfo=UTC)
        ended = self.end or began + timedelta(minutes=1)
        return {
            Kind.START: began + timedelta(seconds=1),
            Kind.LIST: began + timedelta(minutes=2),
            Kind.END: ended + timedelta(seconds=1),
            Kind.DETAIL: ended + timedelta(seconds=4),
            Kind.UNFINISHED: ended + timedelta(seconds=4),
            Kind.FILE: ended + timedelta(seconds=2),
            Kind.HTTP: READ_HISTORY,
            Kind.ABSENT: began + timedelta(hours=2),
        }[kind]


def at(zone: ZoneInfo, day: int, clock: str, month: int = 3) -> datetime:
    """A moment of 2025 by the clock on the wall there, in UTC."""
    return datetime.combine(date(2025, month, day), time.fromisoformat(clock), zone).astimezone(UTC)


def utc(day: int, clock: str, month: int = 3) -> datetime:
    return at(UTC_ZONE, day, clock, month)


@dataclass(frozen=True)
class KnownGap:
    """A time in which nobody listened. `recovered`: calls that the history had of it."""

    recorder: str
    start: datetime
    end: datetime
    reason: str
    state: str
    recovered: int = 0


@dataclass(frozen=True)
class KnownRefusal:
    """Something in quarantine; `recorder` is None for a file."""

    recorder: str | None
    seen: datetime
    reason: str
    state: str


@dataclass(frozen=True)
class KnownAct:
    """A row of the audit trail."""

    at: datetime
    who: str
    action: str
    reason: str | None


@dataclass(frozen=True)
class KnownHold:
    """A legal hold, and the calls that it covers."""

    kind: str
    value: str | None
    reason: str
    covers: tuple[KnownCall, ...]
    released: bool = False
    recorder: str | None = None
    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True)
class KnownExport:
    """An export that was made of the archive."""

    folder: str
    host: str
    start: datetime
    end: datetime
    masked: bool
    who: str
    rows: int
    finished: bool = True
