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
Clock: TypeAlias = Callable[[], float]


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


def timed(task: Task, clock: Clock = time.perf_counter) -> float:
    """Seconds that `task` takes, without the garbage of what ran before it."""
    gc.collect()
    began = clock()
    task()
    return clock() - began


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a part compares: it takes turns, `repetitions` times after one turn to warm up.

    `clock` is the wall's; for what only computes, `time.process_time`: other programs then disturb less.
    """

    part: str
    item: str
    repetitions: int
    clock: Clock = time.perf_counter

    def figure(self, name: str, items: int, ours: Task, peers: dict[str, Task]) -> Figure:
        """Measure `ours`, which does `items` items, beside its peers, which do as many."""
        tasks = [ours, *peers.values()]
        for task in tasks:
            task()
        rounds = [[timed(task, self.clock) / items for task in tasks] for _ in range(self.repetitions)]
        first, *others = zip(*rounds, strict=True)
        return Figure(self.part, name, self.item, first, tuple(Peer(*pair) for pair in zip(peers, others, strict=True)))


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
