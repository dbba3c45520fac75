"""Draws charts with matplotlib, as SVG that fits into a page: text as text, black and light grey left to the page.

The same chart gives the same bytes. Imported only where a report is made: matplotlib takes its time.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import cycle, islice
from typing import Any
from zoneinfo import ZoneInfo

import matplotlib
from lxml import etree
from matplotlib import dates
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from etl.model import Interval
from etl.report.charts import Bars, Chart, Heat, Mark, Panels, Stack, Timeline
from etl.report.days import SHORT
from etl.report.words import shortened

WIDTH = 5.6
"""Inches. With letters of 11 points a phone's 340 pixels still show them 9 pixels high."""
GREY = "#767676"
"""Axes: seen on white and on black."""
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#767676")
"""Of Okabe and Ito, which colour-blind people can tell apart; grey for what is left."""
BLUE = "#2a88c8"
"""Of plots with one colour: seen on white and on black."""
HATCHES = ("", "///", "\\\\\\", "xxx", "---", "||")
"""Never colour alone. Lines only: dots would make a file of 100 kB."""
MARKS = {
    "open": ("open gap", "#d55e00", "xxxx"),
    "pending": ("pending", "#cc79a7", "||||"),
    "filled": ("filled gap", "#e69f00", "////"),
    "accepted": ("accepted gap", "#767676", "----"),
}
"""Label, colour and hatch of the states that a lane marks, the worst first."""
COVERED = "#56b4e9"
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
SHADES = 12
"""Of the heat map: few enough to be told apart."""
_FINEST = 200
"""Parts of a lane that a phone still shows: no gap is drawn narrower than one."""
_TIMES = ["%Y", "%b", "%d %b", "%H:%M", "%H:%M", "%H:%M:%S"]
"""How a tick of a year, a month, a day, an hour, a minute, a second is written."""
_BEGINS = ["", "%Y", "%d %b", "%d %b", "%H:%M", "%H:%M"]
"""How the first one of its year, month, day, hour, minute is."""
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans", "sans-serif"],
    "font.size": 11,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid.axis": "y",
    "grid.color": GREY,
    "grid.alpha": 0.35,
    "grid.linewidth": 0.6,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": "black",
    "ytick.labelcolor": "black",
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "hatch.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 10,
}


def draw(chart: Chart, key: str, zone: ZoneInfo) -> str:
    """The chart as an `<svg>` element. `key` makes its ids unique in the page; times are shown in `zone`."""
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": key}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # the reader's own fonts draw the text
        figure = _DRAWERS[type(chart)](chart, zone)
        out = io.BytesIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _for_a_page(out.getvalue(), key)


# The kinds of charts


def _stack(chart: Stack, zone: ZoneInfo) -> Figure:
    figure, axes = _sheet(3.2)
    edges = _numbers(chart.edges)
    below = [0.0] * (len(edges) - 1)
    handles = []
    line = 0.4 if len(edges) <= SHORT else 0.0
    for layer, colour, hatch in zip(chart.layers, _colours(len(chart.layers)), HATCHES, strict=False):
        above = [low + value for low, value in zip(below, layer.values, strict=True)]
        look: dict[str, Any] = {"facecolor": colour, "hatch": hatch, "edgecolor": "white", "linewidth": line}
        axes.stairs(above, edges, baseline=below, fill=True, **look)
        handles.append(Patch(label=_label(layer.label), **look))
        below = above
    _counts(axes.yaxis)
    axes.set_ylabel(chart.unit)
    axes.grid(visible=True)
    _times(axes, chart.edges[0], chart.edges[-1], zone)
    if len(handles) > 1:
        figure.legend(handles=handles, loc="outside upper left", ncols=3, handlelength=1.6, columnspacing=1.2)
    return figure


def _panels(chart: Panels, zone: ZoneInfo) -> Figure:
    number = len(chart.layers)
    figure = Figure(figsize=(WIDTH, 0.9 + 0.95 * number), layout="constrained")
    panels = list(figure.subplots(number, 1, sharex=True, sharey=True, squeeze=False)[:, 0])
    for axes, layer in zip(panels, chart.layers, strict=True):
        axes.stairs(layer.values, _numbers(chart.edges), fill=True, color=BLUE, linewidth=0.8)
        axes.set_title(_label(layer.label, 40), fontsize=10, loc="left", pad=3)
        axes.grid(visible=True)
    _counts(panels[0].yaxis, 3, chart.whole)
    panels[0].set_ylim(bottom=0)
    figure.supylabel(chart.unit, fontsize=10)
    _times(panels[-1], chart.edges[0], chart.edges[-1], zone)
    return figure


def _bars(chart: Bars, _zone: ZoneInfo) -> Figure:
    figure, axes = _sheet(0.7 + 0.27 * len(chart.labels))
    places = range(len(chart.labels))
    axes.barh(places, chart.values, height=0.7, color=BLUE)
    axes.set_yticks(places, [_label(label, 24) for label in chart.labels])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(chart.labels) - 0.4, -0.6)
    most = max(chart.values, default=0) or 1
    for place, value in zip(places, chart.values, strict=True):
        axes.text(value + most * 0.01, place, f"{value:,.0f}", va="center", fontsize=10)
    axes.set_xlim(0, most * 1.16)
    _counts(axes.xaxis, 4)
    axes.set_xlabel(chart.unit)
    axes.grid(visible=True, axis="x")
    return figure


