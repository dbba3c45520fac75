"""The benchmarks still run: their figures at this size mean nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_quick_form_measures_every_part_and_writes_its_figures(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--json", str(figures)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(figures.read_text(encoding="utf-8"))["figures"]
    parts = {figure["part"].split(",")[0] for figure in found}
    assert parts == {
        "bytes to facts (CPU time)", "journal", "store", "live", "reconcile", "export", "files",
        "readers", "deletion", "readers' indexes",
    }  # fmt: skip
    assert all(figure["seconds"]["low"] > 0 for figure in found)
    assert all(peer["ratio"] > 0 for figure in found for peer in figure["peers"])
