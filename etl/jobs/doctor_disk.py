"""The disk as `cdr doctor` looks at it: rights, room, locks, syncs, and the journals that lie there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

from etl.journal import disk

_MEGABYTE = 1_000_000


def room(data_dir: Path, journal_limit: int) -> Iterator[tuple[str, str, int]]:
    """What was found of `data_dir`, what to do about it, and the exit code: 0 where all is well.

    A folder that is not there yet is judged by the one in which it would be made.
    """
    there = next(path for path in (data_dir, *data_dir.parents) if path.exists())
    try:
        yield from _tried(there)
    except OSError as error:
        yield (
            f"{there} cannot be used: {error.strerror}",
            "give it to the user that runs cdr, or set worker.data_dir",
            1,
        )
        return
    free = shutil.disk_usage(there).free
    told = f"{free / _MEGABYTE:,.0f} MB free; the journal may take {journal_limit / _MEGABYTE:,.0f} MB"
    yield (told, "make room, or lower worker.journal_limit", 5) if free < journal_limit else (told, "", 0)


def _tried(there: Path) -> Iterator[tuple[str, str, int]]:
    """Make, lock and sync a folder of our own, as a journal does."""
    with tempfile.TemporaryDirectory(prefix=".doctor-", dir=there) as name:
        folder = Path(name)
        first = disk.Lock.take(folder)
        second = disk.Lock.take(folder)
        for lock in (first, second):
            if lock is not None:
                lock.release()
        with (folder / "file").open("wb") as file:
            file.write(b"x")
            file.flush()
            os.fsync(file.fileno())
        disk.sync_folder(folder)
    if first is None or second is not None:
        what = "set worker.data_dir to a local disk: without locks two processes would take each other's journal"
        yield "locks do not hold here", what, 1
    else:
        yield "can be written; locks and syncs work", "", 0


def journals(root: Path) -> tuple[list[str], list[str]]:
    """Names of the journals whose owner is gone, and of those that were set aside.

    Nothing is adopted: a lock is taken for a moment, and who looks for orphans just then looks again a minute later.
    """
    dead: list[str] = []
    damaged: list[str] = []
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        if ".damaged-" in folder.name:
            damaged.append(folder.name)
        elif _is_id(folder.name) and _free(folder):
            dead.append(folder.name)
    return dead, damaged


def _is_id(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False


def _free(folder: Path) -> bool:
    try:
        lock = disk.Lock.take(folder, make=False)
    except OSError:
        return False
    if lock is None:
        return False
    lock.release()
    return True
