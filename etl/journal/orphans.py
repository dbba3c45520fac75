"""Journals whose owner is dead: found by their free lock, and taken over by whoever starts next."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from etl.errors import JournalError
from etl.journal import disk, sqlite
from etl.journal.held import GONE, NEW, HeldJournal
from etl.journal.shelf import Shelf


class Adoption(NamedTuple):
    """What a look through the journals found: those that are ours now, and errors of those nobody can open."""

    journals: tuple[HeldJournal, ...]
    refused: tuple[JournalError, ...]


def adopt(root: Path, *, connect: sqlite.Connect = sqlite.connect) -> Adoption:
    """Lock every journal under `root` that has no living owner; never waits, leaves the others alone.

    Of two that adopt at once, each journal goes to one. What a crash left half made, half deleted or without
    any segment is deleted. Damage shows only when a journal is read.

    Raises:
        JournalError: `root` cannot be read.
    """
    if not root.exists():
        return Adoption((), ())
    with disk.translated(root):
        folders = sorted(path for path in root.iterdir() if path.is_dir())
    journals: list[HeldJournal] = []
    refused: list[JournalError] = []
    for folder in folders:
        try:
            journal = _visit(folder, connect)
        except JournalError as error:
            refused.append(error)
        else:
            journals += [journal] if journal else []
    return Adoption(tuple(journals), tuple(refused))


def _visit(folder: Path, connect: sqlite.Connect) -> HeldJournal | None:
    with disk.translated(folder):
        if _is_journal(folder.name):
            return _claim(folder, connect)
        if folder.name.startswith((NEW, GONE)):
            _sweep(folder)
    return None


def _claim(folder: Path, connect: sqlite.Connect) -> HeldJournal | None:
    """The journal, if its owner is dead and it holds anything."""
    lock = _lock(folder, make=True)
    if lock is None:
        return None
    try:
        lock.sign()
        shelf = Shelf(folder, connect)
        if shelf.firsts:
            return HeldJournal(shelf, lock)
        disk.delete_folder(folder)
    except BaseException:
        lock.release()
        raise
    lock.release()
    return None


def _sweep(folder: Path) -> None:
    """Delete what its maker or deleter left behind when it died."""
    lock = _lock(folder, make=False)
    if lock is None:
        disk.delete_empty(folder)
        return
    try:
        disk.delete_folder(folder)
    finally:
        lock.release()


def _lock(folder: Path, *, make: bool) -> disk.Lock | None:
    """The folder's lock; None where it is held, or the folder (or its lock) was deleted meanwhile."""
    try:
        return disk.Lock.take(folder, make=make)
    except FileNotFoundError:
        return None


def _is_journal(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False
