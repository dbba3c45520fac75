"""A figure as data: what it says in words, in numbers, and what is to be drawn. Nothing here knows how."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from etl.model import Interval


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; numbers stand to the right. Neither they nor times are broken into two lines."""

    name: str
    kind: Literal["text", "number", "time"] = "text"


@dataclass(frozen=True, slots=True)
class Table:
    """Numbers as text. The first cell of a row names it."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """One value for each step of an axis."""

    label: str
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Stack:
    """Steps over time, one layer upon the other. `edges` are one more than the steps."""

    edges: tuple[datetime, ...]
    layers: tuple[Layer, ...]
    unit: str


@dataclass(frozen=True, slots=True)
class Panels:
    """Steps over time, each layer in a panel of its own, all to one scale; `whole` where they count something."""

    edges: tuple[datetime, ...]
    layers: tuple[Layer, ...]
    unit: str
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Bars:
    """A horizontal bar for each label."""

    labels: tuple[str, ...]
    values: tuple[float, ...]
    unit: str


@dataclass(frozen=True, slots=True)
class Heat:
    """A grid of 24 hours (rows) by 7 weekdays (columns, from Monday); None: no such hour in the time of the report."""

    values: tuple[tuple[float | None, ...], ...]
    unit: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A gap on a lane, in one of the states open, filled and accepted; or time that is pending."""

    span: Interval
    state: str


@dataclass(frozen=True, slots=True)
class Lane:
    """A recorder's time, and what of it nobody is known to have listened to."""

    label: str
    known: Interval | None
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """Lanes over the time of the report."""

    span: Interval
    lanes: tuple[Lane, ...]


Chart: TypeAlias = Stack | Panels | Bars | Heat | Timeline


@dataclass(frozen=True, slots=True)
class Figure:
    """`key` is its id in the page. Without anything to show there is neither a chart nor a table."""

    key: str
    title: str
    summary: str
    chart: Chart | None = None
    table: Table | None = None
    note: str = ""
    wide: bool = False
    """It takes the whole width where two figures would fit side by side."""
