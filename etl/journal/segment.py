"""One file of the journal: an SQLite database with one table of entries.

A segment is named after the sequence of its first entry, so the names alone tell where an entry stands and
whether a file in the middle is missing. Each entry carries a checksum of its own, because SQLite notices
damage to its own structure, but not a flipped bit inside a value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self
from uuid import UUID
from zlib import crc32

from etl.errors import JournalDamaged
from etl.journal import disk, sqlite
from etl.model import Draft, Entry, What

APPLICATION_ID = 0x63647261
"""The mark in the header of our SQLite files: "cdra"."""
FORMAT = 1

MAX_BODY = 900_000_000
"""In bytes; SQLite holds values up to a little above this."""

_TABLE = """
    CREATE TABLE entry (
        sequence INTEGER PRIMARY KEY,
        observed_at INTEGER NOT NULL,
        recorder TEXT NOT NULL,
        session BLOB NOT NULL,
        what TEXT NOT NULL,
        note TEXT NOT NULL,
        body BLOB NOT NULL,
        checksum INTEGER NOT NULL
    )"""
_INSERT = "INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_SELECT = (
    "SELECT sequence, observed_at, recorder, session, what, note, body, checksum"
    " FROM entry WHERE sequence > ? ORDER BY sequence LIMIT ?"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_PAGE_BYTES = 16_384
"""Rows of a kilobyte waste less of a large page than of SQLite's usual 4096 bytes (measured)."""
_LOG_BYTES = 8_000_000
"""What SQLite keeps of the write-ahead log after a large commit; without it, the largest size ever."""
_ROW_BYTES = 100
"""About what a row takes beside its note and body."""


