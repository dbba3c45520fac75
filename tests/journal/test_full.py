"""A disk without room: nothing is dropped, nothing is written twice, and it says so."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from etl.errors import JournalDamaged, JournalFull
from etl.journal import Journal, Limits, adopt, disk, sqlite
from etl.model import Draft, Entry

MakeDraft: TypeAlias = Callable[..., Draft]
ReadAll: TypeAlias = Callable[..., list[Entry]]


class Disk:
    """Connections whose commits fail with `code` while it is set; `failed` counts how often."""

    def __init__(self) -> None:
        self.code: int | None = None
        self.at = "COMMIT"
        self.failed = 0

    def connect(self, path: Path) -> sqlite.Connection:
        return FailingConnection(self, sqlite.connect(path))

    def check(self, sql: str) -> None:
        if self.code is not None and sql.startswith(self.at):
            self.failed += 1
            error = sqlite3.OperationalError("as told")
            error.sqlite_errorcode = self.code
            raise error


class FailingConnection:
    def __init__(self, disk: Disk, real: sqlite.Connection) -> None:
        self._disk, self._real = disk, real

    @property
    def in_transaction(self) -> bool:
        return self._real.in_transaction

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> sqlite.Cursor:
        self._disk.check(sql)
        return self._real.execute(sql, parameters)

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> object:
        self._disk.check(sql)
        return self._real.executemany(sql, rows)

    def close(self) -> None:
        self._real.close()


def until(condition: Callable[[], object], journal: Journal) -> None:
    """Wait on the journal's own pace until `condition` holds."""
    for _ in range(2_000):
        if condition():
            return
        journal.wait(1_000_000, 0.005)
    raise AssertionError("it never came")


@pytest.fixture
def told() -> Disk:
    return Disk()


@pytest.fixture
def journal(root: Path, told: Disk) -> Iterator[Journal]:
    """A journal on a disk that fails as told."""
    journal = Journal.create(root, Limits(segment_bytes=2_000, retry_seconds=0.001), connect=told.connect)
    yield journal
    told.code = None
    if journal.broken is None:
        journal.close()


@pytest.mark.parametrize("at", ["BEGIN", "INSERT", "COMMIT"])
@pytest.mark.parametrize(
    "code",
    [sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_READONLY],
)
def test_a_full_disk_delays_but_drops_nothing_and_repeats_nothing(
    journal: Journal, told: Disk, make_draft: MakeDraft, read_all: ReadAll, code: int, at: str
) -> None:
    journal.append(make_draft(1)).result(10)
    told.code, told.at = code, at
    commits = [journal.append(make_draft(number)) for number in range(2, 30)]
    until(lambda: told.failed >= 3, journal)
    failing = journal.failing
    assert isinstance(failing, JournalFull)
    assert failing.retry
    assert (journal.waiting, journal.last_sequence) == (28, 1)
    told.code = None
    assert commits[-1].result(10) == 29
    assert journal.failing is None
    assert [entry.draft for entry in read_all(journal)] == [make_draft(number) for number in range(1, 30)]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_no_room_for_the_next_segment_delays_as_well(
    journal: Journal, make_draft: MakeDraft, read_all: ReadAll, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    journal.append(make_draft(1, 2_000)).result(10)
    real = disk.make_file
    refused: list[Path] = []

    def make_file(path: Path) -> None:
        if len(refused) < 3:
            refused.append(path)
            raise OSError(number, os.strerror(number))
        real(path)

    monkeypatch.setattr(disk, "make_file", make_file)
    assert journal.append(make_draft(2)).result(10) == 2
    assert len(refused) == 3
    assert [entry.sequence for entry in read_all(journal)] == [1, 2]


def test_a_segment_that_could_not_be_finished_leaves_nothing_in_the_way(
    journal: Journal, told: Disk, make_draft: MakeDraft, read_all: ReadAll
) -> None:
    journal.append(make_draft(1, 2_000)).result(10)
    told.code, told.at = sqlite3.SQLITE_FULL, "PRAGMA journal_mode"
    commit = journal.append(make_draft(2))
    until(lambda: told.failed >= 3, journal)
    told.code = None
    assert commit.result(10) == 2
    assert [entry.sequence for entry in read_all(journal)] == [1, 2]


def test_finishing_on_a_full_disk_gives_up_at_the_deadline_and_says_what_is_lost(
    journal: Journal, told: Disk, make_draft: MakeDraft, root: Path, read_all: ReadAll
) -> None:
    journal.append(make_draft(1)).result(10)
    told.code = sqlite3.SQLITE_FULL
    commit = journal.append(make_draft(2))
    with pytest.raises(JournalFull, match="1 entries are not written"):
        journal.close(0.05)
    with pytest.raises(JournalFull):
        commit.result(10)
    (orphan,) = adopt(root).journals
    with orphan:
        assert len(read_all(orphan)) == 1


@pytest.mark.parametrize("code", [sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB])
def test_damage_is_not_taken_for_a_full_disk(journal: Journal, told: Disk, make_draft: MakeDraft, code: int) -> None:
    told.code = code
    with pytest.raises(JournalDamaged):
        journal.append(make_draft(1)).result(10)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (sqlite3.SQLITE_IOERR_READ, JournalDamaged),
        (sqlite3.SQLITE_IOERR_SHORT_READ, JournalDamaged),
        (sqlite3.SQLITE_CORRUPT_SEQUENCE, JournalDamaged),
        (sqlite3.SQLITE_IOERR_SHMSIZE, JournalFull),
        (sqlite3.SQLITE_CANTOPEN, JournalFull),
        (sqlite3.SQLITE_BUSY, JournalFull),
    ],
)
def test_a_read_tells_damage_from_what_waiting_may_mend(
    journal: Journal, told: Disk, make_draft: MakeDraft, code: int, expected: type[Exception]
) -> None:
    journal.append(make_draft(1)).result(10)
    told.code, told.at = code, "SELECT"
    with pytest.raises(expected):
        journal.read(0, 10, 10)
    told.code = None
    assert len(journal.read(0, 10, 10)) == 1


