"""A folder for a run of a programme."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def folder(keep: Path | None, prefix: str) -> Iterator[Path]:
    """A folder that the database's user may enter, too; deleted afterwards unless it was named to be kept."""
    if keep is not None:
        keep.mkdir(mode=0o755, parents=True, exist_ok=True)
        yield keep.resolve()
        return
    made = Path(tempfile.mkdtemp(prefix=prefix))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
