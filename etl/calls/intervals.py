"""Arithmetic on spans of time: sets of moments as sorted tuples of disjoint, non-touching intervals.

Every function takes spans in any order, overlapping or not, and returns them in that normal form. All times
are aware UTC datetimes.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from etl.model import Interval

Spans = tuple[Interval, ...]

FOREVER = datetime.max.replace(tzinfo=UTC)
"""The end of a span that has none."""


def span(start: datetime, end: datetime) -> Spans:
    """The moments of `[start, end)`: nothing where it would be empty or end before it starts."""
    return (Interval(start, end),) if start < end else ()


def union(*sets: Iterable[Interval]) -> Spans:
    """All moments that are in any of the sets."""
    joined: list[Interval] = []
    for each in sorted(interval for spans in sets for interval in spans):
        if joined and each.start <= joined[-1].end:
            joined[-1] = Interval(joined[-1].start, max(joined[-1].end, each.end))
        else:
            joined.append(each)
    return tuple(joined)


def subtract(spans: Iterable[Interval], away: Iterable[Interval]) -> Spans:
    """The moments of `spans` that are not in `away`."""
    left: list[Interval] = []
    holes = union(away)
    first = 0
    for each in union(spans):
        while first < len(holes) and holes[first].end <= each.start:
            first += 1
        start, index = each.start, first
        while index < len(holes) and holes[index].start < each.end:
            left += span(start, holes[index].start)
            start = holes[index].end
            index += 1
        left += span(start, each.end)
    return tuple(left)


def intersect(spans: Iterable[Interval], others: Iterable[Interval]) -> Spans:
    """The moments that are in both sets."""
    normal = union(spans)
    return subtract(normal, subtract(normal, others))


def contains(spans: Iterable[Interval], inner: Interval) -> bool:
    """Whether every moment of `inner` is in the set."""
    return not subtract((inner,), spans)
