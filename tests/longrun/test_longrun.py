"""The long run in short: a few thousand messages, with all that happens in a long one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from longrun.run import main
from longrun.stage import database
from support import ledger
from support.postgres import connection


@pytest.fixture
def kept() -> Iterator[Path]:
    """A folder that the database's user may enter."""
    with tempfile.TemporaryDirectory(prefix="cdr-longrun-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.mark.slow
@pytest.mark.campaign
def test_a_short_run_keeps_all_bounds(kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And one whose archive was doctored afterwards does not."""
    written = tmp_path / "ledger"
    code = main(["--messages", "8000", "--seed", "3", "--keep", str(kept), "--ledger", str(written)])
    told = capsys.readouterr().out
    assert code == 0, told
    (run,) = ledger.read("longrun", written)
    assert run.checked > 1_000
    assert not run.broken
    assert run.faults == {"drop": 2, "reset": 2, "garbage": 2, "away": 1, "crash": 1, "backlog": 1}

    with database(kept) as server, connection(server.url()) as opened:
        opened.execute("DELETE FROM cdr.call WHERE call_id = (SELECT min(call_id) FROM cdr.call)")
        opened.execute(
            "UPDATE cdr.call SET agent_id = 'nobody', end_time = end_time + interval '1 ms'"
            " WHERE call_id = (SELECT max(call_id) FROM cdr.call)"
        )
        opened.commit()
    assert main(["--judge", str(kept)]) == 1
    told = capsys.readouterr().out
    assert "is not archived" in told
    assert "is complete, differs in end_time, agent_id" in told
