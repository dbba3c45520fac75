"""The wheel by itself: built, installed in a fresh environment, run from another folder."""

from __future__ import annotations

import json
import re
import shutil
import site
import subprocess
import sys
from pathlib import Path

import pytest

from etl.store.migrate import head

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `cdr` of a fresh environment that has the wheel, and our dependencies but not our source."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a build leaves nothing behind in the tree that is tested
    left_out = shutil.ignore_patterns(".git", ".venv", "dist", "build", ".*_cache", ".hypothesis", "__pycache__")
    shutil.copytree(ROOT, source, ignore=left_out)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    shutil.rmtree(source)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    python = str(folder / "venv" / "bin" / "python")
    (wheel,) = folder.glob("*.whl")
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
    # A path file adds to the end of the path: a package of ours among these would not be found first.
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    return folder / "venv" / "bin" / "cdr"


def run(cdr: Path, at: Path, *words: str) -> str:
    done = subprocess.run(
        [str(cdr), *words], cwd=at, env={"PATH": "/usr/bin:/bin"}, capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_wheel_brings_its_migrations_and_its_licence(installed: Path, tmp_path: Path, bare_database: str) -> None:
    """`db upgrade` finds them wherever it is called from; the schema is what the wheel's own code expects."""
    (tmp_path / "cdr.toml").write_text(f'[database]\nurl = "{bare_database}"\n')
    assert run(installed, tmp_path, "--version").startswith("cdr-archive ")
    upgraded = json.loads(run(installed, tmp_path, "db", "upgrade", "--json"))
    assert (upgraded["before"], upgraded["after"]) == (None, head())
    assert json.loads(run(installed, tmp_path, "db", "check", "--json")) == {"differences": []}
    (info,) = installed.parent.parent.glob("lib/python*/site-packages/cdr_archive-*.dist-info")
    assert list(info.rglob("LICENSE"))
    assert list((info.parent / "etl" / "_migrations" / "versions").glob("*.py"))
    assert list((info.parent / "etl" / "_sql" / "cookbook").glob("*.sql"))


@pytest.mark.slow
def test_the_questions_are_found_from_an_empty_folder(installed: Path, tmp_path: Path, bare_database: str) -> None:
    """As the cookbook says to ask them: `\\i sql/cookbook/...` was found in a source tree only."""
    (tmp_path / "cdr.toml").write_text(f'[database]\nurl = "{bare_database}"\n')
    run(installed, tmp_path, "db", "upgrade")
    asked = run(installed, tmp_path, "db", "sql", "-c", r"\i :cookbook/01_calls_per_day.sql")
    assert "talk_time" in asked
    setup, lake = r"\i :lake/setup/postgresql.sql", r"\i :lake/02_busy_hour.sql"
    assert "calls" in run(installed, tmp_path, "db", "sql", "-c", setup, "-c", lake)


def test_the_questions_to_an_export_are_where_its_page_says(installed: Path) -> None:
    """The command that copies them out of the package, as far as it names the folder."""
    (told,) = re.findall(r"python -c '(.*)'\)", (ROOT / "docs" / "export.md").read_text())
    words = [str(installed.with_name("python")), "-c", told]
    found = Path(subprocess.run(words, cwd="/", check=True, capture_output=True, text=True).stdout.strip())
    assert {path.name for path in found.rglob("*.sql")} == {
        path.name for path in (ROOT / "sql" / "lake").rglob("*.sql")
    }
