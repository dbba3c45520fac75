"""Memory stays flat, however much the journal holds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHILD = """
import resource, sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4
from etl.journal import Journal, Limits, adopt
from etl.model import Draft, What

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

root, entries = Path(sys.argv[1]), int(sys.argv[2])
session, body = uuid4(), bytes(10_000)
with Journal.create(root, Limits(segment_bytes=16_000_000, waiting_bytes=1_000_000)) as journal:
    for number in range(entries):
        commit = journal.append(Draft(datetime.now(UTC), "ny-1", session, What.DOCUMENT, body))
        if not journal.has_room:
            commit.result()
(orphan,) = adopt(root).journals
after = 0
while page := orphan.read(after, 1_000, 1_000_000):
    after = page[-1].sequence
assert after == entries
orphan.remove(after)
print(peak())
"""


def peak_megabytes(root: Path, entries: int) -> int:
    """Peak memory of a process that writes, closes, adopts and reads a journal of so many entries of 10 kB."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(root), str(entries)], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.slow
def test_writing_and_reading_a_long_backlog_takes_no_more_memory_than_a_short_one(root: Path) -> None:
    short, long = peak_megabytes(root, 2_000), peak_megabytes(root, 15_000)
    assert long - short < 15, f"20 MB took {short} MB of memory, 150 MB took {long} MB"
