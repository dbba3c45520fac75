"""Runs the benchmarks and shows them; see docs/benchmarks.md."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import export, files, journal, live, parsing, postgres, readers, reconcile, store
from benchmarks.measure import Figure, table


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    repetitions: int
    documents: int
    journal: int
    store: int
    filled: int
    rate: float
    seconds: float
    windows: int
    ramp: tuple[float, ...]
    ramp_seconds: float
    listed: int
    files: int
    loaders: bool
    exported: int
    asked: int


FULL = Size(
    repetitions=3,
    documents=1_000,
    journal=10_000,
    store=4_000,
    filled=1_000_000,
    rate=200,
    seconds=5,
    windows=4,
    ramp=(50, 100, 150, 200, 250, 300, 400),
    ramp_seconds=5,
    listed=100_000,
    files=100_000,
    loaders=True,
    exported=200_000,
    asked=20_000_000,
)
QUICK = Size(
    repetitions=2,
    documents=20,
    journal=200,
    store=50,
    filled=1_000,
    rate=20,
    seconds=1,
    windows=2,
    ramp=(20,),
    ramp_seconds=1,
    listed=200,
    files=2_000,
    loaders=False,
    exported=3_000,
    asked=12_000,
)


def _parsing(size: Size) -> list[Figure]:
    return parsing.figures(size.documents, size.repetitions)


def _journal(size: Size) -> list[Figure]:
    return journal.figures(size.journal, size.repetitions)


def _store(size: Size) -> list[Figure]:
    with postgres.serving() as cluster:
        return store.figures(cluster, size.store, size.filled, size.repetitions)


def _live(size: Size) -> list[Figure]:
    with postgres.serving() as cluster:
        run = live.run(cluster, size.rate, size.seconds, size.windows)
        return [*live.figures(run), *live.ramp(cluster, size.ramp, size.ramp_seconds)]


def _reconcile(size: Size) -> list[Figure]:
    with postgres.serving() as cluster:
        return reconcile.figures(cluster, size.listed, (0.0, 0.01, 0.05), size.repetitions)


def _files(size: Size) -> list[Figure]:
    with postgres.serving() as cluster:
        return files.figures(cluster, size.files, size.repetitions, loaders=size.loaders)


def _export(size: Size) -> list[Figure]:
    with postgres.serving() as cluster:
        return export.figures(cluster, size.exported, size.repetitions)


def _readers(size: Size) -> list[Figure]:
    with postgres.serving("wal_level=minimal", "max_wal_senders=0", "max_wal_size=8GB") as cluster:
        return readers.figures(cluster, size.asked, size.store, size.repetitions)


PARTS: dict[str, Callable[[Size], list[Figure]]] = {
    "parsing": _parsing,
    "journal": _journal,
    "store": _store,
    "live": _live,
    "reconcile": _reconcile,
    "export": _export,
    "files": _files,
    "readers": _readers,
}
ON_REQUEST = ("files", "readers")
"""Parts that are left out unless they are named: they install other programs, or want 30 GB and half an hour."""


def main(words: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, and show."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure, each figure beside a peer.")
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default: all but {' and '.join(ON_REQUEST)}"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows only that the benchmarks still run")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures with all repetitions to FILE")
    given = parser.parse_args(words)
    if unknown := [part for part in given.parts if part not in PARTS]:
        parser.error(f"no such part: {', '.join(unknown)}")
    size = QUICK if given.quick else FULL
    found = []
    usual = [part for part in PARTS if given.quick or part not in ON_REQUEST]
    for part in given.parts or usual:
        print(f"measuring: {part}", file=sys.stderr)
        found += PARTS[part](size)
    print(table(found))
    if given.json:
        given.json.write_text(json.dumps({**_machine(), "figures": [each.as_json() for each in found]}, indent=1))


def _machine() -> dict[str, object]:
    """What the figures depend on; nothing that names the machine."""
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
    }


if __name__ == "__main__":
    main()
