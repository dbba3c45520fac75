"""Which time is asked of a history, and what an answer proves. Pure; all times are UTC.

Sources: section 7 of the contract (when a gap is filled) and section 4 of the protocol (how to ask).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from etl.model import Interval

SKEW = timedelta(minutes=1)
"""How far the clocks of a recorder and of the history may differ from ours: every window is widened by it."""
WINDOW = timedelta(hours=6)
"""How much time is asked for at once: a set that moves is read again, and a run goes on, from one to the next."""
_NOTHING = timedelta(0)


def widened(part: Interval, by: timedelta = SKEW) -> Interval:
    """The same span with room on both sides."""
    return Interval(part.start - by, part.end + by)


def windows(span: Interval, length: timedelta = WINDOW) -> Iterator[Interval]:
    """A long span in pieces, in order, without holes."""
    start = span.start
    while start < span.end:
        end = min(start + length, span.end)
        yield Interval(start, end)
        start = end


def local_span(window: Interval, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """The window as naive local times of the source.

    Where a change of the clock makes such a time stand for two moments, or for none, the span is made so wide that
    it holds the window whichever way the source reads it.
    """
    start, end = window.start.astimezone(zone).replace(tzinfo=None), window.end.astimezone(zone).replace(tzinfo=None)
    while (late := max(_moments(start, zone)) - window.start) > _NOTHING:
        start -= late
    while (early := window.end - min(_moments(end, zone))) > _NOTHING:
        end += early
    return start, end


def _moments(local: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """What a local time can mean, by the offset before and by that after a change (PEP 495)."""
    before, after = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return before, after


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a read proves. `told`: why nothing; empty for a good one. `witnesses`: how many calls it had to show.

    `early`: the same read may be good later, when no row can be late any more.
    """

    good: bool
    witnesses: int
    told: str = ""
    early: bool = False


@dataclass(slots=True)
class Evidence:
    """What a read showed of a recorder's time.

    `witnesses` is how many calls of the recorder it had to show that we hold as complete, and not from this history
    alone; `hidden` how many of all that we hold it did not show. `narrowed`: our filter of today leaves calls out that
    were wanted then. `unread`: what could not be understood and nobody has discarded, each once. `failure`: why not all
    was read, empty if it was.
    """

    witnesses: int = 0
    hidden: int = 0
    narrowed: bool = False
    unread: set[bytes] = field(default_factory=set)
    failure: str = ""


def judge(shown: Evidence, end: datetime | None, read_at: datetime, delay: timedelta) -> Verdict:
    """Whether a read that began at `read_at` fills its part of a gap that ended at `end` (None while it lasts).

    It is the end of the gap that counts, not that of the part: a call that began in the part appears `delay` after its
    own end, and that may lie anywhere in the gap. An empty answer proves nothing: a wrong zone or tenant gives one.
    """
    told = _objection(shown)
    early = not told and (end is None or read_at < end + delay)
    if early:
        told = "too early: rows may appear until "
        told += f"{end + delay:%Y-%m-%d %H:%M:%S} UTC" if end else "the gap is over, and some time longer"
    return Verdict(not told, shown.witnesses, told, early)


def _objection(shown: Evidence) -> str:
    """Why a read proves nothing, however late it is; empty where nothing speaks against it."""
    if shown.failure:
        return f"failed: {shown.failure}"
    if shown.narrowed:
        return (
            "extensions: the recorder's 'extensions' of today leave out calls that were wanted at the time of the gap;"
            " widen them for this once, or accept the gap"
        )
    if shown.unread:
        told = f"quarantine: {len(shown.unread)} records of that time could not be read: see 'cdr quarantine list',"
        return told + " and discard those that hold no call of it"
    if shown.hidden:
        return f"history_incomplete: {shown.hidden} calls that are held as complete are not among its rows"
    if not shown.witnesses:
        return (
            "history_incomplete: no call that is held as complete lies near, but from this history itself, so nothing"
            " shows that it has all of this recorder"
        )
    return ""


_AGAIN = timedelta(hours=1)
_RARELY = timedelta(days=1)


def due_at(start: datetime, end: datetime | None, read_at: datetime | None, delay: timedelta) -> datetime:
    """From when on a gap is to be read (again) by itself. `read_at` is when the whole of it was read last.

    As soon as it closes; once more when no row can be late; after that hourly, and ever more rarely as it gets older.
    One that lasts (`end` is None) is read each hour.
    """
    if end is None:
        return max(start, read_at or start) + _AGAIN
    if read_at is None:
        return end
    if read_at < end + delay:
        return end + delay
    return read_at + min(max(_AGAIN, (read_at - end) / 24), _RARELY)
