"""`cdr report`: which days, where the page goes, and how the command ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from support import known_archive
from support.postgres import Server, connection, fresh_database

from etl.cli.report import whole_days
from etl.errors import CdrError, UsageError
from etl.jobs import report as jobs
from etl.model import Interval

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 4, 1, 12, tzinfo=UTC)
Here = Callable[..., Any]


def berlin(month: int, day: int, hour: int = 0) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=BERLIN).astimezone(UTC)


@pytest.mark.parametrize(
    ("first", "last", "span"),
    [
        (None, None, (berlin(3, 2), berlin(4, 1))),
        (None, berlin(3, 20), (berlin(2, 18), berlin(3, 20))),
        (berlin(3, 20), None, (berlin(3, 20), berlin(4, 2))),
        (berlin(3, 20), berlin(3, 21), (berlin(3, 20), berlin(3, 21))),
        (berlin(3, 20, 9), berlin(3, 20, 17), (berlin(3, 20), berlin(3, 21))),
        (berlin(3, 29), berlin(3, 30), (berlin(3, 29), berlin(3, 30))),
        (berlin(4, 1), berlin(12, 31), (berlin(4, 1), berlin(4, 2))),
    ],
    ids=["30 days", "to", "from", "one", "within", "23 hours", "future"],
)
def test_a_report_is_about_whole_days_of_its_zone(
    first: datetime | None, last: datetime | None, span: tuple[datetime, datetime]
) -> None:
    """The last 30 that are over, unless told; from a given day on that is until now, today as far as it has come."""
    assert whole_days(first, last, BERLIN, NOW) == Interval(*span)


@pytest.mark.parametrize(
    ("first", "last"), [(berlin(3, 21), berlin(3, 21)), (berlin(3, 22), berlin(3, 21)), (berlin(4, 5), None)]
)
def test_no_day_at_all_is_wrong_usage(first: datetime, last: datetime | None) -> None:
    with pytest.raises(UsageError, match=r"there is no day from .* mend --from and --to"):
        whole_days(first, last, BERLIN, NOW)


@pytest.fixture(scope="module")
def known_url(embedded_server: Server) -> Iterator[str]:
    """The archive of `support.known`; only to read from."""
    with fresh_database(embedded_server) as url:
        with connection(url) as opened:
            known_archive.store(opened)
        yield url


@pytest.fixture
def run(known_url: str, tmp_path: Path, here: Here) -> Here:
    """The command on the archive of `support.known`, in a folder of its own."""
    (tmp_path / "cdr.toml").write_text(f'[database]\nurl = "{known_url}"\n')
    return lambda *words, **env: here("report", *words, **env)


MARCH = ("--from", "2025-03-01", "--to", "2025-04-01", "--timezone", "UTC")


@pytest.mark.slow
def test_the_page_is_written_and_its_path_goes_to_stdout(run: Here, tmp_path: Path) -> None:
    """Exit code 5: gaps of this time are open."""
    done = run("--out", "deep/er", *MARCH)
    assert done.code == 5, done.err
    assert done.out == "deep/er/index.html\n"
    assert "about the whole days from 2025-03-01 to before 2025-04-01 (UTC)" in done.err
    assert "is read in UTC" in done.err
    assert "can these numbers be trusted? Not wholly" in done.err
    page = (tmp_path / "deep/er/index.html").read_text(encoding="utf-8")
    assert "<h1>Calls, 2025-03-01 to 2025-03-31</h1>" in page
    assert page.count("<svg ") == 8
    assert [path.name for path in (tmp_path / "deep/er").iterdir()] == ["index.html"]


@pytest.mark.slow
def test_where_nothing_is_amiss_the_command_ends_with_0_and_says_in_json_what_it_found(
    run: Here, tmp_path: Path
) -> None:
    done = run("--out", ".", "--from", "2025-03-02", "--to", "2025-03-05", "--timezone", "UTC", "--json")
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert said["path"] == str(tmp_path / "index.html")
    assert (said["from"], said["to"]) == ("2025-03-02T00:00:00+00:00", "2025-03-05T00:00:00+00:00")
    assert (said["timezone"], said["open_gaps"], said["amiss"]) == ("UTC", 0, False)
    assert said["trusted"] == "Yes"
    assert said["calls"] > said["conversations"] > 0


@pytest.mark.slow
def test_a_time_that_is_pending_is_not_trusted_though_nothing_of_it_is_known_to_be_missing(run: Here) -> None:
    """Two sessions of these days never ended, and never told of them: exit code 0, as for `cdr status`."""
    done = run("--out", ".", "--from", "2025-04-05", "--to", "2025-04-08", "--timezone", "UTC", "--json")
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert (said["trusted"], said["open_gaps"], said["amiss"]) == ("Not wholly", 0, False)


@pytest.mark.slow
def test_days_are_those_of_the_machine_unless_told(run: Here) -> None:
    done = run("--out", ".", "--from", "2025-03-02", "--to", "2025-03-03", "--json", TZ="Asia/Kolkata")
    assert json.loads(done.out)["from"] == "2025-03-01T18:30:00+00:00"
    assert json.loads(done.out)["timezone"] == "Asia/Kolkata"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out", "x", "--timezone", "Mars/Olympus"], ["--timezone", "Mars/Olympus", "IANA"]),
        (["--out", "x", "--timezone", "../../etc/passwd"], ["--timezone", "IANA"]),
        (["--out", "x", "--from", "yesterday"], ["yesterday", "ISO 8601"]),
        (["--out", "x", "--from", "2025-03-02", "--to", "2025-03-01"], ["there is no day"]),
        (["--out", "cdr.toml", *MARCH], ["cdr.toml", "is a file"]),
        (["--out", "cdr.toml/below", *MARCH], ["cdr.toml", "is a file"]),
        ([], ["--out"]),
    ],
)
def test_wrong_usage_is_named(run: Here, words: list[str], said: list[str]) -> None:
    """Exit code 2, nothing on stdout, and nothing left behind."""
    done = run(*words)
    assert (done.code, done.out) == (2, "")
    assert all(word in done.err for word in said), done.err
    assert not Path("x").exists()


def test_without_the_extra_the_remedy_is_named(run: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "find_spec", lambda _name: None)
    done = run("--out", "x")
    assert (done.code, done.out) == (2, "")
    assert "pip install 'cdr-archive[report]'" in done.err


def test_an_earlier_report_stays_until_the_new_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills up half-way: what was there is as it was, and nothing lies beside it."""
    path = jobs.write(tmp_path / "index.html", "earlier")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CdrError, match=r"index.html cannot be written: No space left .* as it was") as caught:
        jobs.write(path, "later")
    assert caught.value.exit_code == 1
    assert path.read_text() == "earlier"
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["status", "report"])
def test_what_draws_is_imported_only_where_something_is_drawn(name: str) -> None:
    """It takes most of a second: not for other commands, nor for a report's help."""
    code = (
        f"import sys; from etl.cli.main import application; application({name!r});"
        " print(sorted({'matplotlib', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
