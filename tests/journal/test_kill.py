"""`kill -9` at any moment: whatever was acknowledged is there afterwards."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from etl.journal import adopt
from etl.model import Entry

ReadAll: TypeAlias = Callable[..., list[Entry]]

CHILD = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4
from etl.journal import Journal, Limits
from etl.model import Draft, What

journal = Journal.create(Path(sys.argv[1]), Limits(segment_bytes=40_000))
session = uuid4()
for number in range(1, 1_000_000):
    body = b"%d," % number + b"x" * (number * 37 % 3_000)
    commit = journal.append(Draft(datetime.now(UTC), "ny-1", session, What.DOCUMENT, body))
    if number % 5 == 0:
        print(commit.result(), flush=True)
"""


def run_until_killed(root: Path, answers: int) -> int:
    """The last sequence that a child acknowledged before it was killed in the middle of its work."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(root)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with child, child.stdout:
        for _ in range(answers):
            assert child.stdout.readline(), "the child died by itself"
        child.kill()
        told = [int(line) for line in child.stdout.read().split("\n")[:-1]]
    return max(told, default=0)


@pytest.mark.slow
def test_what_was_acknowledged_survives_kill_9(root: Path, read_all: ReadAll) -> None:
    dice = random.Random(4711)
    for _ in range(8):
        acknowledged = run_until_killed(root, dice.randrange(1, 150))
        (orphan,) = adopt(root).journals
        entries = read_all(orphan, rows=100, size=1_000_000)
        assert len(entries) >= acknowledged
        for number, entry in enumerate(entries, 1):
            assert entry.sequence == number
            assert entry.draft.body == b"%d," % number + b"x" * (number * 37 % 3_000)
        orphan.remove(len(entries))
