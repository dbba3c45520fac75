"""Which code ran: what the ledger says of a run."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
CODE = ("etl", "migrations", "sql", "tests", "pyproject.toml", ":!tests/ledger")
"""What can change the outcome of a run; the ledger itself cannot."""


def commit() -> str:
    """The last commit that changed the code, with a `+` where the tree differs from it; empty outside of git."""
    last = _git("log", "-1", "--format=%h", "--", *CODE)
    return f"{last}+" if _git("status", "--porcelain", "--", *CODE) else last


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=False, cwd=ROOT).stdout.strip()
