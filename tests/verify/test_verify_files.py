"""`cdr verify` on metadata files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.verifying import NOON, Call, World, every_field

from etl.errors import HistoryError
from etl.model import Interval

CALLS = [Call(number, fields=every_field(number)) for number in (1, 2, 3)]
FIRST, SECOND, THIRD = CALLS
WRITTEN = NOON + timedelta(hours=2)

pytestmark = pytest.mark.slow

Write = Callable[..., Path]


def test_files_are_compared_like_rows(world: World, write: Write, tmp_path: Path) -> None:
    world.archive(FIRST, SECOND, seen=NOON)
    write(FIRST)
    write(replace(SECOND, fields={"agent_id": "other"}))
    write(THIRD)
    assert world.verify_files(tmp_path).counts == {"compared": 3, "different": 1, "missing": 1}
    assert world.found() == {("different", SECOND.id): ("agent_id",), ("missing", THIRD.id): ()}
    assert world.verify_files(tmp_path, repair=True).agrees
    assert world.verify_files(tmp_path).agrees


def test_a_row_that_was_removed_comes_back_from_its_file_and_facts(world: World, write: Write, tmp_path: Path) -> None:
    write(FIRST)
    world.verify_files(tmp_path, repair=True)
    before = world.rows("SELECT to_jsonb(c) - 'recorded_at' FROM cdr.call c")
    world.change("DELETE FROM cdr.call")
    assert world.verify_files(tmp_path, repair=True).agrees
    assert world.rows("SELECT to_jsonb(c) - 'recorded_at' FROM cdr.call c") == before


def test_a_record_that_is_older_than_the_archives_cannot_repair_it(world: World, write: Write, tmp_path: Path) -> None:
    world.archive(replace(FIRST, fields={"agent_id": "newer"}), seen=WRITTEN + timedelta(hours=1))
    write(FIRST)
    report = world.verify_files(tmp_path, repair=True)
    assert report.left == 1
    assert world.rows("SELECT agent_id FROM cdr.call") == [("newer",)]


def test_of_two_files_of_a_call_the_newer_one_counts(world: World, write: Write, tmp_path: Path) -> None:
    older = replace(FIRST, fields={"agent_id": "older"})
    world.archive(FIRST)
    for folder in ("a", "z"):  # whichever is read first
        write(FIRST, "m")
        write(older, folder, WRITTEN - timedelta(minutes=5))
        assert world.verify_files(tmp_path).agrees


def test_a_restored_file_with_an_old_date_is_read_like_any_other(world: World, write: Write, tmp_path: Path) -> None:
    world.archive(FIRST)
    write(FIRST, at=datetime(1980, 1, 1, tzinfo=UTC))
    assert world.verify_files(tmp_path).counts == {"compared": 1}
    assert world.verify_files(tmp_path, span=Interval(NOON - timedelta(days=1), NOON)).counts == {"outside": 1}


def test_a_folder_that_is_not_there_is_no_empty_history(world: World, tmp_path: Path) -> None:
    world.archive(FIRST)
    with pytest.raises(HistoryError, match="gone"):
        world.verify_files(tmp_path / "gone")
    assert world.found() == {}


def test_what_is_no_record_is_counted_and_a_broken_one_leaves_the_comparison_unproven(
    world: World, write: Write, tmp_path: Path
) -> None:
    world.archive(FIRST)
    write(FIRST)
    for name, content in (("broken.xml", "<verbacdr><id>"), ("other.xml", "<nothing/>")):
        (tmp_path / name).write_text(content)
    report = world.verify_files(tmp_path)
    assert report.counts == {"compared": 1, "skipped": 1, "unreadable": 1}
    assert not report.agrees
