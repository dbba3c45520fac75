"""What a session has covered: a pure fold over its lines of the journal (G4 of the contract).

Coverage begins at the subscribe response, and ends `margin` before the last message read on the subscription's
connection. It counts only once it reaches beyond the receipt of a whole list that was asked for after its beginning:
what went on at the beginning is on that list, or its end lies in covered time. A message that was read
while more waited behind it (`behind`) does not count for that: it may have waited itself, and what waits is lost
with the connection. A pause in reading longer than `margin`, or a step of the clock, ends a piece of coverage; the
next begins with the receipt of a list that was asked for afterwards.

Times are those of the journal (UTC), which never go back; the times of requests must come from the same
clock, or a list asked for after the clock was set back seems to be asked for before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeAlias
from uuid import UUID

from etl.calls.intervals import Spans, intersect, span, subtract
from etl.errors import CdrError
from etl.model import Draft, Interval, Json, What

CLOCK_STEP = timedelta(seconds=1)
"""The clock was set when it jumps by more than this (section 7 of the contract, "Clocks")."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the clocks of a machine say at one moment.

    `boot` names the machine's start, None where it does not tell; `booted_at` is when that was, by the wall clock as it
    goes now: set back, it also says that the machine started earlier. After a step `seen` is the last moment, by the
    clock as it was, at which it was seen to go as before.
    """

    now: datetime
    boot: str | None
    booted_at: datetime
    seen: datetime | None = None

    @property
    def elapsed(self) -> timedelta:
        """Since the machine started: only ever goes forward."""
        return self.now - self.booted_at


@dataclass(frozen=True, slots=True)
class Message:
    """Some message was read on the subscription's connection."""


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The recorder confirmed the subscription."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A whole list was received over the other connection; it had been asked for at `requested_at`."""

    requested_at: datetime


Heard: TypeAlias = Message | Subscribed | Listed
"""What a session's coverage learns from a document; nothing is learned from None."""


@dataclass(frozen=True, slots=True)
class Break:
    """Coverage broke off: `at` is the last covered moment (or the subscription), `reason` a word for gaps."""

    at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class SessionState:
    """Where the fold stands for one session.

    `coverage` holds the finished pieces, `since` the start of the one under way, None while it is interrupted.
    `listed_at`: when the list that this piece needs was received. Lists asked for before `listed_after` are no help.
    `last_read`: receipt of the last message on the subscription's connection that nothing waited behind. `breaks` says
    why each finished piece ended. `closed_at` and `reason` are None while the session lives. `readings` are of
    the clocks of its worker's machine, at the opening and after each step; the journal heard the last at `reading_at`.
    """

    id: UUID
    recorder: str
    worker: str
    extensions: tuple[str, ...]
    opened_at: datetime
    subscribed_at: datetime | None = None
    coverage: Spans = ()
    breaks: tuple[Break, ...] = ()
    since: datetime | None = None
    listed_at: datetime | None = None
    last_read: datetime | None = None
    listed_after: datetime | None = None
    closed_at: datetime | None = None
    reason: str | None = None
    readings: tuple[Reading, ...] = ()
    reading_at: datetime | None = None

    @property
    def live(self) -> bool:
        """The session has not been closed, as far as its journal tells."""
        return self.closed_at is None


def opened(draft: Draft) -> SessionState:
    """The state of a session that has just been opened."""
    extensions = draft.note.get("extensions")
    reading = _reading(draft)
    return SessionState(
        id=draft.session,
        recorder=draft.recorder,
        worker=str(draft.note.get("worker", "")),
        extensions=tuple(str(each) for each in extensions) if isinstance(extensions, list) else (),
        opened_at=draft.observed_at,
        readings=() if reading is None else (reading,),
        reading_at=draft.observed_at,
    )


def subscribed(state: SessionState, at: datetime) -> SessionState:
    """The recorder confirmed the subscription; a second confirmation is a message like any other."""
    if not state.live or state.subscribed_at is not None:
        return read(state, at)
    return replace(state, subscribed_at=at, since=at, listed_after=at, last_read=at)


def read(state: SessionState, at: datetime) -> SessionState:
    """A message was read on the subscription's connection."""
    if not state.live or state.subscribed_at is None:
        return state
    return replace(state, last_read=at)


def listed(state: SessionState, requested_at: datetime, at: datetime) -> SessionState:
    """A whole list was received: coverage can count, or after an interruption begins anew at its receipt."""
    if not state.live or state.listed_after is None or requested_at < state.listed_after:
        return state
    return replace(state, since=state.since or at, listed_at=state.listed_at or at)


def paused(state: SessionState, start: datetime, until: datetime, margin: timedelta) -> SessionState:
    """Reading stood still; only a pause longer than `margin` interrupts coverage."""
    if until - start <= margin:
        return state
    return _resuming(_interrupted(state, margin, "pause", start), until)


