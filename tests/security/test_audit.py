"""The audit of dependencies fails where it could audit nothing, or not all: silence is no good news."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from audit import NotAudited, audit, locked, main

ROOT = Path(__file__).parents[2]
LOCK = """\
one==1.0 \\
    --hash=sha256:00
    # via us
Two.Parts==2.0 ; python_version >= '3' \\
    --hash=sha256:00
elsewhere==3.0 ; sys_platform == 'win32' \\
    --hash=sha256:00
"""
WHOLE = [{"name": "one", "version": "1.0", "vulns": []}, {"name": "two-parts", "version": "2.0", "vulns": []}]
HOLE = {"name": "one", "version": "1.0", "vulns": [{"id": "HOLE-1", "fix_versions": []}]}


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "requirements.txt"
    path.write_text(LOCK)
    return path


def program(folder: Path, out: str, code: int = 0, err: str = "") -> str:
    """An auditor that says this."""
    path = folder / "pip-audit"
    lines = (f"#!{sys.executable}", "import sys", f"sys.stdout.write({out!r})", f"sys.stderr.write({err!r})")
    path.write_text("\n".join([*lines, f"sys.exit({code})"]))
    path.chmod(0o755)
    return str(path)


def report(*dependencies: dict[str, Any]) -> str:
    return json.dumps({"dependencies": dependencies, "fixes": []})


def test_the_packages_of_a_lock_file_are_those_of_this_machine(lock: Path) -> None:
    assert locked(lock) == {"one": "1.0", "two-parts": "2.0"}


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt", "requirements-audit.txt"])
def test_our_own_lock_files_are_read_whole(name: str) -> None:
    """Each line that begins with a name, and no other."""
    lines = [line for line in (ROOT / name).read_text().splitlines() if "==" in line and line[0].isalnum()]
    found = locked(ROOT / name)
    assert 10 < len(found) <= len(lines)
    assert all(version[0].isdigit() for version in found.values())


def test_where_all_were_audited_and_none_has_a_hole_it_is_well(tmp_path: Path, lock: Path) -> None:
    assert main([program(tmp_path, report(*WHOLE)), str(lock)]) == 0


def test_a_hole_is_named(tmp_path: Path, lock: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([program(tmp_path, report(HOLE, WHOLE[1]), 1), str(lock)]) == 1
    assert "one 1.0: HOLE-1" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("out", "code", "told"),
    [
        ("", 0, "gave no report"),
        ("", 1, "no route"),
        (report(), 0, "2 of 2 packages were not audited: one, two-parts"),
        (report(WHOLE[0]), 0, "1 of 2 packages were not audited: two-parts"),
        (report(WHOLE[0], {"name": "two-parts", "skip_reason": "not found"}), 0, "two-parts"),
        (report(WHOLE[0], {**WHOLE[1], "version": "2.1"}), 0, "two-parts"),
        (report(*WHOLE), 3, "failed with exit code 3"),
        ("[]", 0, "gave no report"),
        ("{}", 0, "gave no report"),
    ],
)
def test_what_was_not_audited_is_a_failure_and_named(
    tmp_path: Path, lock: Path, capsys: pytest.CaptureFixture[str], out: str, code: int, told: str
) -> None:
    assert main([program(tmp_path, out, code, "no route"), str(lock)]) == 2
    said = capsys.readouterr()
    assert told in said.err
    assert "NOT AUDITED" in said.err
    assert "packages audited" not in said.out


def test_an_auditor_that_is_not_there_and_a_lock_that_is_empty_are_failures(tmp_path: Path, lock: Path) -> None:
    assert main([str(tmp_path / "nothing"), str(lock)]) == 2
    lock.write_text("# nothing\n")
    with pytest.raises(NotAudited, match="names no package"):
        audit(program(tmp_path, report()), lock)


@pytest.mark.slow
def test_the_real_auditor_without_a_network_is_a_failure(lock: Path) -> None:
    """A proxy that nobody serves: whatever it asks for, it does not get."""
    auditor = ROOT / ".venv" / "audit" / "bin" / "pip-audit"
    if not auditor.exists():
        pytest.skip("pip-audit is not installed: make audit")
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:1")
    words = [sys.executable, "-m", "tests.audit", str(auditor), str(ROOT / "requirements-audit.txt")]
    done = subprocess.run(words, cwd=ROOT, env=nowhere, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stdout
    assert "NOT AUDITED" in done.stderr