def _heat(chart: Heat, _zone: ZoneInfo) -> Figure:
    figure, axes = _sheet(4.0)
    values = [[float("nan") if value is None else value for value in row] for row in chart.values]
    shades = matplotlib.colormaps["cividis_r"].resampled(SHADES)
    cells = axes.pcolormesh(range(8), range(25), values, cmap=shades, vmin=0, edgecolors=GREY, linewidth=0.3)
    axes.set_xticks([day + 0.5 for day in range(7)], DAYS)
    axes.set_yticks(range(0, 25, 3), [f"{hour:02}:00" for hour in range(0, 25, 3)])
    axes.tick_params(length=0)
    axes.invert_yaxis()
    for spine in axes.spines.values():
        spine.set_visible(False)
    bar = figure.colorbar(cells, ax=axes, shrink=0.8, pad=0.02, label=chart.unit)
    bar.outline.set_visible(False)
    return figure


def _timeline(chart: Timeline, zone: ZoneInfo) -> Figure:
    figure, axes = _sheet(1.3 + 0.3 * max(1, len(chart.lanes)))
    for place, lane in enumerate(chart.lanes):
        if lane.known:
            axes.broken_barh([_piece(lane.known)], (place - 0.32, 0.64), facecolor=COVERED)
        for state, (_, colour, hatch) in reversed(MARKS.items()):
            pieces = [_piece(span) for span in _visible(lane.marks, state, chart.span)]
            axes.broken_barh(
                pieces, (place - 0.32, 0.64), facecolor=colour, hatch=hatch, edgecolor="black", linewidth=0
            )
    axes.set_yticks(range(len(chart.lanes)), [_label(lane.label) for lane in chart.lanes])
    axes.set_ylim(max(1, len(chart.lanes)) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    _times(axes, chart.span.start, chart.span.end, zone)
    handles = [Patch(facecolor=COVERED, label="listened")]
    handles += [Patch(facecolor=colour, hatch=hatch, edgecolor="black", linewidth=0, label=label)
                for label, colour, hatch in MARKS.values()]  # fmt: skip
    figure.legend(handles=handles, loc="outside upper left", ncols=3, handlelength=1.6, columnspacing=1.0)
    return figure


def _visible(marks: Sequence[Mark], state: str, whole: Interval) -> list[Interval]:
    """The marks of a state, each wide enough to be seen; those that then touch are one."""
    least = (whole.end - whole.start) / _FINEST
    joined: list[Interval] = []
    for span in sorted(mark.span for mark in marks if mark.state == state):
        wide = Interval(span.start, max(span.end, span.start + least))
        if joined and wide.start <= joined[-1].end:
            wide = Interval(joined[-1].start, max(wide.end, joined.pop().end))
        joined.append(wide)
    return joined


_DRAWERS: dict[type[Any], Callable[[Any, ZoneInfo], Figure]] = {
    Stack: _stack,
    Panels: _panels,
    Bars: _bars,
    Heat: _heat,
    Timeline: _timeline,
}


# What they share


def _sheet(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots()


def _numbers(times: Sequence[datetime]) -> list[float]:
    return [float(dates.date2num(time)) for time in times]  # type: ignore[no-untyped-call]


def _piece(span: Interval) -> tuple[float, float]:
    start, end = _numbers((span.start, span.end))
    return start, end - start


def _colours(number: int) -> list[str]:
    return list(islice(cycle(COLOURS), number))


def _counts(axis: Any, most: int = 6, whole: bool = True) -> None:
    """Numbers with thousands apart; at whole ones only, where they count something."""
    axis.set_major_locator(MaxNLocator(most, integer=whole, min_n_ticks=1))
    axis.set_major_formatter(StrMethodFormatter("{x:,.10g}"))


def _times(axes: Axes, start: datetime, end: datetime, zone: ZoneInfo) -> None:
    """An axis of days and hours of the report's zone."""
    locator = dates.AutoDateLocator(tz=zone, minticks=3, maxticks=7)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    formatter = dates.ConciseDateFormatter(  # type: ignore[no-untyped-call]
        locator, tz=zone, formats=_TIMES, zero_formats=_BEGINS, show_offset=False
    )
    axes.xaxis.set_major_formatter(formatter)
    axes.set_xlim(*_numbers((start, end)))


def _label(text: str, most: int = 18) -> str:
    """A name as a label. One that begins with an underscore would be left out of a legend."""
    shown = "".join(char if char.isprintable() else "�" for char in text)
    return shortened(f" {shown}" if shown.startswith("_") else shown, most)


# From matplotlib's file to a part of the page

_PRECISE = re.compile(r"-?\d+\.\d{3,}")
_SVG = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"


def _for_a_page(svg: bytes, key: str) -> str:
    """Without prologue, comments, metadata, size and style sheet; ids that are unique in the page."""
    root = etree.fromstring(svg, etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True))
    for found in [*root.iter(f"{_SVG}metadata"), *root.iter(f"{_SVG}style")]:
        parent = found.getparent()
        assert parent is not None
        parent.remove(found)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, "")
    used = _targets(root)
    for element in root.iter():
        _rename(element, key, used)
    etree.cleanup_namespaces(root)
    return etree.tostring(root, encoding="unicode").strip()


def _targets(root: Any) -> set[str]:
    """The ids that something refers to; the others are names of matplotlib's own."""
    text = etree.tostring(root, encoding="unicode")
    return set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", text))


def _rename(element: Any, key: str, used: set[str]) -> None:
    for name, value in element.attrib.items():
        if name == "id":
            if value in used:
                element.set("id", f"{key}-{value}")
            else:
                del element.attrib["id"]
        elif name == _LINK:
            element.set("href", f"#{key}-{value.removeprefix('#')}")
            del element.attrib[_LINK]
        else:
            shorter = _PRECISE.sub(lambda found: f"{float(found[0]):.2f}", value)
            element.set(name, shorter.replace("url(#", f"url(#{key}-"))
