"""Whose calls, and how they ended."""

from __future__ import annotations

import re

from etl.report.charts import Bars, Column, Figure, Table
from etl.report.rows import CauseCount, ExtensionUse, Findings
from etl.report.volume import RANKED
from etl.report.words import clock, count, counted, moment, percent, shortened

MOST_EXTENSIONS = 100
"""Rows in the table of extensions."""
_PSEUDONYM = re.compile(r"#[0-9a-f]{16}")


def figures(found: Findings) -> tuple[Figure, ...]:
    return (extensions(found), causes(found))


def masked(found: Findings) -> bool:
    """Whether the report was made without the right to see personal data: all that is shown is pseudonyms."""
    shown = [row.extension for row in found.extensions if row.extension]
    return bool(shown) and all(_PSEUDONYM.fullmatch(name) for name in shown)


def extensions(found: Findings) -> Figure:
    """The extensions with the most calls."""
    key, title = "extensions", "Extensions with the most calls"
    known = sorted((row for row in found.extensions if row.extension), key=_most_calls)
    if not known:
        return Figure(key, title, "No call of this time has an extension.")
    top = known[:RANKED]
    bars = Bars(tuple(shortened(_name(row)) for row in top), tuple(float(row.calls) for row in top), "calls")
    without = sum(row.calls for row in found.extensions if not row.extension)
    summary = (
        f"{counted(len(known), 'extension')} had calls; {_name(top[0])} had the most:"
        f" {count(top[0].calls)}, {percent(top[0].calls, found.calls)} of all."
    )
    columns = (
        Column("extension"), Column("calls", "number"), Column("complete", "number"), Column("recorded time", "number"),
        Column("longest", "number"), Column("last call", "time"),
    )  # fmt: skip
    rows = tuple(_usage(row, found) for row in known[:MOST_EXTENSIONS])
    note = " ".join(part for part in (_without(without), _only(len(known)), _pseudonyms(found)) if part)
    return Figure(key, title, summary, bars, Table("Calls by extension", columns, rows), note)


def _most_calls(row: ExtensionUse) -> tuple[int, str]:
    return -row.calls, row.extension or ""


def _name(row: ExtensionUse) -> str:
    return row.extension or ""


def _usage(row: ExtensionUse, found: Findings) -> tuple[str, ...]:
    last = moment(row.last_call, found.zone)[:16] if row.last_call else "-"
    return (_name(row), count(row.calls), count(row.complete), clock(row.talk_time), clock(row.longest), last)


def _without(calls: int) -> str:
    return f"{counted(calls, 'call')} without an extension." if calls else ""


def _only(number: int) -> str:
    if number <= RANKED:
        return ""
    listed = f", the table the first {MOST_EXTENSIONS}" if number > MOST_EXTENSIONS else ""
    return f"The plot shows the first {RANKED}{listed}."


def _pseudonyms(found: Findings) -> str:
    return (
        "Extensions are shown as pseudonyms: the same one has the same pseudonym everywhere." if masked(found) else ""
    )


def causes(found: Findings) -> Figure:
    """Why calls ended."""
    key, title = "causes", "Why calls ended"
    if not found.causes:
        return Figure(key, title, "There are no calls in this time.")
    ranked = sorted(found.causes, key=lambda row: (-row.calls, _cause(row)))
    total = sum(row.calls for row in ranked)
    top = ranked[:RANKED]
    bars = Bars(tuple(shortened(_cause(row), 24) for row in top), tuple(float(row.calls) for row in top), "calls")
    rows = tuple((_cause(row), count(row.calls), percent(row.calls, total)) for row in ranked)
    table = Table("Calls by cause", (Column("cause"), Column("calls", "number"), Column("share", "number")), rows)
    summary = f"The most frequent cause is “{_cause(top[0])}”: {count(top[0].calls)} calls, {rows[0][2]} of all."
    note = f"The plot shows the first {RANKED} of {len(ranked)} causes." if len(ranked) > RANKED else ""
    return Figure(key, title, summary, bars, table, note)


def _cause(row: CauseCount) -> str:
    return "not reported" if row.cause is None else row.cause
