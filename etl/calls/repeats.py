"""Which moments a machine's clock showed twice, and which sessions can therefore not vouch for them: a pure function.

Set back, a clock shows again what a session that has ended may have covered; and nobody need have listened then. Time
since the machine started only goes forward, so by what each session told of both it can be seen later on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise, zip_longest
from uuid import UUID

from etl.calls.coverage import CLOCK_STEP, Reading, SessionState
from etl.calls.intervals import FOREVER, Spans, span, union


def comes_again(states: Iterable[SessionState], reading: Reading) -> dict[UUID, Spans]:
    """What each of these sessions can't vouch for because the clock was set back after its end: what came again since.

    All that the sessions tell of this machine's clock counts, also where it has been set right since. It may have been
    set back right after the last sign of life of them all. Nothing is known of other machines, and of the time before
    this one was started.
    """
    known = {state.id: _shown(state) for state in states if state.readings and state.readings[0].boot == reading.boot}
    if reading.boot is None or not known:
        return {}
    shown = _joined([*(each for told in known.values() for each in told), _Shown(reading.booted_at, reading.elapsed)])
    repeated = [
        (each, spans) for each, then in zip_longest(shown, shown[1:]) if (spans := _repeated(each, then, shown))
    ]
    again = {
        id: union(*(spans for each, spans in repeated if each.start > told[-1].start and _is_below(each, told[-1])))
        for id, told in known.items()
    }
    return {id: spans for id, spans in again.items() if spans}


@dataclass(frozen=True, slots=True)
class _Shown:
    """From `start` to `until`, in time since the machine started, its clock went so that this start was `booted_at`."""

    booted_at: datetime
    start: timedelta
    until: timedelta = timedelta.max


def _shown(state: SessionState) -> tuple[_Shown, ...]:
    """What a session tells of its machine's clock, in order: each until it was last seen to go so."""
    readings = state.readings
    ends = [_seen(*each) for each in pairwise(readings)]
    return tuple(
        map(_Shown, (each.booted_at for each in readings), (each.elapsed for each in readings), [*ends, _lived(state)])
    )


def _seen(reading: Reading, following: Reading) -> timedelta:
    seen = following.elapsed if following.seen is None else following.seen - reading.booted_at
    return max(min(seen, following.elapsed), reading.elapsed)


def _lived(state: SessionState) -> timedelta:
    """When the session last showed sign of life, or earlier: the journal's time stands still after a step back."""
    last = state.readings[-1]
    sign = max(state.opened_at, state.last_read or state.opened_at)
    moved = state.reading_at is not None and sign - state.reading_at > CLOCK_STEP
    return max(sign - last.booted_at, last.elapsed) if moved else last.elapsed


def _joined(shown: Iterable[_Shown]) -> list[_Shown]:
    """The same, as far as the clock was not set in between: few, however many sessions there are."""
    joined: list[_Shown] = []
    for each in sorted(shown, key=lambda each: each.start):
        if joined and abs(each.booted_at - joined[-1].booted_at) <= CLOCK_STEP:
            joined[-1] = replace(joined[-1], until=max(joined[-1].until, each.until))
        else:
            joined.append(each)
    return joined


def _repeated(each: _Shown, following: _Shown | None, shown: Iterable[_Shown]) -> Spans:
    """What the clock showed again, or can have, while it went so because it had been set back; else nothing.

    What follows without end is still to come.
    """
    ahead = [min(other.until, each.start) for other in shown if other.start < each.start and _is_below(each, other)]
    if not ahead:
        return ()
    return span(each.booted_at + max(ahead), FOREVER if following is None else each.booted_at + following.start)


def _is_below(each: _Shown, other: _Shown) -> bool:
    return other.booted_at - each.booted_at > CLOCK_STEP