def test_an_error_nobody_thought_of_reaches_all_who_wait(
    journal: Journal, make_draft: MakeDraft, monkeypatch: pytest.MonkeyPatch
) -> None:
    def surprise(*_: object) -> None:
        raise ZeroDivisionError("surprise")

    monkeypatch.setattr(journal._writer._tape, "write", surprise)
    with pytest.raises(Exception, match=r"ZeroDivisionError.*surprise"):
        journal.append(make_draft(1)).result(10)
    assert journal.broken is not None
    assert not journal.wait(0, 100.0)


def test_no_room_for_a_journal_at_all_leaves_no_rubbish(root: Path, told: Disk) -> None:
    told.code, told.at = sqlite3.SQLITE_FULL, "COMMIT"
    for _ in range(3):
        with pytest.raises(JournalFull):
            Journal.create(root, connect=told.connect)
    assert list(root.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 2 MB."""
    mount = tmp_path / "small"
    mount.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(mount)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"a small file system can only be mounted as root here: {made.stderr.strip()}")
    yield mount
    subprocess.run(["umount", "--lazy", str(mount)], check=True)


@pytest.mark.slow
def test_a_disk_that_is_really_full(small_disk: Path, make_draft: MakeDraft, read_all: ReadAll) -> None:
    """Filled to the last byte by others, time after time: each time it says so, and goes on when there is room."""
    root, ballast = small_disk / "journal", small_disk / "ballast"
    total = 0
    with Journal.create(root, Limits(segment_bytes=150_000, retry_seconds=0.001)) as journal:
        for _ in range(5):
            fill_up(ballast)
            for _ in range(60):
                total += 1
                commit = journal.append(make_draft(total, 2_000))
            until(lambda: journal.failing is not None, journal)
            assert journal.failing is not None
            assert "full" in str(journal.failing) or "space" in str(journal.failing)
            ballast.unlink()
            assert commit.result(10) == total
            journal.discard(total - 60)
    (orphan,) = adopt(root).journals
    with orphan:
        entries = read_all(orphan, total - 60)
        assert [entry.draft for entry in entries] == [make_draft(n, 2_000) for n in range(total - 59, total + 1)]


def fill_up(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        size = 65_536
        while size:
            try:
                file.write(b"\0" * size)
            except OSError:
                size //= 2
