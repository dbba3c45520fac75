"""What is done to a data_dir does what it says: a full disk is full, a damaged journal is damaged."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from campaign import harm

from etl.errors import JournalDamaged
from etl.journal.journal import Journal
from etl.journal.orphans import adopt
from etl.model import Draft, What


def leave_a_journal(root: Path) -> Path:
    """With enough in it for several pages; its owner is gone."""
    with Journal.create(root) as journal:
        for _ in range(200):
            journal.append(Draft(datetime.now(UTC), "ny-1", uuid4(), What.OPENED, note={"worker": "w" * 500}))
    return journal.path


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("how", harm.DAMAGES)
def test_a_damaged_journal_is_found_damaged_or_holds_less(tmp_path: Path, how: str, seed: int) -> None:
    leave_a_journal(tmp_path)
    assert harm.damage(tmp_path, how, seed) == 1
    for journal in adopt(tmp_path).journals:
        with journal:
            try:
                assert len(journal.read(0, 1000, 1 << 30)) < 200
                assert journal.last_sequence < 200
            except JournalDamaged:
                continue


def test_a_journal_that_was_set_aside_and_what_is_no_journal_is_left_alone(tmp_path: Path) -> None:
    path = leave_a_journal(tmp_path)
    path.rename(path.with_name(f"{path.name}.damaged-1"))
    assert harm.damage(tmp_path, "flipped", 1) == 0
    assert harm.damage(tmp_path / "nothing", "flipped", 1) == 0


@pytest.mark.slow
def test_a_full_disk_takes_nothing_until_it_is_emptied(tmp_path: Path) -> None:
    with harm.small_disk(tmp_path / "disk") as mounted:
        if not mounted:
            pytest.skip("no small file system can be mounted here: that takes root")
        harm.fill(tmp_path / "disk")
        with pytest.raises(OSError, match="No space left"):
            (tmp_path / "disk" / "more").write_bytes(b"x" * 5000)
        harm.empty(tmp_path / "disk")
        (tmp_path / "disk" / "more").write_bytes(b"x" * 5000)
    assert not (tmp_path / "disk" / "more").exists()
