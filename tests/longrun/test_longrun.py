"""The long run in short: a few thousand messages, with all that happens in a long one."""

from __future__ import annotations

from pathlib import Path

import pytest
from longrun.run import main
from support import ledger


@pytest.mark.slow
@pytest.mark.campaign
def test_a_short_run_keeps_all_bounds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = tmp_path / "ledger"
    code = main(["--messages", "8000", "--seed", "3", "--ledger", str(written)])
    told = capsys.readouterr().out
    assert code == 0, told
    (run,) = ledger.read("longrun", written)
    assert run.checked > 1_000
    assert not run.broken
    assert run.faults == {"drop": 2, "reset": 2, "garbage": 2, "away": 1, "crash": 1, "backlog": 1}
