"""What a measurement is, how it is repeated, and how it is shown.

Everything is measured in seconds per item (a document, a call, an entry), so a ratio always reads the same way: how
many times the peer's cost we cost. Ours and the peer's turns alternate, so that both see the same moods of the machine.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, TypeAlias

Task: TypeAlias = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Peer:
    """What we are compared with, and its seconds per item, one for each repetition."""

    name: str
    seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure: seconds per `item`, one for each repetition, beside its peers."""

    part: str
    name: str
    item: str
    seconds: tuple[float, ...]
    peers: tuple[Peer, ...] = ()

    def ratio(self, peer: Peer) -> float:
        """How many times the peer's cost: the median over the repetitions, each beside its own."""
        if len(peer.seconds) == len(self.seconds):
            return median(ours / theirs for ours, theirs in zip(self.seconds, peer.seconds, strict=True))
        return median(self.seconds) / median(peer.seconds)

    def as_json(self) -> dict[str, Any]:
        """All of it, with the raw repetitions."""
        return {
            "part": self.part,
            "name": self.name,
            "item": self.item,
            "seconds": summary(self.seconds),
            "peers": [
                {"name": peer.name, "seconds": summary(peer.seconds), "ratio": self.ratio(peer)} for peer in self.peers
            ],
        }


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Median, range and the values themselves."""
    return {"median": median(values), "low": min(values), "high": max(values), "all": list(values)}


def timed(task: Task) -> float:
    """Seconds that `task` takes, without the garbage of what ran before it."""
    gc.collect()
    began = time.perf_counter()
    task()
    return time.perf_counter() - began


def alternate(tasks: Sequence[Task], items: int, repetitions: int) -> list[tuple[float, ...]]:
    """Seconds per item of each task, taking turns; one unmeasured turn warms up."""
    for task in tasks:
        task()
    rounds = [[timed(task) / items for task in tasks] for _ in range(repetitions)]
    return [tuple(column) for column in zip(*rounds, strict=True)]


def compared(
    part: str, name: str, item: str, ours: Task, peers: dict[str, Task], items: int, repetitions: int
) -> Figure:
    """Measure `ours` beside its peers."""
    first, *others = alternate([ours, *peers.values()], items, repetitions)
    return Figure(part, name, item, first, tuple(Peer(*pair) for pair in zip(peers, others, strict=True)))


def table(figures: Sequence[Figure]) -> str:
    """The figures for people."""
    lines = [("", "per item", "range", "per second", "times its cost")]
    part = ""
    for figure in figures:
        if figure.part != part:
            part = figure.part
            lines += [("",) * 5, (part, "", "", "", "")]
        lines.append((f"  {figure.name}, per {figure.item}", *_numbers(figure.seconds), ""))
        lines += [(f"    {peer.name}", *_numbers(peer.seconds), f"{figure.ratio(peer):.2f}") for peer in figure.peers]
    return _aligned(lines)


def _numbers(seconds: Sequence[float]) -> tuple[str, str, str]:
    middle = median(seconds)
    return _span(middle), f"{_span(min(seconds))} .. {_span(max(seconds))}", f"{1 / middle:,.0f}" if middle else ""


def _span(seconds: float) -> str:
    return (
        f"{seconds * 1e6:.1f} µs"
        if seconds < 1e-3
        else f"{seconds * 1e3:.2f} ms"
        if seconds < 1
        else f"{seconds:.2f} s"
    )


def _aligned(lines: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    return "\n".join(
        line[0].ljust(widths[0])
        + "".join("  " + cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))
        for line in lines
    ).replace("\n\n", "\n")
