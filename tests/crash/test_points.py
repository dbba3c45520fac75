"""A path that is killed at any step ends as if it had not been. Here at some steps; `make points` does all."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from crash.scenarios import SCENARIOS
from support.postgres import connection

from etl.config import Settings
from etl.errors import DatabaseUnavailable
from etl.ingest.history import HistoryReader
from etl.ingest.interpret import Interpreter
from etl.jobs.retry import retry
from etl.model import Quarantined
from etl.store import quarantine
from etl.store.database import Connection
from etl.store.write import Batch, Writer

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent.parent
EVERY = 80
"""Of some 2,000 steps in all every so many-th."""


@pytest.mark.timeout(600)
def test_whatever_is_killed_at_any_step_ends_as_if_it_had_not_been() -> None:
    words = ["points", "--every", str(EVERY)]
    # Children are made by fork: in a process that has no threads, which that of the tests may have.
    ended = subprocess.run(
        [sys.executable, "-m", "tests.crash", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, f"{' '.join(words)}: {ended.stdout[-3000:]}{ended.stderr[-1000:]}"
    assert ended.stdout.count(", 0 breaches") == 2 * len(SCENARIOS)


def test_a_database_lost_while_a_row_of_quarantine_is_resolved_is_told_as_such(
    embedded_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver's own error came through, and with it a traceback."""
    settings = Settings.model_validate({"recorder": [{"name": "ny-1", "host": "recorder.example", "port": 1}]})
    body = b'<VerbaApi><Notification type="CallStart"><Call id="a"/></Notification></VerbaApi>'
    found = Quarantined(datetime(2024, 5, 1, tzinfo=UTC), "ny-1", "stream", "unknown_root", body)
    with connection(embedded_database) as opened, connection(embedded_database) as other:
        Writer(opened).write(Batch(quarantined=[found]))

        def lose(*arguments: object) -> None:
            with other.transaction():
                other.execute("SELECT pg_terminate_backend(%s)", [opened.info.backend_pid])

        monkeypatch.setattr(quarantine, "resolve", lose)
        with pytest.raises(DatabaseUnavailable):
            _retry(opened, settings)


def _retry(opened: Connection, settings: Settings) -> None:
    [item] = quarantine.items(opened)
    retry(opened, Interpreter(settings), HistoryReader(settings), item.id, datetime.now(UTC))
