"""The journal of this process: every document that was read, on disk before anything else happens to it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Self
from uuid import uuid4

from etl.errors import JournalError, JournalFull
from etl.journal import disk, sqlite
from etl.journal.held import NEW, HeldJournal
from etl.journal.segment import Segment, segment_name
from etl.journal.shelf import Shelf
from etl.journal.writer import Commit, Limits, Writer
from etl.model import Draft


class Journal(HeldJournal):
    """The one journal that this process writes, with a thread that commits what waits.

    `append` and the properties may be used from any thread.
    """

    def __init__(self, shelf: Shelf, lock: disk.Lock, limits: Limits) -> None:
        super().__init__(shelf, lock)
        self._writer = Writer(shelf, limits)

    @classmethod
    def create(cls, root: Path, limits: Limits | None = None, *, connect: sqlite.Connect = sqlite.connect) -> Self:
        """Make an empty journal under `root`, locked. `connect` opens an existing SQLite file.

        Raises:
            JournalFull: no room for it.
            JournalError: the folder cannot be made.
        """
        with disk.translated(root):
            disk.make_folder(root)
            draft, lock = _new_folder(root)
            try:
                lock.sign()
                Segment.create(draft / segment_name(1), connect)
                folder = root / draft.name.removeprefix(NEW)
                disk.rename(draft, folder)
                return cls(Shelf(folder, connect), lock, limits or Limits())
            except BaseException:
                with suppress(OSError):  # else whoever adopts next deletes it
                    disk.delete_folder(draft)
                lock.release()
                raise

    def append(self, draft: Draft) -> Commit:
        """Queue `draft` without waiting for the disk.

        Returns the commit that will hold it, a future shared by all drafts of that commit, its result the
        last sequence committed. The draft is *received* when that future has its result. A full disk only
        delays it; its exception is the error that broke the journal. It cannot be cancelled, so an asyncio
        task may await `asyncio.wrap_future(...)` of it.

        A time of receipt before that of an earlier draft is stored as that one's.

        Raises:
            JournalError: the journal is finished or broken; its own error where it is broken.
            TypeError: the draft's time is not aware, or its note is no JSON.
            ValueError: the draft is too large.
        """
        return self._writer.append(draft)

    @property
    def has_room(self) -> bool:
        """Whether a reader may go on reading; else it awaits the commit of its last draft first."""
        return self._writer.has_room

    @property
    def waiting(self) -> int:
        """How many drafts are not committed yet."""
        return self._writer.waiting

    @property
    def waiting_bytes(self) -> int:
        """About how much memory the drafts take that are not committed yet."""
        return self._writer.waiting_bytes

    @property
    def failing(self) -> JournalFull | None:
        """Why the disk takes nothing at the moment; None while it does.

        Nothing is dropped meanwhile: the same drafts are tried again until they are committed, once.
        """
        return self._writer.failing

    @property
    def broken(self) -> JournalError | None:
        """Why this journal will never take another draft; None while it does. To be set aside, and made anew."""
        return self._writer.broken

    @property
    def last_sequence(self) -> int:
        """The sequence of the last committed entry; 0 before the first. Never looks at the disk."""
        return self._writer.committed

    def wait(self, after: int, timeout: float) -> bool:
        """Wait until something behind `after` is committed, at most `timeout` seconds; whether it is.

        Returns at once when the journal is finished or broken, for nothing more will come then.
        """
        return self._writer.wait(after, timeout)

    def finish(self, timeout: float) -> None:
        """Take no more drafts, commit what waits within `timeout` seconds, and stop writing.

        Reading goes on, so that the loader can drain it; then `remove` or `close` it.

        Raises:
            JournalFull: the disk took not all of it in time; says how many drafts are lost to a gap.
            JournalError: the journal broke.
        """
        self._writer.finish(timeout)

    def close(self, timeout: float = 5.0) -> None:
        """`finish`, and let go of the journal in any case. Raises what `finish` raises."""
        try:
            self.finish(timeout)
        finally:
            super().close()

    def remove(self, checkpoint: int) -> None:
        """Delete the finished journal, whose entries are all archived up to `checkpoint`, and let go of it.

        Raises:
            JournalError: it is still being written, holds entries behind `checkpoint`, or cannot be deleted.
        """
        self._must_be_done()
        super().remove(checkpoint)

    def set_aside(self) -> Path:
        """Keep a finished or broken journal for humans under `<id>.damaged-<n>`, and let go of it.

        Returns where it lies now.

        Raises:
            JournalError: it is still being written, or cannot be renamed.
        """
        self._must_be_done()
        return super().set_aside()

    def _must_be_done(self) -> None:
        if not self._writer.done:
            raise JournalError(str(self.path), "it is still being written; finish it first")


def _new_folder(root: Path) -> tuple[Path, disk.Lock]:
    """Make and lock a folder under a hidden name; again, where an adopter swept it away between the two."""
    while True:
        folder = root / f"{NEW}{uuid4()}"
        folder.mkdir(mode=0o700)
        try:
            lock = disk.Lock.take(folder)
        except FileNotFoundError:
            continue
        if lock is not None:
            return folder, lock
