"""The journal of this process: what it takes, gives back, and gets rid of."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias
from uuid import uuid4

import pytest

from etl.errors import JournalError
from etl.journal import HeldJournal, Journal, Limits, adopt
from etl.model import Draft, Entry, Json, What

MakeDraft: TypeAlias = Callable[..., Draft]
Fill: TypeAlias = Callable[..., None]
ReadAll: TypeAlias = Callable[..., list[Entry]]


def segments(journal: HeldJournal) -> list[str]:
    return sorted(path.name for path in journal.path.glob("*.sqlite"))


def test_entries_come_back_in_order_numbered_from_one(
    journal: Journal, fill: Fill, read_all: ReadAll, make_draft: MakeDraft
) -> None:
    fill(journal, 1, 20)
    assert read_all(journal) == [Entry(n, make_draft(n, 300)) for n in range(1, 21)]
    assert journal.last_sequence == 20


def test_every_kind_of_line_comes_back_as_it_was(journal: Journal) -> None:
    session = uuid4()
    notes: list[dict[str, Json]] = [
        {},
        {"reason": "é\ud800"},
        {"extensions": ["1"]},
        {"from": None},
        {"a": 1.5},
        {"call_id": "1"},
        {},
    ]
    drafts = [
        Draft(datetime(2024, 1, 1, 0, 0, 0, n, tzinfo=UTC), "añ\x00o", session, what, bytes([n, 0, 255]), note)
        for n, (what, note) in enumerate(zip(What, notes, strict=True))
    ]
    for draft in drafts:
        commit = journal.append(draft)
    commit.result(10)
    assert [entry.draft for entry in journal.read(0, 100, 10_000)] == drafts


def test_reading_goes_on_across_segments_from_any_entry(journal: Journal, fill: Fill, read_all: ReadAll) -> None:
    fill(journal, 1, 30)
    assert len(segments(journal)) > 3
    for after in range(31):
        assert [entry.sequence for entry in read_all(journal, after)] == list(range(after + 1, 31))


def test_a_read_is_bounded_by_rows_and_by_bytes_but_gives_at_least_one(journal: Journal, fill: Fill) -> None:
    fill(journal, 1, 10, size=998)
    assert len(journal.read(0, 4, 1_000_000)) == 4
    assert len(journal.read(0, 100, 2_500)) == 3
    assert len(journal.read(0, 100, 1)) == 1


def test_nothing_is_readable_before_it_is_committed(journal: Journal) -> None:
    assert journal.read(0, 10, 10) == []
    assert journal.last_sequence == 0


def test_the_time_of_receipt_never_goes_back(journal: Journal, make_draft: MakeDraft) -> None:
    for number in (5, 3, 6):
        journal.append(make_draft(number)).result(10)
    times = [entry.draft.observed_at for entry in journal.read(0, 10, 1000)]
    assert times == [make_draft(number).observed_at for number in (5, 5, 6)]


def test_waiting_ends_when_something_newer_is_committed(journal: Journal, make_draft: MakeDraft) -> None:
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(journal.wait, 0, 10.0)
        journal.append(make_draft(1))
        assert waiting.result(10) is True
    assert journal.wait(0, 0) is True
    assert journal.wait(1, 0) is False


def test_waiting_ends_at_once_when_nothing_more_will_come(journal: Journal) -> None:
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(journal.wait, 0, 200.0)
        journal.finish(5)
        assert waiting.result(10) is False


def test_many_threads_may_append_at_once(journal: Journal, make_draft: MakeDraft, read_all: ReadAll) -> None:
    with ThreadPoolExecutor(8) as pool:
        commits = list(pool.map(lambda n: journal.append(make_draft(n)), range(400)))
    assert max(commit.result(10) for commit in commits) == 400
    entries = read_all(journal)
    assert [entry.sequence for entry in entries] == list(range(1, 401))
    assert {entry.draft.note["n"] for entry in entries} == set(range(400))


async def test_a_task_that_awaits_a_commit_may_be_cancelled_without_harm_to_others(
    journal: Journal, make_draft: MakeDraft
) -> None:
    commit = journal.append(make_draft(1))
    task = asyncio.ensure_future(asyncio.wrap_future(commit))
    task.cancel()
    assert await asyncio.wrap_future(journal.append(make_draft(2))) == 2
    assert commit.result(10) >= 1


@pytest.mark.parametrize(
    "change",
    [
        {"observed_at": datetime(2024, 1, 1)},  # noqa: DTZ001 - naive on purpose
        {"note": {"not json": object()}},
        {"recorder": "\ud800"},
    ],
)
def test_a_draft_that_cannot_be_stored_costs_only_itself(
    journal: Journal, make_draft: MakeDraft, change: dict[str, object]
) -> None:
    bad = replace(make_draft(1), **change)  # type: ignore[arg-type]
    with pytest.raises((TypeError, ValueError)):
        journal.append(bad)
    assert journal.append(make_draft(2)).result(10) == 1


def test_archived_segments_are_deleted_but_never_the_last(journal: Journal, fill: Fill, read_all: ReadAll) -> None:
    fill(journal, 1, 30)
    names, size = segments(journal), journal.bytes_on_disk
    second = int(names[1].removesuffix(".sqlite"))
    journal.discard(second - 2)
    assert segments(journal) == names
    journal.discard(second - 1)
    assert segments(journal) == names[1:]
    assert [entry.sequence for entry in read_all(journal, second - 1)] == list(range(second, 31))
    assert journal.bytes_on_disk < size
    journal.discard(30)
    assert segments(journal) == names[-1:]
    fill(journal, 31, 31)
    assert [entry.sequence for entry in journal.read(30, 10, 10)] == [31]


def test_discarding_leaves_nothing_behind_of_what_was_just_read(journal: Journal, fill: Fill) -> None:
    fill(journal, 1, 30)
    journal.read(0, 3, 10_000)
    journal.discard(30)
    last = segments(journal)[-1]
    assert {path.name.removesuffix("-wal").removesuffix("-shm") for path in journal.path.iterdir()} == {
        last,
        "owner.lock",
    }


def test_the_size_on_disk_is_what_the_files_take(journal: Journal, fill: Fill) -> None:
    fill(journal, 1, 30)
    files = [path for path in journal.path.iterdir() if path.name.endswith((".sqlite", "-wal"))]
    assert journal.bytes_on_disk == sum(path.stat().st_size for path in files)


def test_the_backlog_counts_the_entries_behind_the_checkpoint(journal: Journal, fill: Fill) -> None:
    fill(journal, 1, 5)
    assert (journal.backlog(0), journal.backlog(3), journal.backlog(5)) == (5, 2, 0)


def test_a_finished_journal_has_everything_takes_nothing_and_can_still_be_read(
    journal: Journal, make_draft: MakeDraft, read_all: ReadAll
) -> None:
    for number in range(1, 101):
        journal.append(make_draft(number))
    journal.finish(10)
    assert len(read_all(journal)) == 100
    with pytest.raises(JournalError, match="takes no more"):
        journal.append(make_draft(101))


def test_a_drained_journal_is_removed_and_an_undrained_one_is_not(journal: Journal, fill: Fill, root: Path) -> None:
    fill(journal, 1, 3)
    with pytest.raises(JournalError, match="finish it first"):
        journal.remove(3)
    journal.finish(5)
    with pytest.raises(JournalError, match="1 of its entries are not archived"):
        journal.remove(2)
    journal.remove(3)
    assert list(root.iterdir()) == []


def test_a_closed_journal_can_be_adopted_with_all_it_holds(
    journal: Journal, fill: Fill, root: Path, read_all: ReadAll
) -> None:
    fill(journal, 1, 9)
    journal.close()
    journal.close()
    (orphan,) = adopt(root).journals
    with orphan:
        assert orphan.id == journal.id
        assert (orphan.last_sequence, orphan.backlog(4)) == (9, 5)
        assert len(read_all(orphan)) == 9


def test_only_the_owner_may_look(journal: Journal, fill: Fill, root: Path) -> None:
    fill(journal, 1, 20)
    assert stat.S_IMODE(root.stat().st_mode) == stat.S_IMODE(journal.path.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in journal.path.iterdir()} == {0o600}


def test_a_reader_is_held_back_while_too_much_waits(root: Path, make_draft: MakeDraft) -> None:
    with Journal.create(root, Limits(waiting_rows=3)) as journal:
        assert journal.has_room
        with journal._writer._lock:  # the disk can take nothing while the test holds this
            for number in range(3):
                commit = journal.append(make_draft(number))
            assert (journal.has_room, journal.waiting) == (False, 3)
            assert journal.waiting_bytes > 300
        commit.result(10)
        assert journal.has_room


def test_a_reader_is_held_back_by_bytes_too(root: Path, make_draft: MakeDraft) -> None:
    with Journal.create(root, Limits(waiting_bytes=5_000)) as journal, journal._writer._lock:
        journal.append(make_draft(1, 5_000))
        assert not journal.has_room


def test_what_it_prints_holds_no_personal_data(journal: Journal, make_draft: MakeDraft) -> None:
    journal.append(make_draft(1)).result(10)
    assert repr(journal) == f"<Journal {journal.path}>"


@pytest.mark.slow
def test_reading_keeps_up_while_the_writer_writes_and_rolls(journal: Journal, make_draft: MakeDraft) -> None:
    """No hole is ever seen at the seam of two segments, however the two threads interleave."""

    def write() -> None:
        for number in range(1, 1501):
            commit = journal.append(make_draft(number, 200))
            if number % 3 == 0:
                commit.result(10)

    with ThreadPoolExecutor() as pool:
        writing = pool.submit(write)
        after = 0
        while after < 1500:
            assert journal.wait(after, 10.0)
            for entry in journal.read(after, 50, 100_000):
                assert entry.sequence == after + 1 == entry.draft.note["n"]
                after = entry.sequence
            journal.discard(after)
        writing.result(10)


def test_times_are_kept_to_the_microsecond_far_from_now(journal: Journal, make_draft: MakeDraft) -> None:
    far = datetime(2199, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC) + timedelta(0)
    journal.append(replace(make_draft(1), observed_at=far)).result(10)
    assert journal.read(0, 1, 1)[0].draft.observed_at == far
