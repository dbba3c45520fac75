"""Who gets the journals of the dead."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import TypeAlias
from uuid import uuid4

import pytest

from etl.errors import JournalError
from etl.journal import HeldJournal, Journal, adopt
from etl.journal.disk import Lock

Fill: TypeAlias = Callable[..., None]


def test_nothing_is_found_where_nothing_is(root: Path) -> None:
    assert adopt(root) == ((), ())


def test_the_journal_of_a_living_owner_is_left_alone_even_by_its_own_process(journal: Journal, root: Path) -> None:
    assert adopt(root) == ((), ())
    journal.close()
    assert len(adopt(root).journals) == 1


def test_an_adopted_journal_is_nobody_elses_until_it_is_let_go(journal: Journal, fill: Fill, root: Path) -> None:
    fill(journal, 1, 3)
    journal.close()
    (orphan,) = adopt(root).journals
    assert adopt(root).journals == ()
    orphan.close()
    (again,) = adopt(root).journals
    again.remove(3)
    assert adopt(root).journals == ()


def test_of_many_that_adopt_at_once_each_journal_goes_to_one(root: Path) -> None:
    expected = set()
    for _ in range(5):
        with Journal.create(root) as journal:
            expected.add(journal.id)
    barrier = Barrier(6)

    def race(_: int) -> tuple[HeldJournal, ...]:
        barrier.wait(10)
        return adopt(root).journals

    with ThreadPoolExecutor(6) as pool:
        won = [orphan for journals in pool.map(race, range(6)) for orphan in journals]
    assert len(won) == 5
    assert {orphan.id for orphan in won} == expected
    for orphan in won:
        orphan.close()


@pytest.mark.slow
def test_journals_are_made_and_removed_while_others_adopt(root: Path) -> None:
    """No maker loses its folder, no remover fails, nothing is left behind."""

    def live_and_die(_: int) -> None:
        for _ in range(10):
            journal = Journal.create(root)
            assert journal.path.exists()
            journal.finish(5)
            journal.remove(0)

    def sweep(_: int) -> None:
        for _ in range(60):
            assert adopt(root) == ((), ())

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(live_and_die, range(2))) == [None, None]
        root.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(4) as pool:
        living = [pool.submit(live_and_die, 0), pool.submit(live_and_die, 0)]
        sweeping = [pool.submit(sweep, 0), pool.submit(sweep, 0)]
        for future in living + sweeping:
            future.result(60)
    assert adopt(root) == ((), ())
    assert list(root.iterdir()) == []


def test_what_a_crash_left_half_made_or_half_deleted_is_deleted(root: Path) -> None:
    for name in (f".new-{uuid4()}", f".gone-{uuid4()}", str(uuid4())):
        (root / name).mkdir(parents=True)
        (root / name / "owner.lock").touch()
        (root / name / "000000000001.sqlite.new").touch()
    (root / f".new-{uuid4()}").mkdir()
    assert adopt(root) == ((), ())
    assert list(root.iterdir()) == []


def test_a_folder_being_made_is_not_stolen(root: Path) -> None:
    folder = root / f".new-{uuid4()}"
    folder.mkdir(parents=True)
    lock = Lock.take(folder)
    assert lock is not None
    assert adopt(root) == ((), ())
    assert folder.exists()
    lock.release()


def test_folders_of_others_are_left_alone(root: Path) -> None:
    names = {"lost+found", f"{uuid4()}.damaged-1", "{12345678-1234-1234-1234-123456789abc}"}
    for name in names:
        (root / name).mkdir(parents=True)
    (root / str(uuid4())).touch()
    assert adopt(root) == ((), ())
    assert names < {path.name for path in root.iterdir()}


def test_a_journal_nobody_can_open_does_not_hide_the_others(journal: Journal, fill: Fill, root: Path) -> None:
    fill(journal, 1, 3)
    journal.close()
    unreadable = root / str(uuid4())
    unreadable.mkdir()
    (unreadable / "owner.lock").mkdir()
    journals, refused = adopt(root)
    assert [orphan.id for orphan in journals] == [journal.id]
    assert [error.path for error in refused] == [str(unreadable)]
    journals[0].close()


def test_a_lock_on_a_folder_deleted_meanwhile_is_no_lock(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / str(uuid4())
    folder.mkdir(parents=True)
    real_open = os.open

    def open_just_before_the_deletion(path: Path, flags: int, mode: int) -> int:
        descriptor = real_open(path, flags, mode)
        path.unlink()
        return descriptor

    monkeypatch.setattr(os, "open", open_just_before_the_deletion)
    assert Lock.take(folder) is None


def test_the_root_must_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "journal").touch()
    with pytest.raises(JournalError):
        adopt(tmp_path / "journal")
