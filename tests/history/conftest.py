"""What several tests of the history need."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.keys import make_keys


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, and certificates of the history and of somebody else."""
    return make_keys(tmp_path_factory.mktemp("keys"))
