"""Drafts and journals to test with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias
from uuid import UUID

import pytest

from etl.journal import HeldJournal, Journal, Limits
from etl.model import Draft, Entry, What

START = datetime(2024, 3, 1, 12, tzinfo=UTC)
SESSION = UUID("11111111-2222-3333-4444-555555555555")

MakeDraft: TypeAlias = Callable[..., Draft]


@pytest.fixture
def make_draft() -> MakeDraft:
    """Makes the n-th draft of a session: its body names it."""

    def make(number: int, size: int = 0) -> Draft:
        body = b"%d," % number + b"x" * size
        return Draft(START + timedelta(seconds=number), "ny-1", SESSION, What.DOCUMENT, body, {"n": number})

    return make


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "var" / "journal"


@pytest.fixture
def journal(root: Path) -> Iterator[Journal]:
    """An own journal with small segments."""
    journal = Journal.create(root, Limits(segment_bytes=2_000, retry_seconds=0.01))
    yield journal
    if journal.broken is None:
        journal.close()


@pytest.fixture
def fill(make_draft: MakeDraft) -> Callable[..., None]:
    """Appends drafts `first` to `last`, one commit each, so that segments end where their size says."""

    def fill(journal: Journal, first: int, last: int, size: int = 300) -> None:
        for number in range(first, last + 1):
            journal.append(make_draft(number, size)).result(10)

    return fill


@pytest.fixture
def read_all() -> Callable[..., list[Entry]]:
    """Everything behind `after`, up to damage, which is raised only when nothing precedes it."""

    def read(journal: HeldJournal, after: int = 0, rows: int = 7, size: int = 10_000) -> list[Entry]:
        entries: list[Entry] = []
        while page := journal.read(entries[-1].sequence if entries else after, rows, size):
            entries += page
        return entries

    return read
