"""How many calls: by day, by recorder, by hour of the week."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, timedelta

from etl.report.charts import Bars, Column, Figure, Heat, Stack, Table
from etl.report.days import MOST_ROWS, days_of, edges_of, layers, leading, passed_hours, rest
from etl.report.rows import DayVolume, Findings
from etl.report.words import clock, count, counted, percent, recorder, shortened, weekday

RANKED = 15
"""Bars in a plot; the table has all."""
WEEK = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_SUMS = (
    Column("calls", "number"),
    Column("complete", "number"),
    Column("unresolved", "number"),
    Column("recorded time", "number"),
    Column("longest", "number"),
)


def figures(found: Findings) -> tuple[Figure, ...]:
    return (calls_by_day(found), calls_by_hour(found), calls_by_recorder(found))


# By day and by recorder


def calls_by_day(found: Findings) -> Figure:
    """All calls that began on each day, by recorder."""
    key, title = "calls-by-day", "Calls per day"
    if not found.calls:
        return Figure(key, title, "There are no calls in this time.")
    cells = {(recorder(row.recorder), row.day): row.calls for row in found.days}
    days = days_of(found)
    shown = leading({name: _calls(rows) for name, rows in _by_recorder(found).items()})
    stack = Stack(edges_of(days, found.zone), layers(cells, days, shown) + rest(cells, days, shown), "calls per day")
    return Figure(key, title, _summary_of_days(found, days), stack, _table_of_days(found))


def _by_recorder(found: Findings) -> dict[str, list[DayVolume]]:
    rows: defaultdict[str, list[DayVolume]] = defaultdict(list)
    for row in found.days:
        rows[recorder(row.recorder)].append(row)
    return rows


def _calls(rows: Iterable[DayVolume]) -> int:
    return sum(row.calls for row in rows)


def _summary_of_days(found: Findings, days: list[date]) -> str:
    sums = Counter(dict.fromkeys(days, 0))
    for row in found.days:
        sums[row.day] += row.calls
    if len(days) == 1:
        return f"{counted(found.calls, 'call')} began on {weekday(days[0])}."
    most, least = max(days, key=lambda day: sums[day]), min(days, key=lambda day: sums[day])
    return (
        f"{counted(found.calls, 'call')} began in {counted(len(days), 'day')}, {found.calls / len(days):,.1f} a day;"
        f" most on {weekday(most)} ({count(sums[most])}), fewest on {weekday(least)} ({count(sums[least])})."
    )


def _table_of_days(found: Findings) -> Table:
    if len(found.days) > MOST_ROWS:
        by_day: defaultdict[date, list[DayVolume]] = defaultdict(list)
        for row in found.days:
            by_day[row.day].append(row)
        rows = ((day.isoformat(), *_sums(by_day[day])) for day in sorted(by_day))
        return Table("Calls by day, all recorders together", (Column("day", "time"), *_SUMS), tuple(rows))
    ordered = sorted(found.days, key=lambda row: (row.day, recorder(row.recorder)))
    full = tuple((row.day.isoformat(), recorder(row.recorder), *_sums([row])) for row in ordered)
    return Table("Calls by day and recorder", (Column("day", "time"), Column("recorder"), *_SUMS), full)


def _sums(rows: Sequence[DayVolume]) -> tuple[str, ...]:
    longest = [row.longest for row in rows if row.longest is not None]
    return (
        count(_calls(rows)),
        count(sum(row.complete for row in rows)),
        count(sum(row.unresolved for row in rows)),
        clock(sum((row.talk_time for row in rows), timedelta())),
        clock(max(longest, default=None)),
    )


def calls_by_recorder(found: Findings) -> Figure:
    """The calls of each recorder over the whole time."""
    key, title = "calls-by-recorder", "Calls per recorder"
    if not found.calls:
        return Figure(key, title, "There are no calls in this time.")
    by_recorder = _by_recorder(found)
    sums = {name: _calls(rows) for name, rows in by_recorder.items()}
    names = leading(sums, len(sums))
    bars = Bars(tuple(map(shortened, names[:RANKED])), tuple(float(sums[name]) for name in names[:RANKED]), "calls")
    rows = tuple((name, *_sums(by_recorder[name])) for name in names)
    table = Table("Calls by recorder", (Column("recorder"), *_SUMS), rows)
    most = f"{names[0]} has the most calls: {count(sums[names[0]])}, {percent(sums[names[0]], found.calls)} of all"
    others = f", of {counted(len(names), 'recorder')}" if len(names) > 1 else ""
    return Figure(key, title, f"{most}{others}.", bars, table, _only(len(names), "recorders"))


def _only(number: int, what: str) -> str:
    return f"The plot shows the first {RANKED} of {count(number)} {what}." if number > RANKED else ""


# By hour of the week


def calls_by_hour(found: Findings) -> Figure:
    """How many calls begin in each hour of the week, on average over the weeks of the report."""
    key, title = "calls-by-hour", "Calls by hour and weekday"
    if not found.calls:
        return Figure(key, title, "There are no calls in this time.")
    means = _means(found)
    busiest = max(((value or 0.0, -hour, -day) for hour, row in enumerate(means) for day, value in enumerate(row)))
    value, hour, day = busiest[0], -busiest[1], -busiest[2]
    summary = f"Most calls begin on {WEEK[day]} from {hour:02}:00 to {hour + 1:02}:00: {value:,.1f} in an average week."
    rows = tuple((f"{hour:02}:00", *(_mean(value) for value in row)) for hour, row in enumerate(means))
    columns = (Column("hour", "time"), *(Column(name[:3], "number") for name in WEEK))
    table = Table(f"Calls that begin in each hour, on average; zone {found.zone.key}", columns, rows)
    note = f"Hours and weekdays of {found.zone.key}. An empty field: no such hour in the time of the report."
    return Figure(key, title, summary, Heat(means, "calls per hour"), table, note)


def _means(found: Findings) -> tuple[tuple[float | None, ...], ...]:
    slots = Counter((at.hour, at.weekday()) for at in (hour.astimezone(found.zone) for hour in passed_hours(found)))
    calls: Counter[tuple[int, int]] = Counter()
    for row in found.hours:
        at = row.hour.astimezone(found.zone)
        calls[at.hour, at.weekday()] += row.calls
    return tuple(tuple(_ratio(calls[hour, day], slots[hour, day]) for day in range(7)) for hour in range(24))


def _ratio(calls: int, slots: int) -> float | None:
    return calls / slots if slots else None


def _mean(value: float | None) -> str:
    return "" if value is None else f"{value:,.1f}"