@dataclass(frozen=True, slots=True)
class Line:
    """A draft in the form in which it is stored, but for its sequence. `observed_at` is in µs since 1970 UTC."""

    observed_at: int
    recorder: str
    session: bytes
    what: str
    note: str
    body: bytes

    @classmethod
    def of(cls, draft: Draft, not_before: int) -> Self:
        """Encode `draft`; a time of receipt before `not_before` (in µs) becomes that one.

        Raises:
            TypeError: its time is not aware, or its note is no JSON.
            ValueError: its body is too large for SQLite, or its recorder's name is no valid text.
        """
        draft.recorder.encode()
        if len(draft.body) > MAX_BODY:
            raise ValueError(f"a body of {len(draft.body)} bytes does not fit the journal ({MAX_BODY} at most)")
        observed_at = max((draft.observed_at - _EPOCH) // _MICROSECOND, not_before)
        note = json.dumps(dict(draft.note), separators=(",", ":")) if draft.note else ""
        return cls(observed_at, draft.recorder, draft.session.bytes, draft.what.value, note, draft.body)

    @property
    def size(self) -> int:
        """About how many bytes it takes, in memory and on disk."""
        return _ROW_BYTES + len(self.note) + len(self.body)

    def checksum(self, sequence: int) -> int:
        """The CRC-32 of everything the entry says, its place included."""
        head = "\0".join((str(sequence), str(self.observed_at), self.recorder, self.what, self.note))
        return crc32(self.body, crc32(self.session, crc32(head.encode())))

    def row(self, sequence: int) -> tuple[Any, ...]:
        """The row of the table `entry`."""
        stored = (self.observed_at, self.recorder, self.session, self.what, self.note, self.body)
        return (sequence, *stored, self.checksum(sequence))

    def draft(self) -> Draft:
        """The draft again, its time of receipt as it was stored."""
        return Draft(
            observed_at=_EPOCH + timedelta(microseconds=self.observed_at),
            recorder=self.recorder,
            session=UUID(bytes=self.session),
            what=What(self.what),
            body=self.body,
            note=json.loads(self.note) if self.note else {},
        )


def segment_name(first: int) -> str:
    """The file name of the segment whose first entry is `first`."""
    return f"{first:012}.sqlite"


def first_of(name: str) -> int | None:
    """The first entry of the segment with this file name; None where it is no segment's name."""
    return int(name[:12]) if re.fullmatch(r"[0-9]{12}\.sqlite", name) else None


def segment_files(path: Path) -> tuple[Path, ...]:
    """The segment's file and those that SQLite keeps beside it."""
    return path, *(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm", "-journal"))


def segment_bytes(path: Path) -> int:
    """How many bytes the segment takes on disk, its write-ahead log included.

    Raises:
        FileNotFoundError: it is gone.
    """
    size = path.stat().st_size
    with suppress(FileNotFoundError):  # it may vanish at any moment, when another connection closes
        size += segment_files(path)[1].stat().st_size
    return size


def delete_segment(path: Path) -> None:
    """Delete the segment. Nothing may have it open."""
    for file in segment_files(path):
        file.unlink(missing_ok=True)


class Segment:
    """An open segment. Not thread-safe; a writer and a reader open it each for themselves."""

    def __init__(self, path: Path, connection: sqlite.Connection) -> None:
        self.path = path
        self.first = int(path.stem)
        self._connection = connection

    @classmethod
    def create(cls, path: Path, connect: sqlite.Connect) -> None:
        """Make an empty segment. It gets its name when it is whole and on disk, so none is ever half made.

        Raises:
            JournalFull: no room for it.
            JournalDamaged: its folder is gone.
        """
        draft = path.with_name(path.name + ".new")
        delete_segment(draft)
        with disk.translated(path.parent):
            disk.make_file(draft)
            with sqlite.translated(draft), closing(connect(draft)) as connection:
                _lay_out(connection)
            disk.rename(draft, path)

    @classmethod
    def open(cls, path: Path, connect: sqlite.Connect) -> Self:
        """Open an existing segment.

        Raises:
            JournalDamaged: it is missing, or no segment of ours.
            JournalFull: it cannot be opened now.
        """
        with sqlite.translated(path):
            segment = cls(path, connect(path))
            try:
                segment._prepare()
            except BaseException:
                segment.close()
                raise
        return segment

    def _prepare(self) -> None:
        marks = self._value("PRAGMA application_id"), self._value("PRAGMA user_version")
        if marks != (APPLICATION_ID, FORMAT):
            raise JournalDamaged(str(self.path), f"it is no journal of this format (its marks are {marks})")
        _run(self._connection, "PRAGMA synchronous = FULL")
        _run(self._connection, f"PRAGMA journal_size_limit = {_LOG_BYTES}")

    def _value(self, sql: str) -> Any:
        with closing(self._connection.execute(sql)) as rows:
            return next(iter(rows))[0]

    def write(self, first: int, lines: Sequence[Line]) -> None:
        """Store `lines` as the entries from `first` on: all of them, on disk, or none.

        Raises:
            JournalFull: no room; the segment is as before.
            JournalDamaged: SQLite finds the segment malformed.
        """
        rows = [line.row(sequence) for sequence, line in enumerate(lines, first)]
        with sqlite.translated(self.path):
            _run(self._connection, "BEGIN IMMEDIATE")
            try:
                self._connection.executemany(_INSERT, rows)
                _run(self._connection, "COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # after some errors SQLite has rolled back by itself
                    _run(self._connection, "ROLLBACK")
                raise

    def read(self, after: int, limit: int) -> Generator[Entry, None, None]:
        """Yield up to `limit` committed entries behind `after`, in order. Close the generator when done.

        Raises:
            JournalDamaged: at the first entry that is not what was written.
            JournalFull: the disk does not answer now.
        """
        with sqlite.translated(self.path), closing(self._connection.execute(_SELECT, (after, limit))) as rows:
            for row in rows:
                yield self._entry(*row)

    def _entry(self, sequence: int, *columns: Any) -> Entry:
        *stored, checksum = columns
        line = Line(*stored)
        try:
            if line.checksum(sequence) == checksum:
                return Entry(sequence, line.draft())
        except (TypeError, ValueError, AttributeError) as error:
            raise JournalDamaged(str(self.path), f"entry {sequence} cannot be read ({error})") from error
        raise JournalDamaged(str(self.path), f"entry {sequence} is not what was written: its checksum differs")

    def last(self) -> int | None:
        """The sequence of the last committed entry; None when there is none.

        Raises:
            JournalDamaged: SQLite finds the segment malformed.
            JournalFull: the disk does not answer now.
        """
        with sqlite.translated(self.path):
            last: int | None = self._value("SELECT max(sequence) FROM entry")
        return last

    def check(self) -> None:
        """Look whether the file is whole: a changed byte, or a cut, can hide entries as if they had never been there.

        Raises:
            JournalDamaged: it is not what SQLite wrote.
            JournalFull: the disk does not answer now.
        """
        with sqlite.translated(self.path):
            found = self._value("PRAGMA quick_check(1)")
        if found != "ok":
            raise JournalDamaged(str(self.path), f"it is not what was written ({found})")

    def close(self) -> None:
        """Close the connection. The last one of a segment folds the write-ahead log into it."""
        with sqlite.translated(self.path):
            self._connection.close()


def _run(connection: sqlite.Connection, sql: str) -> None:
    with closing(connection.execute(sql)) as rows:
        for _ in rows:
            pass


def _lay_out(connection: sqlite.Connection) -> None:
    """The mode and the marks stay in the file; closing it folds everything into it, synced."""
    _run(connection, f"PRAGMA page_size = {_PAGE_BYTES}")
    _run(connection, "PRAGMA journal_mode = WAL")
    _run(connection, "PRAGMA synchronous = FULL")
    _run(connection, "BEGIN IMMEDIATE")
    _run(connection, f"PRAGMA application_id = {APPLICATION_ID}")
    _run(connection, f"PRAGMA user_version = {FORMAT}")
    _run(connection, _TABLE)
    _run(connection, "COMMIT")
