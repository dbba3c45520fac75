"""Whether somebody listened: each recorder's time, the gaps in it, what became of them, and what nobody knows yet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from etl.model import Interval
from etl.report.charts import Column, Figure, Lane, Mark, Table, Timeline
from etl.report.rows import Coverage, Findings, Gap, Pending
from etl.report.words import count, counted, lasting, moment, share, shortened

STATES = ("open", "filled", "accepted")
"""The states of a gap, the worst first."""
PENDING = "pending"
"""What is neither covered nor a gap."""
USUAL = timedelta(minutes=5)
"""How far behind a session may be that is well: keep-alives and commits are seconds apart, rarely minutes."""
MOST_GAPS = 200
"""Gaps in the table: open ones first, then the longest."""
_HOUR = timedelta(hours=1)

Describe = Callable[[str], str]
"""Puts the reason of a gap into words."""
Unheard: TypeAlias = Gap | Pending
"""A time of which no session is known to have listened."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The gaps of one state: how many, how long within the report, and the calls that the history added to them."""

    count: int = 0
    time: timedelta = timedelta()
    recovered: int = 0


def lost(gaps: Iterable[Gap], found: Findings) -> dict[str, Lost]:
    """The gaps by state."""
    sums = dict.fromkeys(STATES, Lost())
    for gap in gaps:
        old = sums.get(gap.state, Lost())
        sums[gap.state] = Lost(old.count + 1, old.time + within(gap, found), old.recovered + gap.recovered)
    return sums


def covered(found: Findings) -> timedelta:
    """How long sessions listened, all recorders together."""
    return sum((row.covered for row in found.coverage), timedelta())


def uncovered(found: Findings) -> timedelta:
    """How long gaps lasted, all recorders together."""
    return sum((within(gap, found) for gap in found.gaps), timedelta())


def waiting(found: Findings) -> list[Pending]:
    """What is pending in the report for longer than is usual. The little that every live session is behind is not."""
    return [each for each in found.pending if found.now - each.start > USUAL and within(each, found)]


def undecided(found: Findings) -> timedelta:
    """How long that is, all recorders together."""
    return sum((within(each, found) for each in waiting(found)), timedelta())


def listened(found: Findings) -> str:
    """The share of the recorders' time in which sessions are known to have listened."""
    return share(covered(found), covered(found) + uncovered(found) + undecided(found))


def figures(found: Findings, describe: Describe) -> tuple[Figure, ...]:
    return (timeline(found), gaps(found, describe))


# Each recorder's time


def timeline(found: Findings) -> Figure:
    """When each recorder was listened to, with its gaps."""
    key, title = "coverage", "Who was listened to, and when"
    if not found.coverage and not found.gaps:
        return Figure(key, title, "No recorder was subscribed to in this time.")
    by_recorder = unheard(found)
    ordered = sorted(found.coverage, key=lambda row: row.recorder)
    lanes = tuple(_lane(row, by_recorder[row.recorder], found) for row in ordered)
    rows = tuple(_row(row, by_recorder[row.recorder], found) for row in ordered)
    sums = ("covered", "open gaps", "filled", "accepted", PENDING, "calls", "recovered", "unresolved", "not understood")
    columns = (Column("recorder"), *(Column(name, "number") for name in sums))
    table = Table("Coverage by recorder", columns, rows)
    note = "A gap shorter than the plot can show is drawn wider than it is."
    return Figure(key, title, _summary(found), Timeline(found.span, lanes), table, note, wide=True)


def unheard(found: Findings) -> Mapping[str, list[Unheard]]:
    """Of each recorder its gaps, and what is pending."""
    every: list[Unheard] = [*found.gaps, *waiting(found)]
    times: defaultdict[str, list[Unheard]] = defaultdict(list)
    for each in every:
        times[each.recorder].append(each)
    return times


def _summary(found: Findings) -> str:
    told = f"Sessions listened for {listened(found)} of the time of {counted(len(found.coverage), 'recorder')}"
    told += f"; {_summary_of_gaps(found)}."
    if waiting(found):
        told += f" Of {lasting(undecided(found))} nobody knows yet: pending."
    return told


