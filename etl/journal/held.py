"""A journal that we hold the lock of: reading it, discarding what is archived, and getting rid of it."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import UUID

from etl.errors import JournalError
from etl.journal import disk
from etl.journal.shelf import Shelf
from etl.model import Entry

GONE = ".gone-"
"""How the name of a folder begins that is being deleted."""
NEW = ".new-"
"""How the name of a folder begins that is being made."""


class HeldJournal:
    """The journal in one folder, locked by us. Orphans come as this; our own one adds the writing.

    `id` is the folder's name, `path` the folder. Reading and discarding belong to one thread at a time.
    """

    def __init__(self, shelf: Shelf, lock: disk.Lock) -> None:
        self.path = shelf.folder
        self.id = UUID(shelf.folder.name)
        self._shelf = shelf
        self._lock = lock

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def last_sequence(self) -> int:
        """The sequence of the last committed entry, 0 if there never was one.

        Raises:
            JournalDamaged: the last segment cannot be read.
            JournalFull: the disk does not answer now.
        """
        return self._shelf.last()

    @property
    def discarded(self) -> int:
        """Up to which entry the journal no longer holds what was archived: what is left is read from there."""
        return min(self._shelf.firsts, default=1) - 1

    @property
    def bytes_on_disk(self) -> int:
        """What the journal takes on disk; known without looking at the disk."""
        return self._shelf.bytes_on_disk

    def backlog(self, checkpoint: int) -> int:
        """How many entries lie behind `checkpoint`. Raises what `last_sequence` raises."""
        return self.last_sequence - checkpoint

    def read(self, after: int, max_rows: int, max_bytes: int) -> list[Entry]:
        """Committed entries behind `after`, in order and without holes; empty when there are none (yet).

        At most `max_rows`, and none is added once their bodies reach `max_bytes`, so memory is bounded by
        that and one document. What stands before damage is returned first, and the damage raised when it
        is all that is left.

        Raises:
            JournalDamaged: the entry behind `after` is missing or not what was written, or the journal ends
                before `after`.
            JournalFull: the disk does not answer now; waiting can help.
        """
        return self._shelf.read(after, max_rows, max_bytes)

    def wait(self, after: int, timeout: float) -> bool:
        """Whether there is anything behind `after`; never waits, since nobody adds to an orphan."""
        return self.backlog(after) > 0

    def discard(self, upto: int) -> None:
        """Delete the segments whose entries are all archived (`upto` and before); the last one always stays.

        Raises:
            JournalError: a file cannot be deleted.
        """
        self._shelf.discard(upto)

    def close(self) -> None:
        """Let go of the journal: whoever starts next adopts it. Harmless when already closed."""
        try:
            self._shelf.close()
        finally:
            self._lock.release()

    def remove(self, checkpoint: int) -> None:
        """Delete the journal, whose entries are all archived up to `checkpoint`, and let go of it.

        Raises:
            JournalError: it holds entries behind `checkpoint`, or cannot be deleted.
        """
        if (left := self.backlog(checkpoint)) > 0:
            raise JournalError(str(self.path), f"{left} of its entries are not archived yet; it is kept")
        self._shelf.close()
        with disk.translated(self.path):
            gone = self.path.with_name(GONE + self.path.name)
            disk.rename(self.path, gone)
            disk.delete_folder(gone)
        self._lock.release()

    def set_aside(self) -> Path:
        """Keep a damaged journal for humans under `<id>.damaged-<n>`, where nobody adopts it, and let go of it.

        Returns where it lies now.

        Raises:
            JournalError: it cannot be renamed.
        """
        self._shelf.close()
        with disk.translated(self.path):
            target = _free_name(self.path)
            disk.rename(self.path, target)
        self._lock.release()
        return target


def _free_name(folder: Path) -> Path:
    number = 1
    while (target := folder.with_name(f"{folder.name}.damaged-{number}")).exists():
        number += 1
    return target
