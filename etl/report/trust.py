"""The headline: how much there is, and whether the numbers can be trusted, in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from etl.report.coverage import covered, known, listened, lost, undecided, unheard, waiting, within
from etl.report.rows import Findings, Pending
from etl.report.words import count, counted, hours, lasting, listed, moment, recorder

_CLOSE = timedelta(seconds=1)
"""What the view's sums may be off."""


class Level(Enum):
    """How far the numbers can be trusted."""

    WHOLE = "Yes"
    ACCEPTED = "Yes, but for what was accepted as gone"
    EXPIRED = "Yes, but for what was deleted by age"
    DOUBTFUL = "Not wholly"
    UNKNOWN = "Nobody can say"
    EMPTY = "There is nothing to trust yet"


@dataclass(frozen=True, slots=True)
class Number:
    """A headline figure: its name, its value, and what is to be said about it."""

    name: str
    value: str
    about: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Can these numbers be trusted? The answer, and its reasons."""

    level: Level
    reasons: tuple[str, ...]


def numbers(found: Findings) -> tuple[Number, ...]:
    """What a reader wants to know first."""
    recorded = sum((day.talk_time for day in found.days), timedelta())
    names = {recorder(day.recorder) for day in found.days} | {row.recorder for row in found.coverage}
    unresolved = sum(day.unresolved for day in found.days)
    gaps = sum(1 for gap in found.gaps if gap.state == "open")
    told = f"of the recorders' time; {counted(gaps, 'open gap')}"
    if waiting(found):
        told += f", {lasting(undecided(found))} pending"
    return (
        Number("Calls", count(found.calls), f"{hours(recorded)} recorded"),
        Number("Conversations", count(found.conversations.count), "copies on several recorders counted once"),
        Number("Talk time", hours(found.conversations.talk_time), "of conversations"),
        Number("Recorders", count(len(names)), "with calls, or listened to"),
        Number("Covered", listened(found), told),
        Number("Unresolved", count(unresolved), "calls that are not complete"),
    )


def verdict(found: Findings) -> Verdict:
    """The answer to: can these numbers be trusted?"""
    return Verdict(_level(found), tuple(_reasons(found)))


def _level(found: Findings) -> Level:
    if _nothing_known(found):
        return Level.UNKNOWN if found.calls else Level.EMPTY
    gaps = lost(found.gaps, found)
    missing = any(row.calls for row in found.unresolved if row.state != "ongoing" and not row.accepted)
    unheard_of = gaps["open"].count or waiting(found) or _strangers(found) or _late(found)
    if unheard_of or missing or _refused(found):
        return Level.DOUBTFUL
    accepted = gaps["accepted"].count or any(row.accepted for row in found.unresolved)
    if accepted:
        return Level.ACCEPTED
    return Level.EXPIRED if _expired(found) else Level.WHOLE


def _nothing_known(found: Findings) -> bool:
    """There is no time in which somebody listened, or should have; at most a few minutes are pending, as usual."""
    return not covered(found) and not found.gaps and not waiting(found)


def _reasons(found: Findings) -> Iterator[str]:
    if _nothing_known(found):
        why = "Nothing is known of this time yet" if found.coverage else "No recorder was subscribed to in this time"
        yield f"{why}, so nothing shows whether calls are missing."
    else:
        yield f"Sessions listened for {listened(found)} of the recorders' time."
        yield from _about_gaps(found)
        yield from _about_pending(found)
    if expired := _expired(found):
        until = moment(min(expired, found.span.end), found.zone)
        yield f"Calls before {until} were deleted by age, but for those on hold, and are not counted."
    yield from _about_beginnings(found)
    yield from _about_calls(found)


def _about_gaps(found: Findings) -> Iterator[str]:
    gaps = lost(found.gaps, found)
    if not found.gaps and not waiting(found):
        yield "There was no gap."
    if number := gaps["open"].count:
        length = lasting(gaps["open"].time)
        yield f"{counted(number, 'gap')} {_are(number)} open ({length}): calls may be missing there."
    if number := gaps["filled"].count:
        length, came = lasting(gaps["filled"].time), counted(gaps["filled"].recovered, "call")
        told = f"the history shows what there was; {came} came from it"
        yield f"{counted(number, 'gap')} {_are(number)} filled ({length}): {told}."
    if number := gaps["accepted"].count:
        length = lasting(gaps["accepted"].time)
        yield f"{counted(number, 'gap')} {_are(number)} accepted ({length}): calls may be missing there for good."


def _about_pending(found: Findings) -> Iterator[str]:
    if times := [_pending(each, found) for each in waiting(found)]:
        yield f"Nobody knows yet whether anybody listened to {listed(times)}: calls may be missing there."


def _pending(each: Pending, found: Findings) -> str:
    """ny-1 since 2026-03-05 00:00:00 (2 d): the moment as it is, the length as far as it lies in the report."""
    start, length = moment(each.start, found.zone), lasting(within(each, found))
    when = f"since {start}" if each.end is None else f"from {start} to {moment(each.end, found.zone)}"
    return f"{each.recorder} {when} ({length})"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _late(found: Findings) -> list[str]:
    """Recorders whose first subscription lies in the time of the report: before it nothing is known."""
    times, late = unheard(found), []
    for row in found.coverage:
        time = known(row, times[row.recorder], found)
        if time is not None and time.start - found.span.start > _CLOSE:
            late.append(row.recorder)
    return sorted(late)


def _strangers(found: Findings) -> list[str]:
    """Recorders with calls that nobody listened to in this time."""
    heard = {row.recorder for row in found.coverage}
    return sorted({day.recorder for day in found.days if day.recorder is not None} - heard)


def _expired(found: Findings) -> datetime | None:
    """Up to when calls of this time were deleted by age, to the hour; None where none were."""
    return max((row.expired for row in found.coverage if row.expired), default=None)


def _refused(found: Findings) -> int:
    return sum(row.quarantined for row in found.coverage)


def _about_beginnings(found: Findings) -> Iterator[str]:
    if late := _late(found):
        yield f"Listening began only within this time on {listed(late)}: nothing is known of what was before."
    if found.coverage and (strangers := _strangers(found)):
        yield f"There are calls of {listed(strangers)}, to which nobody listened in this time: there may be more."


def _about_calls(found: Findings) -> Iterator[str]:
    if nobodys := sum(day.calls for day in found.days if day.recorder is None):
        yield f"{counted(nobodys, 'call')} {_are(nobodys)} of no recorder that is known."
    for state, (one, many, meaning) in _STATES.items():
        rows = [row for row in found.unresolved if row.state == state]
        calls, accepted = sum(row.calls for row in rows), sum(row.calls for row in rows if row.accepted)
        if calls:
            note = f" ({count(accepted)} accepted)" if accepted else ""
            yield f"{counted(calls, 'call')} {one if calls == 1 else many}{note}: {meaning}."
    if refused := _refused(found):
        yield f"{counted(refused, 'message')} could not be understood, and {_are(refused)} in quarantine."


_STATES = {
    "lost": ("is lost", "are lost", "heard of, but no longer known to the recorder"),
    "ended": ("has ended", "have ended", "no finished record has arrived"),
    "unlisted": (
        "goes on with us only",
        "go on with us only",
        "missing from the recorder's last list, and asking about that settled nothing",
    ),
    "ongoing": ("goes on", "go on", "no end has been heard of"),
}
