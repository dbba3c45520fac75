"""A journal that a killed process left is cleared when it drains: what it holds of an erased call never arrives."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from support.postgres import connection
from support.recorders import CALL, NOON
from support.retention import CLERK, Archive, make

import etl
from etl.calls.ids import id_time
from etl.config import Settings
from etl.ingest.interpret import Interpreter
from etl.ingest.loader import Loader
from etl.jobs.retention import erase
from etl.journal.orphans import adopt
from etl.model import Kind

pytestmark = pytest.mark.slow

KILLED = """
import os, sys
from pathlib import Path
from uuid import uuid4
sys.path[:0] = sys.argv[2:]
from support.recorders import CALL, NOON, notification
from etl.journal.journal import Journal
from etl.model import Draft, What

body = notification("CallStart", CALL, "<source_name>John</source_name><agent_id>Jane</agent_id>")
Journal.create(Path(sys.argv[1])).append(Draft(NOON, "ny-1", uuid4(), What.DOCUMENT, body)).result()
os.kill(os.getpid(), 9)
"""


def test_a_journal_of_a_killed_process_that_drains_after_an_erasure_brings_nothing_back(
    archive: Archive, tmp_path: Path
) -> None:
    paths = Path(etl.__file__).parent.parent, Path(__file__).parent.parent  # ours may be installed, the tests are not
    words = [sys.executable, "-c", KILLED, str(tmp_path), *map(str, paths)]
    assert subprocess.run(words, check=False).returncode == -9
    earlier = make(CALL, NOON, Kind.LIST, id_time=id_time(CALL), seen=NOON - timedelta(minutes=1), source_name="John")
    archive.store(earlier)
    assert erase(archive.conn, "John", CLERK).counts["calls"] == 1
    settings = Settings.model_validate({"recorder": [{"name": "ny-1", "host": "recorder.example", "port": 1}]})
    [journal] = adopt(tmp_path).journals
    way = lambda: connection(archive.url)  # noqa: E731
    Loader(journal, way, Interpreter(settings), timedelta(seconds=1), lambda: NOON).run(until=journal.last_sequence)
    assert archive.rows("SELECT kind FROM cdr.fact ORDER BY 1") == [("list",), ("start",)]
    assert archive.personal(CALL) == []
