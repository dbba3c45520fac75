"""How much at once: the busy hour, and concurrent calls."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

from etl.report.charts import Column, Figure, Layer, Panels, Table
from etl.report.days import MOST_LAYERS, MOST_ROWS, SHORT, days_of, edges_of, layers, leading, passed_hours
from etl.report.rows import Findings, Peak
from etl.report.words import count, counted, hour_of, recorder, weekday

_WHEN = (Column("day", "time"), Column("recorder"), Column("hour", "time"))


def figures(found: Findings) -> tuple[Figure, ...]:
    return (busy_hours(found), concurrent_calls(found))


def busy_hours(found: Findings) -> Figure:
    """The hour of each day with the most traffic, by recorder."""
    key, title = "busy-hour", "Busy hour of each day"
    if not found.busy:
        return Figure(key, title, "There was no traffic in this time.")
    days = days_of(found)
    cells = {(recorder(row.recorder), row.day): float(row.erlangs) for row in found.busy}
    highest = _highest(cells)
    shown = layers(cells, days, leading(highest))
    panels = Panels(edges_of(days, found.zone), shown, "erlangs in the busy hour", whole=False)
    top = max(found.busy, key=lambda row: (row.erlangs, -row.hour.timestamp()))
    summary = (
        f"The busiest hour was that from {hour_of(top.hour, found.zone)} on {weekday(top.day)}, on"
        f" {recorder(top.recorder)}: {top.erlangs:,.2f} erlangs, that is calls at once on average."
    )
    return Figure(key, title, summary, panels, _table_of_busy_hours(found), _only(len(highest)))


def _highest(cells: Mapping[tuple[str, date], float]) -> dict[str, float]:
    """Of each recorder the day with the most."""
    highest: dict[str, float] = {}
    for (name, _), value in cells.items():
        highest[name] = max(highest.get(name, 0.0), value)
    return highest


def _only(recorders: int) -> str:
    if recorders <= MOST_LAYERS:
        return ""
    return f"The plot shows the {MOST_LAYERS} of {count(recorders)} recorders with the highest values."


def _table_of_busy_hours(found: Findings) -> Table:
    rows = sorted(found.busy, key=lambda row: (row.day, recorder(row.recorder)))
    if few := len(rows) > MOST_ROWS:
        best = {row.day: row for row in sorted(rows, key=lambda row: row.erlangs)}
        rows = [best[day] for day in sorted(best)]
    cells = tuple(
        (row.day.isoformat(), recorder(row.recorder), hour_of(row.hour, found.zone), count(row.calls),
         f"{row.erlangs:,}")
        for row in rows
    )  # fmt: skip
    caption = "The busiest hour of each day, of all recorders" if few else "Busy hours by day and recorder"
    return Table(caption, (*_WHEN, Column("calls", "number"), Column("erlangs", "number")), cells)


def concurrent_calls(found: Findings) -> Figure:
    """The most calls at once in each hour, by recorder."""
    key, title = "concurrent-calls", "Concurrent calls"
    if not found.peaks:
        return Figure(key, title, "There was no traffic in this time.")
    best = _best_of_days(found)
    shown = leading(_highest({key: float(row.calls) for key, row in best.items()}))
    top = max(found.peaks, key=lambda row: (row.calls, -row.hour.timestamp()))
    day = top.hour.astimezone(found.zone).date()
    summary = (
        f"At most {counted(top.calls, 'call')} went on at once on one recorder: on {recorder(top.recorder)},"
        f" on {weekday(day)} in the hour from {hour_of(top.hour, found.zone)}."
    )
    panels = _steps(found, best, shown)
    return Figure(key, title, summary, panels, _table_of_peaks(found, best), _only(len({name for name, _ in best})))


Best = Mapping[tuple[str, date], Peak]


def _best_of_days(found: Findings) -> Best:
    """Of each recorder and day the hour with the most calls at once, the earlier where equal."""
    best: dict[tuple[str, date], Peak] = {}
    for row in sorted(found.peaks, key=lambda row: row.hour):
        key = recorder(row.recorder), row.hour.astimezone(found.zone).date()
        if key not in best or row.calls > best[key].calls:
            best[key] = row
    return best


def _steps(found: Findings, best: Best, names: list[str]) -> Panels:
    """Hour by hour; day by day where that would be too many steps to see."""
    days = days_of(found)
    if len(days) > SHORT:
        cells = {key: float(row.calls) for key, row in best.items()}
        return Panels(edges_of(days, found.zone), layers(cells, days, names), "most calls at once in a day")
    hours = passed_hours(found)
    values = {name: [0.0] * len(hours) for name in names}
    for row in found.peaks:
        if recorder(row.recorder) in values:
            values[recorder(row.recorder)][(row.hour - found.span.start) // timedelta(hours=1)] = float(row.calls)
    steps = tuple(Layer(name, tuple(values[name])) for name in names)
    return Panels((*hours, min(found.span.end, found.now)), steps, "most calls at once in an hour")


def _table_of_peaks(found: Findings, best: Best) -> Table:
    rows = [best[key] for key in sorted(best, key=lambda key: (key[1], key[0]))]
    if few := len(rows) > MOST_ROWS:
        highest = {row.hour.astimezone(found.zone).date(): row for row in sorted(rows, key=lambda row: row.calls)}
        rows = [highest[day] for day in sorted(highest)]
    cells = tuple(
        (f"{row.hour.astimezone(found.zone):%Y-%m-%d}", recorder(row.recorder), hour_of(row.hour, found.zone),
         count(row.calls))
        for row in rows
    )  # fmt: skip
    caption = "The most calls at once on each day, of all recorders" if few else "The most calls at once on each day"
    return Table(caption, (*_WHEN, Column("calls at once", "number")), cells)