def stepped(state: SessionState, before: datetime, after: datetime, margin: timedelta) -> SessionState:
    """The clock was set: an interruption, and backward also takes back what was covered after the new time.

    A step of at most `CLOCK_STEP` changes nothing. After a step back, a list that had been asked for before
    counts as well: reading did not stand still, only the names of the moments can't be trusted. Not so where it did
    stand still: a pause in which the clock was set back is still a pause.
    """
    if abs(after - before) <= CLOCK_STEP:
        return state
    if after < before:
        return _resuming(withdrawn(state, after, margin), max(after, state.listed_after or after))
    return _resuming(_interrupted(state, margin, "clock", before), after)


def withdrawn(state: SessionState, after: datetime, margin: timedelta) -> SessionState:
    """Takes back all coverage after a moment, of a session that lives or has ended.

    The clock was set back to that moment. A worker owes this to each of its sessions that has not told of it yet (see
    `knows`): what they covered after it has times that will come again.
    """
    whole = _interrupted(state, margin, "clock")
    kept = intersect(whole.coverage, span(min(after, state.opened_at), after))
    if kept == whole.coverage or whole.subscribed_at is None:
        return whole
    end = kept[-1].end if kept else whole.subscribed_at
    breaks = (*(each for each in whole.breaks if each.at < end), Break(end, "clock"))
    return replace(whole, coverage=kept, breaks=breaks)


def knows(state: SessionState, draft: Draft) -> bool:
    """The session has told already that the clock goes as this line tells, or behind that."""
    reading = _reading(draft)
    return (
        bool(state.readings) and reading is not None and state.readings[-1].booted_at - reading.booted_at <= CLOCK_STEP
    )


def taken_back(state: SessionState, away: Spans) -> SessionState:
    """The ended session without its coverage of these spans, whose moments came, or will come, a second time."""
    kept = subtract(state.coverage, away)
    if kept == state.coverage or state.subscribed_at is None:
        return state
    why = {each.at: each for each in state.breaks}
    late = not kept or kept[0].start > state.coverage[0].start or state.subscribed_at in why
    ends = [*([state.subscribed_at] if late else []), *(piece.end for piece in kept)]
    return replace(state, coverage=kept, breaks=tuple(why.get(end, Break(end, "clock")) for end in ends))


def closed(state: SessionState, at: datetime, reason: str, margin: timedelta) -> SessionState:
    """The session ended, by its own word or that of whoever found its owner gone; the first word stands."""
    if not state.live:
        return state
    return replace(_interrupted(state, margin, reason), closed_at=at, reason=reason)


def covered(state: SessionState, margin: timedelta) -> Spans:
    """All that the session has covered up to now, as far as it counts."""
    return (*state.coverage, *_piece(state, margin, state.last_read))


def settled(state: SessionState, margin: timedelta) -> datetime | None:
    """The last covered moment, or the subscription while nothing counts; None before the subscription.

    What follows this moment is pending while the session lives: only a clock set back changes anything
    before it.
    """
    spans = covered(state, margin)
    return spans[-1].end if spans else state.subscribed_at


def fold(state: SessionState | None, draft: Draft, heard: Heard | None, margin: timedelta) -> SessionState | None:
    """The state after one more line of the journal. Total.

    `heard` is what a document told. None for a session whose opening is not known: its filter is not known
    either, so nothing it did can count as coverage.
    """
    if state is None:
        return opened(draft) if draft.what is What.OPENED else None
    at = draft.observed_at
    if draft.what is What.DOCUMENT:
        return _document(state, heard, at, behind=draft.note.get("behind") is True)
    if draft.what is What.PAUSED:
        # What can't be read is taken for the worst: an interruption since the session's beginning.
        return paused(state, _moment(draft, "from") or state.opened_at, at, margin)
    if draft.what is What.STEPPED:
        before, after = _moment(draft, "from") or state.opened_at, _moment(draft, "to") or at
        reading = _reading(draft)
        after_it = stepped(state, before, after, margin)
        return after_it if reading is None else replace(after_it, readings=(*state.readings, reading), reading_at=at)
    if draft.what is What.CLOSED:
        return closed(state, at, str(draft.note.get("reason", "unknown")), margin)
    return state


def dump(state: SessionState) -> dict[str, Json]:
    """The state as JSON, for a later process to go on from."""
    return {
        "id": str(state.id),
        "recorder": state.recorder,
        "worker": state.worker,
        "extensions": list(state.extensions),
        "opened_at": state.opened_at.isoformat(),
        "subscribed_at": _text(state.subscribed_at),
        "coverage": [[piece.start.isoformat(), piece.end.isoformat()] for piece in state.coverage],
        "breaks": [[each.at.isoformat(), each.reason] for each in state.breaks],
        "since": _text(state.since),
        "listed_at": _text(state.listed_at),
        "last_read": _text(state.last_read),
        "listed_after": _text(state.listed_after),
        "closed_at": _text(state.closed_at),
        "reason": state.reason,
        "boot": state.readings[0].boot if state.readings else None,
        "readings": [[each.now.isoformat(), each.booted_at.isoformat(), _text(each.seen)] for each in state.readings],
        "reading_at": _text(state.reading_at),
    }


