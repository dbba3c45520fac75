"""A damaged journal: what stands before the damage is read, the damage is named, and the folder set aside."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias
from uuid import uuid4

import pytest

from etl.errors import JournalDamaged
from etl.journal import HeldJournal, Journal, adopt
from etl.model import Draft, Entry

Fill: TypeAlias = Callable[..., None]
ReadAll: TypeAlias = Callable[..., list[Entry]]


@pytest.fixture
def segments(journal: Journal, fill: Fill) -> list[Path]:
    """The segments of a journal of 30 entries whose owner is gone."""
    fill(journal, 1, 30)
    journal.close()
    return sorted(journal.path.glob("*.sqlite"))


def first(path: Path) -> int:
    return int(path.stem)


def run_sql(path: Path, sql: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(sql)
    connection.close()


def overwrite(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def read_until_damage(journal: HeldJournal) -> tuple[int, JournalDamaged]:
    after = 0
    while True:
        try:
            entries = journal.read(after, 7, 100_000)
        except JournalDamaged as error:
            return after, error
        assert entries, "the damage went unnoticed"
        assert [entry.sequence for entry in entries] == list(range(after + 1, after + 1 + len(entries)))
        after = entries[-1].sequence


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(b""), "marks are"),
        (lambda path: path.write_bytes(b"not a database at all" * 100), "not a database"),
        (lambda path: path.unlink(), "missing"),
        (lambda path: run_sql(path, "PRAGMA user_version = 99"), "no journal of this format"),
        (lambda path: run_sql(path, "DROP TABLE entry"), "no such table"),
        (lambda path: run_sql(path, "DELETE FROM entry"), "is missing"),
        (lambda path: overwrite(path, 0, b"\xff" * 16_384), "not a database"),
        (lambda path: (path.unlink(), path.mkdir()), "missing"),
    ],
)
def test_entries_before_a_bad_segment_are_read_and_then_the_damage_is_named(
    segments: list[Path], root: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(segments[2])
    (orphan,) = adopt(root).journals
    with orphan:
        last, error = read_until_damage(orphan)
        assert last == first(segments[2]) - 1
        assert message in str(error)
        assert str(orphan.path) in error.path
        assert not error.retry


def test_a_schema_that_is_no_text_any_more_is_damage_like_any_other(segments: list[Path], root: Path) -> None:
    """SQLite's own error then quotes bytes that Python cannot decode: for ever the journal was neither adopted nor set
    aside, and reported as a bug."""
    name = segments[0].read_bytes().index(b"tableentryentry") + len("table")
    overwrite(segments[0], name, b"\xba" * 60)  # the table's name, and the beginning of its definition
    (journal,) = adopt(root).journals
    with journal, pytest.raises(JournalDamaged, match="not what was written"):
        journal.read(0, 7, 100_000)


def test_a_segment_cut_short_gives_its_entries_up_to_the_cut(segments: list[Path], root: Path) -> None:
    with segments[1].open("r+b") as file:
        file.truncate(17_000)
    (orphan,) = adopt(root).journals
    with orphan:
        last, _ = read_until_damage(orphan)
        assert first(segments[1]) - 1 <= last < first(segments[2]) - 1


def test_a_flipped_bit_in_a_body_is_noticed(segments: list[Path], root: Path) -> None:
    target = first(segments[1]) + 1
    run_sql(segments[1], f"UPDATE entry SET body = x'00' WHERE sequence = {target}")
    (orphan,) = adopt(root).journals
    with orphan:
        last, error = read_until_damage(orphan)
        assert last == target - 1
        assert f"entry {target}" in str(error)
        assert "checksum" in str(error)


@pytest.mark.parametrize("column", ["observed_at", "recorder", "session", "what", "note", "body", "checksum"])
@pytest.mark.parametrize("value", ["x'ff'", "'other'", "7", "1.5"])
def test_no_column_can_change_unnoticed(segments: list[Path], root: Path, column: str, value: str) -> None:
    run_sql(segments[0], f"UPDATE entry SET {column} = {value} WHERE sequence = 2")
    (orphan,) = adopt(root).journals
    with orphan:
        assert read_until_damage(orphan)[0] == 1


def test_entries_missing_in_the_middle_are_noticed(segments: list[Path], root: Path) -> None:
    run_sql(segments[1], f"DELETE FROM entry WHERE sequence = {first(segments[1]) + 1}")
    (orphan,) = adopt(root).journals
    with orphan:
        last, error = read_until_damage(orphan)
        assert last == first(segments[1])
        assert f"entry {last + 1} is missing, the next one found is {last + 2}" in str(error)


def test_a_lost_end_of_a_segment_is_noticed_even_when_nothing_follows_in_the_next(
    segments: list[Path], root: Path
) -> None:
    run_sql(segments[-1], "DELETE FROM entry")
    lost = first(segments[-1]) - 1
    run_sql(segments[-2], f"DELETE FROM entry WHERE sequence = {lost}")
    (orphan,) = adopt(root).journals
    with orphan:
        assert read_until_damage(orphan)[0] == lost - 1


def test_a_missing_first_segment_is_noticed_unless_it_is_archived(
    segments: list[Path], root: Path, read_all: ReadAll
) -> None:
    segments[0].unlink()
    (orphan,) = adopt(root).journals
    with orphan:
        assert read_until_damage(orphan)[0] == 0
        archived = first(segments[1]) - 1
        assert len(read_all(orphan, archived)) == 30 - archived


def test_a_journal_that_ends_before_what_was_archived_is_damaged(segments: list[Path], root: Path) -> None:
    (orphan,) = adopt(root).journals
    with orphan:
        assert orphan.read(30, 10, 10) == []
        with pytest.raises(JournalDamaged, match="ends at entry 30, though entry 31 was read"):
            orphan.read(31, 10, 10)


def test_files_of_others_are_left_out_of_account(segments: list[Path], root: Path, read_all: ReadAll) -> None:
    for name in ("notes.txt", "000000000099.sqlite.new", "99.sqlite", "000000000003.sqlite-wal"):
        (segments[0].parent / name).write_bytes(b"something")
    (orphan,) = adopt(root).journals
    assert len(read_all(orphan)) == 30
    orphan.remove(30)
    assert list(root.iterdir()) == []


def test_a_torn_last_commit_is_no_damage(journal: Journal, fill: Fill, root: Path, read_all: ReadAll) -> None:
    """A log cut off anywhere gives the commits that are whole in it: never an error, never a part of one."""
    fill(journal, 1, 4)
    (main,) = ((path.name, path.read_bytes()) for path in journal.path.glob("*.sqlite"))
    (log,) = ((path.name, path.read_bytes()) for path in journal.path.glob("*-wal"))
    found = []
    for keep in (*range(0, len(log[1]), 5_003), len(log[1])):
        copy = root / str(uuid4())
        copy.mkdir()
        (copy / main[0]).write_bytes(main[1])
        (copy / log[0]).write_bytes(log[1][:keep])
        (orphan,) = adopt(root).journals
        found.append([entry.sequence for entry in read_all(orphan)])
        orphan.remove(4)
    assert found[0] == []
    assert found == sorted(found, key=len)
    assert found[-1] == [1, 2, 3, 4]


def test_a_journal_set_aside_is_kept_for_humans_and_never_adopted_again(segments: list[Path], root: Path) -> None:
    (orphan,) = adopt(root).journals
    (root / f"{orphan.id}.damaged-1").mkdir()
    kept = orphan.set_aside()
    assert kept == root / f"{orphan.id}.damaged-2"
    assert len(list(kept.glob("*.sqlite"))) == len(segments)
    assert adopt(root) == ((), ())


def test_damage_found_while_writing_breaks_the_journal_loudly(
    journal: Journal, fill: Fill, make_draft: Callable[..., Draft], root: Path
) -> None:
    """Nobody waits for ever: the commit fails, later drafts are refused, and the folder can be set aside."""
    fill(journal, 1, 3)
    for path in journal.path.iterdir():
        path.unlink()
    journal.path.rmdir()
    with pytest.raises(JournalDamaged, match="gone"):
        journal.append(make_draft(4)).result(10)
    assert isinstance(journal.broken, JournalDamaged)
    assert journal.wait(10_000, 100.0) is False
    with pytest.raises(JournalDamaged):
        journal.append(make_draft(30))
    with pytest.raises(JournalDamaged):
        journal.close()


def test_a_broken_journal_is_set_aside_and_a_new_one_made(
    journal: Journal, fill: Fill, make_draft: Callable[..., Draft], root: Path
) -> None:
    fill(journal, 1, 3)
    run_sql(next(journal.path.glob("*.sqlite")), "DROP TABLE entry")
    with pytest.raises(JournalDamaged, match="no such table"):
        journal.append(make_draft(4)).result(10)
    kept = journal.set_aside()
    with Journal.create(root) as fresh:
        assert fresh.append(make_draft(1)).result(10) == 1
        assert kept.exists()


@pytest.mark.parametrize(
    "damage", [lambda body: body[: 16_384 + 4_096], lambda body: body[:16_394] + b"\x61" + body[16_395:]]
)
def test_a_damaged_last_segment_does_not_look_like_a_shorter_one(
    segments: list[Path], root: Path, read_all: ReadAll, damage: Callable[[bytes], bytes]
) -> None:
    """A cut inside of a page, or one changed byte in its head, hid entries as if they had never been written."""
    segments[-1].write_bytes(damage(segments[-1].read_bytes()))
    (orphan,) = adopt(root).journals
    with orphan, pytest.raises(JournalDamaged, match="not what was written"):
        orphan.backlog(0)


def test_damage_that_sqlite_cannot_put_into_words_is_damage(segments: list[Path], root: Path) -> None:
    """Its error quotes what it read, which need not be text: that broke the reader of journals."""
    body = segments[-1].read_bytes()
    at = body.index(b"CREATE TABLE entry")
    segments[-1].write_bytes(body[:at] + b"\xb2\xff" + body[at + 2 :])
    (orphan,) = adopt(root).journals
    with orphan, pytest.raises(JournalDamaged):
        orphan.backlog(0)
