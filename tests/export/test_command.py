"""`cdr export`, as it is typed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.exporting import add
from support.postgres import connection
from typer.testing import CliRunner, Result

from etl.cli.main import application
from etl.errors import UsageError
from etl.store.database import Connection

pytestmark = pytest.mark.slow

SPRING = ("--from", "2026-03-01T00:00Z", "--to", "2026-06-01T00:00Z")


@pytest.fixture
def cdr(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., Result]:
    """Runs a command against the database of this test, or none."""

    def run(*words: str) -> Result:
        config = tmp_path / "cdr.toml"
        if not config.exists():
            url = request.getfixturevalue("embedded_database")
            config.write_text(f'[database]\nurl = "{url}"\n[[recorder]]\nname = "ny-1"\nhost = "localhost"\nport = 1\n')
        return CliRunner().invoke(application("export"), ["export", *words, "--config", str(config)])

    return run


@pytest.fixture
def archive(embedded_database: str) -> Iterator[Connection]:
    with connection(embedded_database) as opened:
        add(opened, "a", 1, source_caller_id="1000")
        add(opened, "b", 40)
        yield opened


def test_it_says_what_it_wrote_and_that_it_is_not_masked(
    archive: Connection, cdr: Callable[..., Result], tmp_path: Path
) -> None:
    done = cdr(*SPRING, "--out", str(tmp_path / "lake"))
    assert done.exit_code == 0
    assert [line.split()[:3] for line in done.stdout.splitlines()[1:]] == [["2026-03", "1", "1"], ["2026-04", "1", "1"]]
    assert "exported as they are; --masked" in done.stderr
    assert "2 calls in 2 files; 2 written, 0 kept, 0 removed" in done.stderr


def test_json_is_one_document(archive: Connection, cdr: Callable[..., Result], tmp_path: Path) -> None:
    told = json.loads(cdr(*SPRING, "--out", str(tmp_path / "lake"), "--masked", "--json").stdout)
    assert told.pop("bytes") > 0
    assert told == {
        "export": 1,
        "folder": str(tmp_path / "lake"),
        "from": "2026-03-01T00:00:00+00:00",
        "to": "2026-06-01T00:00:00+00:00",
        "masked": True,
        "rows": 2,
        "files": 2,
        "written": 2,
        "kept": 0,
        "removed": 0,
    }


def test_nothing_in_the_span_is_no_failure(archive: Connection, cdr: Callable[..., Result], tmp_path: Path) -> None:
    done = cdr("--from", "2020-01-01T00:00Z", "--to", "2020-02-01T00:00Z", "--out", str(tmp_path / "lake"))
    assert done.exit_code == 0
    assert "no call began in that time" in done.stderr


def test_files_are_held_to_their_checksums(archive: Connection, cdr: Callable[..., Result], tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    cdr(*SPRING, "--out", str(lake))
    whole = cdr("--verify", "--out", str(lake))
    assert (whole.exit_code, "2 files with 2 calls, 0 not" in whole.stderr) == (0, True)
    path = "calls/month=2026-04/recorder=ny-1/calls.parquet"
    (lake / path).write_bytes(bytes((lake / path).stat().st_size))
    damaged = cdr("--verify", "--out", str(lake), "--json")
    assert damaged.exit_code == 5
    assert json.loads(damaged.stdout)["damaged"] == {path: "has another content"}


def test_an_interrupt_ends_with_1_and_says_that_it_goes_on(
    archive: Connection, cdr: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("etl.jobs.export.Folder.put", interrupted)
    done = cdr(*SPRING, "--out", str(tmp_path / "lake"))
    assert done.exit_code == 1
    assert "the same command goes on" in done.stderr
    assert "interrupted" in str(cdr("--verify", "--out", str(tmp_path / "lake")).exception)
    monkeypatch.undo()
    assert cdr(*SPRING, "--out", str(tmp_path / "lake")).exit_code == 0


def test_without_the_extra_it_says_what_to_install(
    archive: Connection, cdr: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("etl.jobs.export", "etl.store.arrow", "etl.lake.parquet"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    done = cdr(*SPRING, "--out", str(tmp_path / "lake"))
    assert isinstance(done.exception, UsageError)
    assert "pip install 'cdr-archive[export]'" in str(done.exception)
    assert not (tmp_path / "lake").exists()


def test_it_says_what_is_missing_on_the_command_line(
    archive: Connection, cdr: Callable[..., Result], tmp_path: Path
) -> None:
    assert isinstance(cdr("--out", str(tmp_path / "lake")).exception, UsageError)
    assert not (tmp_path / "lake").exists()
