"""The days of a report, and rows put onto them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TypeAlias
from zoneinfo import ZoneInfo

from etl.report.charts import Layer
from etl.report.rows import Findings

MOST_LAYERS = 5
"""Recorders that a plot tells apart; a sixth stands for the rest."""
MOST_ROWS = 1500
"""Rows of a table that goes into every detail; where there were more, it shows sums."""
SHORT = 62
"""Days up to which a plot shows every hour."""

Cells: TypeAlias = Mapping[tuple[str, date], float]
"""A number for each recorder and day; 0 where there is none."""


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """Where a day of the zone begins, in UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def days_of(found: Findings) -> list[date]:
    """The whole days of the report."""
    first = found.span.start.astimezone(found.zone).date()
    last = (found.span.end - timedelta(microseconds=1)).astimezone(found.zone).date()
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def passed_hours(found: Findings) -> list[datetime]:
    """Begins of the clock hours of the report that have begun, in UTC."""
    end = min(found.span.end, found.now)
    hours = max(0, -((found.span.start - end) // timedelta(hours=1)))
    return [found.span.start + timedelta(hours=number) for number in range(hours)]


def edges_of(days: Sequence[date], zone: ZoneInfo) -> tuple[datetime, ...]:
    """Where the days begin, and where the last one ends."""
    return tuple(midnight(day, zone) for day in (*days, days[-1] + timedelta(days=1)))


def leading(weights: Mapping[str, float], most: int = MOST_LAYERS) -> list[str]:
    """The names with the most, in the order of the alphabet where equal."""
    return sorted(weights, key=lambda name: (-weights[name], name))[:most]


def layers(cells: Cells, days: Sequence[date], names: Iterable[str]) -> tuple[Layer, ...]:
    """A layer for each of these recorders."""
    return tuple(Layer(name, tuple(float(cells.get((name, day), 0)) for day in days)) for name in names)


def rest(cells: Cells, days: Sequence[date], shown: Sequence[str]) -> tuple[Layer, ...]:
    """One layer for all other recorders, where there are any."""
    others = {name for name, _ in cells} - set(shown)
    if not others:
        return ()
    sums = (float(sum(cells.get((name, day), 0) for name in others)) for day in days)
    return (Layer(f"{len(others)} more", tuple(sums)),)
