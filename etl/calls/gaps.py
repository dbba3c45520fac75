"""From what sessions covered to the gaps between: one recorder at a time (G4 of the contract).

Every moment from the first subscription on is covered by a session, pending, or in a gap. Pending is what
follows the last covered moment of a live session. A session vouches for a moment only if its filter lets
through all that the filter in force lets through: that of the session which subscribed last.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from etl.calls.coverage import Break, SessionState, covered
from etl.calls.intervals import FOREVER, Spans, contains, intersect, span, subtract, union
from etl.model import Interval


@dataclass(frozen=True, slots=True)
class SessionSpan:
    """What the gaps need to know of a session.

    `extensions` is its filter, empty for all calls. `live`: it has not ended. `breaks` says why each piece of
    coverage ended; its last one is where the coverage of an ended session stopped for good.
    """

    subscribed_at: datetime
    covered: Spans
    live: bool
    extensions: frozenset[str] = frozenset()
    breaks: tuple[Break, ...] = ()

    @property
    def pending_from(self) -> datetime:
        """The last covered moment, or the subscription while nothing counts."""
        return self.covered[-1].end if self.covered else self.subscribed_at


@dataclass(frozen=True, slots=True)
class Gap:
    """A span of time that no session covers; `end` is None while it lasts.

    `reason` is why coverage ended where it begins. `extensions` is the filter in force in it, empty for all
    calls; where another filter comes into force in the middle, another gap begins.
    """

    start: datetime
    end: datetime | None
    reason: str
    extensions: frozenset[str] = frozenset()


class GapState(StrEnum):
    """What is known of a gap's calls."""

    OPEN = "open"
    FILLED = "filled"
    """One good read of history held the whole of it."""
    ACCEPTED = "accepted"
    """Someone took note that (the rest of) it is gone for good."""


def session_span(state: SessionState, margin: timedelta) -> SessionSpan | None:
    """What the gaps need to know of a session; None for one that never subscribed and so matters to none."""
    if state.subscribed_at is None:
        return None
    return SessionSpan(
        subscribed_at=state.subscribed_at,
        covered=covered(state, margin),
        live=state.live,
        extensions=frozenset(state.extensions),
        breaks=state.breaks,
    )


def gaps(sessions: Iterable[SessionSpan]) -> tuple[Gap, ...]:
    """All gaps of one recorder, from its first subscription on, given all its sessions."""
    ordered = _ordered(sessions)
    return _gaps_from(ordered[0].subscribed_at, ordered) if ordered else ()


def gaps_since(since: datetime, known: Iterable[Gap], sessions: Iterable[SessionSpan]) -> tuple[Gap, ...]:
    """The same as `gaps`, when nothing has changed before `since`; only later time is looked at.

    `known` are gaps computed earlier: all of the recorder, or at least those that end at `since` or later (a
    lasting one among them). `sessions` must hold every session that is live or whose coverage, breaks or
    subscription reach `since`, and of the others the one that subscribed last. The gaps of `known` that ended
    before `since` are returned as they are.
    """
    earlier = tuple(sorted((gap for gap in known if gap.start < since), key=lambda gap: gap.start))
    ordered = _ordered(sessions)
    if not ordered:
        return earlier
    later = _gaps_from(max(since, ordered[0].subscribed_at), ordered)
    if not earlier or (earlier[-1].end is not None and earlier[-1].end < since):
        return (*earlier, *later)
    return _joined((*earlier[:-1], replace(earlier[-1], end=since), *later))


def classify(gap: Gap, filled: Sequence[Interval], accepted: Sequence[Interval]) -> GapState:
    """Whether the whole gap was read from history, or else what is missing was accepted.

    A lasting gap is open: nobody has seen the whole of it.
    """
    if gap.end is None:
        return GapState.OPEN
    whole = Interval(gap.start, gap.end)
    if contains(filled, whole):
        return GapState.FILLED
    return GapState.ACCEPTED if contains(union(filled, accepted), whole) else GapState.OPEN


def suffices(filter_: frozenset[str], in_force: frozenset[str]) -> bool:
    """Whether a filter lets through all that the one in force does; an empty one lets through everything."""
    return not filter_ or (bool(in_force) and filter_ >= in_force)


def pending(sessions: Iterable[SessionSpan]) -> Spans:
    """What is neither covered nor a gap yet, because a live session may still prove to have covered it."""
    ordered = _ordered(sessions)
    if not ordered:
        return ()
    return union(*(_known(run, ordered)[1] for run in _runs(ordered[0].subscribed_at, ordered)))


@dataclass(frozen=True, slots=True)
class _Run:
    """A stretch of time in which one filter is in force."""

    span: Interval
    extensions: frozenset[str]


def _ordered(sessions: Iterable[SessionSpan]) -> list[SessionSpan]:
    """By subscription; of sessions that subscribed at the very same moment the widest filter comes last."""
    return sorted(sessions, key=_order)


def _order(session: SessionSpan) -> tuple[object, ...]:
    filter_ = session.extensions
    breaks = [(each.at, each.reason) for each in session.breaks]
    return session.subscribed_at, not filter_, len(filter_), sorted(filter_), breaks


def _runs(start: datetime, ordered: Sequence[SessionSpan]) -> Iterator[_Run]:
    """The filters in force from `start` on, equal neighbours as one run."""
    began, filter_ = start, ordered[0].extensions
    for session in ordered:
        if session.subscribed_at > began and session.extensions != filter_:
            yield _Run(Interval(began, session.subscribed_at), filter_)
            began = session.subscribed_at
        filter_ = session.extensions
    yield _Run(Interval(began, FOREVER), filter_)


def _known(run: _Run, ordered: Sequence[SessionSpan]) -> tuple[Spans, Spans]:
    """What is covered and what is pending within a run."""
    fit = [session for session in ordered if suffices(session.extensions, run.extensions)]
    sure = intersect((run.span,), union(*(session.covered for session in fit)))
    open_ = [span(session.pending_from, FOREVER) for session in fit if session.live]
    return sure, subtract(intersect((run.span,), union(*open_)), sure)


def _gaps_from(start: datetime, ordered: Sequence[SessionSpan]) -> tuple[Gap, ...]:
    # The sort is stable: of breaks at one moment that of the first to subscribe comes first.
    breaks = sorted((each for session in ordered for each in session.breaks), key=_at)
    found: list[Gap] = []
    for run in _runs(start, ordered):
        sure, open_ = _known(run, ordered)
        for hole in subtract((run.span,), union(sure, open_)):
            end = None if hole.end == FOREVER else hole.end
            found.append(Gap(hole.start, end, _reason(hole.start, breaks), run.extensions))
    return _joined(found)


def _joined(parts: Iterable[Gap]) -> tuple[Gap, ...]:
    """Gaps that touch began for one reason, the first; with the same filter they are one gap."""
    result: list[Gap] = []
    for gap in parts:
        if not result or result[-1].end != gap.start:
            result.append(gap)
        elif result[-1].extensions == gap.extensions:
            result[-1] = replace(result[-1], end=gap.end)
        else:
            result.append(replace(gap, reason=result[-1].reason))
    return tuple(result)


def _at(each: Break) -> datetime:
    return each.at


def _reason(start: datetime, breaks: Sequence[Break]) -> str:
    """Why the coverage ended that ended last before this moment."""
    after = bisect_right(breaks, start, key=_at)
    if after == 0:
        return "unknown"
    return breaks[bisect_left(breaks, breaks[after - 1].at, key=_at)].reason
