"""The segments of one journal in their order: reading across them, and discarding what is archived."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from threading import Lock

from etl.errors import JournalDamaged, JournalError
from etl.journal import disk
from etl.journal.segment import Segment, delete_segment, first_of, segment_bytes, segment_name
from etl.journal.sqlite import Connect
from etl.model import Entry


class Shelf:
    """A folder of segments. Thread-safe: one thread may add segments while another reads and discards."""

    def __init__(self, folder: Path, connect: Connect) -> None:
        """Take stock of `folder`.

        Raises:
            JournalError: the folder cannot be read.
        """
        self.folder = folder
        self._connect = connect
        self._reading = Lock()
        self._open: Segment | None = None
        self._checked = -1
        with disk.translated(folder):
            firsts = sorted(first for path in folder.iterdir() if (first := first_of(path.name)) is not None)
            self._sizes = {first: segment_bytes(self.path(first)) for first in firsts}

    @property
    def firsts(self) -> tuple[int, ...]:
        """The first sequence of each segment, ascending."""
        return tuple(self._sizes.copy())

    @property
    def bytes_on_disk(self) -> int:
        """What all segments take, as last measured."""
        return sum(self._sizes.copy().values())

    def path(self, first: int) -> Path:
        """Where the segment lies whose first entry is `first`."""
        return self.folder / segment_name(first)

    def add(self, first: int) -> None:
        """Begin a new segment behind all others.

        Raises:
            JournalFull: no room for it.
            JournalDamaged: the folder is gone.
        """
        Segment.create(self.path(first), self._connect)
        self.measure(first)

    def open(self, first: int) -> Segment:
        """Open a segment. Raises what `Segment.open` raises."""
        return Segment.open(self.path(first), self._connect)

    def measure(self, first: int) -> None:
        """Look how large a segment is now.

        Raises:
            JournalDamaged: it is gone.
        """
        with disk.translated(self.path(first)):
            self._sizes[first] = segment_bytes(self.path(first))

    def read(self, after: int, max_rows: int, max_bytes: int) -> list[Entry]:
        """Committed entries behind `after`, in order and without holes; empty when there are none yet.

        At most `max_rows`, and none is added once their bodies reach `max_bytes`. What stands before an error
        is returned first; the error is raised when it is all that is left.

        Raises:
            JournalDamaged: the entry behind `after` is missing or not what was written.
            JournalFull: the disk does not answer now.
        """
        entries: list[Entry] = []
        size = 0
        try:
            with self._reading, closing(self._walk(after, max_rows)) as walk:
                for entry in walk:
                    entries.append(entry)
                    size += len(entry.draft.body)
                    if size >= max_bytes:
                        break
        except JournalError:
            if not entries:
                raise
        return entries

    def _walk(self, after: int, limit: int) -> Generator[Entry, None, None]:
        """Entries from `after` on through all segments known now, up to `limit`, each the next of the last.

        A segment that has a follower before it is read is sealed, so what it lacks then is lost.
        """
        firsts = self.firsts
        position = bisect_right(firsts, after + 1) - 1
        if position < 0:
            raise JournalDamaged(str(self.folder), self._missing(after + 1, min(firsts, default=None)))
        last = after
        for first, following in zip(firsts[position:], (*firsts[position + 1 :], None), strict=True):
            segment = self._turn_to(first)
            with closing(segment.read(last, limit - (last - after))) as entries:
                for entry in entries:
                    self._expect(last + 1, entry.sequence)
                    yield entry
                    last = entry.sequence
            if last - after >= limit:
                return
            self._expect_end(segment, last, following)

    def _expect_end(self, segment: Segment, last: int, following: int | None) -> None:
        """A segment read to its end must reach its follower; the last one, the entry that was asked for."""
        if following is not None:
            self._expect(last + 1, following)
        elif (end := self._end(segment)) < last:
            raise JournalDamaged(str(segment.path), f"it ends at entry {end}, though entry {last} was read before")

    def _expect(self, wanted: int, found: int) -> None:
        if wanted != found:
            raise JournalDamaged(str(self.folder), self._missing(wanted, found))

    @staticmethod
    def _missing(wanted: int, found: int | None) -> str:
        return f"entry {wanted} is missing" + (f", the next one found is {found}" if found else "")

    def _turn_to(self, first: int) -> Segment:
        """The segment, kept open for the next read."""
        if self._open is None or self._open.path != self.path(first):
            self._close_open()
            self._open = self.open(first)
        return self._open

    def _close_open(self) -> None:
        if self._open is not None:
            segment, self._open = self._open, None
            segment.close()
            self.measure(segment.first)  # the last to close drops the log

    def last(self) -> int:
        """The sequence of the last committed entry; 0 in a journal that never held one.

        What a segment lost shows by its follower, but the last one has none: it is checked, once.

        Raises:
            JournalDamaged: the last segment cannot be read, or there is none.
            JournalFull: the disk does not answer now.
        """
        with self._reading:
            if not self._sizes:
                raise JournalDamaged(str(self.folder), "it holds no segment")
            segment = self._turn_to(self.firsts[-1])
            if segment.first != self._checked:
                segment.check()
                self._checked = segment.first
            return self._end(segment)

    @staticmethod
    def _end(segment: Segment) -> int:
        last = segment.last()
        return segment.first - 1 if last is None else last

    def discard(self, upto: int) -> None:
        """Delete the segments that hold only entries up to `upto`, but never the last one.

        Raises:
            JournalError: a file cannot be deleted.
        """
        firsts = self.firsts
        for first, following in pairwise(firsts):
            if following - 1 > upto:
                return
            self._delete(first)

    def _delete(self, first: int) -> None:
        path = self.path(first)
        with self._reading:
            if self._open is not None and self._open.path == path:
                self._close_open()
            with disk.translated(path):
                delete_segment(path)
            del self._sizes[first]

    def close(self) -> None:
        """Close what is open for reading. Reading again opens it again."""
        with self._reading:
            self._close_open()
