"""One schedule, from its seed to the verdict."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import structlog
from explore import archive, disk, once, receipts, threads
from explore.laws import Laws
from explore.mirror import Mirror
from explore.schedule import Schedule
from explore.stage import Stage

LOOK_EVERY = 2.37
"""Seconds between two looks whether all is well again: not a keep-alive's period, or each look could find one that has
just arrived and is not loaded yet (seed 2109)."""
PATIENCE = 240.0
"""Seconds after which a world that does not come to rest never will."""
CLOSING = 60.0
"""Seconds that workers have to stop; more than they allow themselves."""


@dataclass(frozen=True)
class Outcome:
    """What became of a schedule. `seconds` is how much time went by in its world."""

    schedule: Schedule
    broken: tuple[str, ...]
    checked: int
    excused: int
    seconds: float
    trace: tuple[str, ...]


class Log(structlog.BoundLoggerBase):
    """Says nothing; only that something failed unexpectedly is a breach, whatever follows from it."""

    def debug(self, event: str, **told: object) -> None: ...

    info = warning = error = debug

    def exception(self, event: str, **told: object) -> None:
        threads.world().complain(f"{event}: {sys.exc_info()[1]!r}")


@contextmanager
def installed() -> Iterator[Path]:
    """The places where the product meets the machine lead into worlds; yields a folder for them."""
    shared = Path("/dev/shm")
    try:
        with (
            tempfile.TemporaryDirectory(prefix="cdr-explore-", dir=shared if shared.is_dir() else None) as folder,
            threads.seams(threads.SEAMS | threads.PACE | disk.SEAMS | archive.SEAMS | once.SEAMS),
        ):
            yield Path(folder)
    finally:
        structlog.reset_defaults()


def explore(schedule: Schedule, folder: Path, database: str | None = None) -> Outcome:
    """Let a schedule happen and judge it. With the URL of a `database`, which is emptied, that must always agree."""
    structlog.configure(wrapper_class=Log, cache_logger_on_first_use=False)
    stage = Stage(schedule, folder)
    laws = Laws(stage)
    world = stage.world
    with threads.inside(world), closing(Mirror(stage.archive, database)) if database else nullcontext():
        try:
            stage.play()
            stage.calm()
            _settle(stage, laws)
            _close(stage, laws)
            if stage.left:  # by one that was asked to stop while the database was out of its reach
                stage.open()
                _settle(stage, laws)
                _close(stage, laws)
            if stage.archive.mirror is not None:
                stage.archive.mirror.compare_ties()
            laws.judge()
            receipts.judge(laws)
        finally:
            stage.end()
    return Outcome(schedule, tuple(laws.broken), laws.checked, laws.excused, world.now, tuple(world.trace))


def _settle(stage: Stage, laws: Laws) -> None:
    world = stage.world
    until = world.now + PATIENCE
    while (left := laws.unsettled()) and world.now < until:
        world.run(world.now + LOOK_EVERY)
    laws.see(not left, f"{PATIENCE:.0f} s after all was well: {'; '.join(left)}")


def _close(stage: Stage, laws: Laws) -> None:
    world = stage.world
    stage.close()
    until = world.now + CLOSING
    while stage.running and world.now < until:
        world.run(world.now + 0.5)
    laws.see(not stage.running, "a worker does not stop")