def _summary_of_gaps(found: Findings) -> str:
    if not found.gaps:
        return "there was no gap"
    sums = lost(found.gaps, found)
    told = ", ".join(f"{count(sums[state].count)} {state}" for state in STATES if sums[state].count)
    return f"{counted(len(found.gaps), 'gap')} ({told}) lasted {lasting(uncovered(found))} in all"


def known(row: Coverage, times: Iterable[Unheard], found: Findings) -> Interval | None:
    """The recorder's time in the report, from its first subscription to where all is settled; it has no holes.

    The view has hours. What is neither covered nor in one of `times` of the first one lies before the first
    subscription, if there is anything later; else it may as well be pending.
    """
    given = list(times)
    begin, first_ends = max(row.first, found.span.start), min(row.first + _HOUR, found.now, found.span.end)
    settled = row.covered + sum((within(each, found) for each in given), timedelta())
    in_first = row.covered_first + sum((_overlap(each, begin, first_ends, found) for each in given), timedelta())
    start = begin if settled <= in_first else max(begin, first_ends - in_first)
    end = min(start + settled, found.span.end, found.now)
    return Interval(start, end) if start < end else None


def within(each: Unheard, found: Findings) -> timedelta:
    """How much of it lies in the time of the report, as far as that has passed."""
    return _overlap(each, found.span.start, found.span.end, found)


def _overlap(each: Unheard, start: datetime, end: datetime, found: Findings) -> timedelta:
    return max(timedelta(), min(each.end or found.now, end, found.now) - max(each.start, start))


def _lane(row: Coverage, times: list[Unheard], found: Findings) -> Lane:
    return Lane(shortened(row.recorder), known(row, times, found), tuple(_marks(times, found)))


def _marks(times: Iterable[Unheard], found: Findings) -> Iterable[Mark]:
    for each in times:
        start, end = max(each.start, found.span.start), min(each.end or found.now, found.now, found.span.end)
        if start < end:
            yield Mark(Interval(start, end), each.state if isinstance(each, Gap) else PENDING)


def _row(row: Coverage, times: list[Unheard], found: Findings) -> tuple[str, ...]:
    sums = lost((each for each in times if isinstance(each, Gap)), found)
    gone = sum((within(each, found) for each in times), timedelta())
    pending = sum((within(each, found) for each in times if isinstance(each, Pending)), timedelta())
    counts = (row.calls, row.recovered, row.unresolved, row.quarantined)
    return (
        row.recorder,
        share(row.covered, row.covered + gone),
        *(_told(sums[state]) for state in STATES),
        lasting(pending) if pending else "0",
        *(count(number) for number in counts),
    )


def _told(gone: Lost) -> str:
    return f"{count(gone.count)} ({lasting(gone.time)})" if gone.count else "0"


# The gaps


def gaps(found: Findings, describe: Describe) -> Figure:
    """The gaps one by one, those that are open first, then the longest."""
    key, title = "gaps", "Gaps"
    if not found.gaps:
        return Figure(key, title, "There was no gap in this time.")
    ordered = sorted(found.gaps, key=lambda gap: (STATES.index(gap.state), -within(gap, found), gap.start))
    columns = (
        Column("gap"), Column("recorder"), Column("from", "time"), Column("length", "number"),
        Column("why"), Column("state"), Column("recovered calls", "number"),
    )  # fmt: skip
    rows = tuple(_gap_row(gap, found, describe) for gap in ordered[:MOST_GAPS])
    longest = max(found.gaps, key=lambda gap: within(gap, found))
    summary = (
        f"The longest gap lasted {lasting(within(longest, found))}: on {longest.recorder}, from"
        f" {moment(longest.start, found.zone)} ({describe(longest.reason)}), now {longest.state}."
    )
    cut = f"The table shows {MOST_GAPS} of {count(len(ordered))}: open ones first, then the longest."
    note = cut if len(ordered) > MOST_GAPS else ""
    table = Table("Gaps, open ones first, then the longest", columns, rows)
    return Figure(key, title, summary, None, table, note, wide=True)


def _gap_row(gap: Gap, found: Findings, describe: Describe) -> tuple[str, ...]:
    length = lasting((gap.end or found.now) - gap.start)
    return (
        str(gap.id), gap.recorder, moment(gap.start, found.zone), length if gap.end else f"{length}, lasts",
        describe(gap.reason), gap.state, count(gap.recovered),
    )  # fmt: skip
