"""The run as a small picture: what could grow, over the messages sent."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import matplotlib
from longrun.evidence import Evidence
from longrun.plan import DATABASE_FAULTS
from longrun.watch import Sample
from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLUE, GREY = "#0072b2", "#767676"
FEW = 1_000
"""Calls of a database that is still nearly empty."""
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "longrun",
    "font.size": 9,
    "font.family": ["sans-serif"],
}
_PANELS: tuple[tuple[str, Callable[[Sample], float]], ...] = (
    ("worker's memory, MB", lambda sample: sample["rss"] / 1e6),
    ("open files, sockets", lambda sample: float(sample["fds"])),
    ("journal, MB", lambda sample: sample["journal_bytes"] / 1e6),
    ("database, kB per call", lambda sample: sample["database_bytes"] / max(sample["calls"], 1) / 1e3),
)


def draw(seen: Evidence) -> str:
    """An SVG of four panels; grey lines are outages of the database."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(7, 6), layout="constrained")
        panels = figure.subplots(len(_PANELS), sharex=True)
        for axes, (name, value) in zip(panels, _PANELS, strict=True):
            _panel(axes, seen, name, value)
        panels[-1].set_xlabel("million messages")
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()


def _panel(axes: Axes, seen: Evidence, name: str, value: Callable[[Sample], float]) -> None:
    shown = [sample for sample in seen.samples if sample["calls"] > FEW and "database_bytes" in sample]
    axes.plot([sample["sent"] / 1e6 for sample in shown], [value(sample) for sample in shown], color=BLUE, linewidth=1)
    axes.set_ylim(bottom=0)
    axes.set_ylabel(name, fontsize=8)
    for event in seen.events:
        if event["what"] in DATABASE_FAULTS:
            axes.axvline(_sent(seen, event["at"]) / 1e6, color=GREY, linewidth=0.6, linestyle=":")
    axes.spines[["top", "right"]].set_visible(False)


def _sent(seen: Evidence, at: float) -> int:
    """Messages by then."""
    return max((sample["sent"] for sample in seen.samples if sample["at"] <= at), default=0)