def load(dumped: Mapping[str, Json]) -> SessionState:
    """The state that was dumped; raises CdrError for what `dump` can't have written."""
    try:
        return SessionState(
            id=UUID(str(dumped["id"])),
            recorder=str(dumped["recorder"]),
            worker=str(dumped["worker"]),
            extensions=tuple(str(each) for each in _items(dumped["extensions"])),
            opened_at=datetime.fromisoformat(str(dumped["opened_at"])),
            subscribed_at=_time(dumped["subscribed_at"]),
            coverage=tuple(Interval(*_pair(each)) for each in _items(dumped["coverage"])),
            breaks=tuple(_break(each) for each in _items(dumped["breaks"])),
            since=_time(dumped["since"]),
            # Before there was a `listed_at` it was only known whether there was a list.
            listed_at=_time(dumped.get("listed_at", dumped["since"] if dumped.get("counts") else None)),
            last_read=_time(dumped["last_read"]),
            listed_after=_time(dumped["listed_after"]),
            closed_at=_time(dumped["closed_at"]),
            reason=None if dumped["reason"] is None else str(dumped["reason"]),
            readings=tuple(_read_back(each, dumped["boot"]) for each in _items(dumped.get("readings", []))),
            reading_at=_time(dumped.get("reading_at")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CdrError(f"the stored state of session {dumped.get('id')} can't be read: {error!r}") from error


def _document(state: SessionState, heard: Heard | None, at: datetime, *, behind: bool) -> SessionState:
    match heard:
        case Subscribed():
            return subscribed(state, at)
        case Message():
            return state if behind else read(state, at)
        case Listed(requested_at):
            return listed(state, requested_at, at)
        case None:
            return state


def _piece(state: SessionState, margin: timedelta, last_read: datetime | None) -> Spans:
    """The piece under way, if it counts and as much of it as there is."""
    if state.since is None or state.listed_at is None or last_read is None or last_read - margin < state.listed_at:
        return ()
    return span(state.since, last_read - margin)


def _interrupted(state: SessionState, margin: timedelta, reason: str, last: datetime | None = None) -> SessionState:
    """Ends the piece under way, `last` being a moment after which nothing was read; the first reason stands."""
    if state.since is None or state.subscribed_at is None or state.last_read is None:
        return state
    coverage = (*state.coverage, *_piece(state, margin, min(state.last_read, last or state.last_read)))
    at = coverage[-1].end if coverage else state.subscribed_at
    known = bool(state.breaks) and state.breaks[-1].at >= at
    breaks = state.breaks if known else (*state.breaks, Break(at, reason))
    return replace(state, coverage=coverage, breaks=breaks, since=None, listed_at=None)


def _resuming(state: SessionState, after: datetime) -> SessionState:
    """Only a list that is asked for from now on can make coverage begin again."""
    if not state.live or state.subscribed_at is None:
        return state
    return replace(state, listed_after=after)


def _moment(draft: Draft, key: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(draft.note.get(key)))
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def _reading(draft: Draft) -> Reading | None:
    """What the clocks say in a line; None where the machine does not name its start."""
    now, boot, booted_at = _moment(draft, "now"), draft.note.get("boot"), _moment(draft, "booted_at")
    if now is None or boot is None or booted_at is None:
        return None
    return Reading(now, str(boot), booted_at, _moment(draft, "seen"))


def _text(time: datetime | None) -> str | None:
    return time.isoformat() if time else None


def _time(dumped: Json) -> datetime | None:
    return None if dumped is None else datetime.fromisoformat(str(dumped))


def _items(dumped: Json) -> list[Json]:
    if not isinstance(dumped, list):
        raise TypeError(f"not a list: {dumped!r}")
    return dumped


def _pair(dumped: Json) -> tuple[datetime, datetime]:
    start, end = _items(dumped)
    return datetime.fromisoformat(str(start)), datetime.fromisoformat(str(end))


def _read_back(dumped: Json, boot: Json) -> Reading:
    now, booted_at, seen = _items(dumped)
    return Reading(datetime.fromisoformat(str(now)), str(boot), datetime.fromisoformat(str(booted_at)), _time(seen))


def _break(dumped: Json) -> Break:
    at, reason = _items(dumped)
    return Break(datetime.fromisoformat(str(at)), str(reason))
