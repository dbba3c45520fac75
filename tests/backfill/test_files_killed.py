"""`cdr backfill files` as a user runs it: killed, interrupted, and with more files than memory."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.metadata import write_flat, write_nested
from support.postgres import Server, connection, fresh_database

import etl

pytestmark = pytest.mark.slow
PATIENCE = 60.0
FILES = 6000
CONFIG = '[database]\nurl = "{url}"\n[[recorder]]\nname = "ny-1"\nhost = "127.0.0.1"\nport = 1\n'
ENV = {
    "PATH": os.environ["PATH"],
    "HOME": "/",
    "LC_ALL": "C.UTF-8",
    "PYTHONPATH": str(Path(etl.__file__).parent.parent),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few thousand files in flat and nested folders."""
    root = tmp_path_factory.mktemp("media")
    write_flat(root / "flat", FILES // 2)
    write_nested(root / "nested", FILES - FILES // 2, first=FILES // 2)
    return root


@pytest.fixture
def undisturbed(embedded_server: Server) -> Iterator[str]:
    """A second database, for the run that nobody disturbs."""
    with fresh_database(embedded_server) as url:
        yield url


def command(home: Path, url: str, root: Path, *words: str) -> list[str]:
    file = home / "cdr.toml"
    file.write_text(CONFIG.format(url=url))
    return [sys.executable, "-m", "etl.cli", "backfill", "files", str(root), "--config", str(file), "--json", *words]


def start(words: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(words, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with connection(url) as opened:
        return opened.execute(query.encode()).fetchall()


def archived(url: str) -> list[Any]:
    """All that is archived but the time of the commit."""
    queries = (
        "SELECT to_jsonb(c) - 'recorded_at' FROM cdr.call c ORDER BY call_id, id_time",
        "SELECT to_jsonb(f) FROM cdr.fact f ORDER BY call_id, id_time, kind",
    )
    return [row for query in queries for row in rows(url, query)]


def done(url: str) -> int:
    """How many files the ledger holds as done."""
    counts = rows(url, "SELECT (counts->>'files')::int FROM cdr.backfill_run")
    return sum(row[0] or 0 for row in counts)


def age(url: str) -> None:
    """As if the files had been there for a while when the run began: newer ones are read again by the next."""
    with connection(url) as opened:
        opened.execute("UPDATE cdr.backfill_run SET started_at = clock_timestamp() + interval '2 minutes'")
        opened.commit()


def soon(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"in vain waited until {what}"
        time.sleep(0.01)


def children(parent: int) -> set[int]:
    return {int(each) for each in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()}


def lives(process: int) -> bool:
    """Whether it runs; one that only waits for somebody to take note of its end does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.timeout(600)
def test_killed_ten_times_it_ends_as_if_undisturbed_and_starts_nowhere_again(
    embedded_database: str, undisturbed: str, files: Path, tmp_path: Path
) -> None:
    """The one run's counts hold every file once. Each kill leaves no process behind."""
    seed = int(os.environ.get("TEST_SEED", random.randrange(2**32)))
    print(f"TEST_SEED={seed}")
    dice = random.Random(seed)
    words = command(tmp_path, embedded_database, files, "--processes", "2")
    before, kills = 0, 0
    for goal in sorted(dice.randrange(FILES - 3000) for _ in range(10)):
        running = start(words)
        soon(lambda: done(embedded_database) >= max(goal, before) or running.poll() is not None, "it got so far")  # noqa: B023
        time.sleep(dice.random() * 0.2)
        crew = children(running.pid) if running.poll() is None else set()
        running.kill()
        running.communicate()
        kills += running.returncode != 0
        soon(lambda: not any(lives(each) for each in crew), "its processes are gone")  # noqa: B023
        age(embedded_database)
        assert done(embedded_database) >= before, "what was done is not done any more"
        before = done(embedded_database)
        if before == FILES:  # it was faster than the kill
            break
    assert kills >= 3
    last = subprocess.run(words, env=ENV, capture_output=True, check=False)
    assert last.returncode == 0, last.stderr
    assert (
        subprocess.run(command(tmp_path, undisturbed, files), env=ENV, capture_output=True, check=False).returncode == 0
    )
    assert archived(embedded_database) == archived(undisturbed)
    report = json.loads(last.stdout)
    assert (report["counts"]["files"], report["counts"]["records"]) == (FILES, FILES)
    if before < FILES:
        assert report["resumed"]
        assert rows(embedded_database, "SELECT result FROM cdr.backfill_run") == [("done",)]


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_state_from_which_the_next_run_goes_on(
    embedded_database: str, files: Path, tmp_path: Path, sign: signal.Signals
) -> None:
    words = command(tmp_path, embedded_database, files, "--processes", "2")
    running = start(words)
    soon(lambda: done(embedded_database) > 0 or running.poll() is not None, "it has begun")
    running.send_signal(sign)
    out, err = running.communicate(timeout=PATIENCE)
    assert (running.returncode, out) == (1, b"")
    assert b"the same command goes on from here" in err
    assert b"Traceback" not in err
    assert rows(embedded_database, "SELECT result FROM cdr.backfill_run") == [("interrupted",)]
    age(embedded_database)
    last = subprocess.run(words, env=ENV, capture_output=True, check=False)
    assert last.returncode == 0, last.stderr
    assert json.loads(last.stdout)["counts"]["files"] == FILES


def test_a_database_that_is_stopped_ends_the_command_with_3_and_the_next_run_goes_on(
    embedded_server: Server, embedded_database: str, files: Path, tmp_path: Path
) -> None:
    words = command(tmp_path, embedded_database, files, "--processes", "2")
    running = start(words)
    soon(lambda: done(embedded_database) > 0 or running.poll() is not None, "it has begun")
    embedded_server.cluster.stop()
    try:
        out, err = running.communicate(timeout=PATIENCE)
    finally:
        embedded_server.restart()
    assert (running.returncode, out) == (3, b"")
    assert b"the same command goes on from here" in err
    assert b"Traceback" not in err
    age(embedded_database)
    last = subprocess.run(words, env=ENV, capture_output=True, check=False)
    assert last.returncode == 0, last.stderr
    assert json.loads(last.stdout)["counts"]["files"] == FILES


_MEASURED = """
import re, resource, runpy, sys
from pathlib import Path
if __name__ == "__main__":  # and not in the processes that this one starts
    try:
        runpy.run_module("etl.cli", run_name="__main__")
    finally:
        # Not RUSAGE_SELF: it begins with the memory of whoever started this process.
        print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1], file=sys.stderr)
        print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
"""


def peaks(home: Path, url: str, root: Path) -> list[int]:
    """Peak memory (kB) of the process that walks, and of the largest that reads."""
    script = home / "measured.py"
    script.write_text(_MEASURED)
    words = [sys.executable, str(script), *command(home, url, root, "--processes", "2")[3:]]
    ended = subprocess.run(words, env=ENV, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return [int(line) for line in ended.stderr.split()[-2:]]


@pytest.mark.timeout(600)
def test_memory_stays_flat_however_many_files_lie_in_a_folder(
    embedded_database: str, undisturbed: str, tmp_path: Path
) -> None:
    write_flat(tmp_path / "few", 2_500)
    write_flat(tmp_path / "many", 25_000)
    few = peaks(tmp_path, undisturbed, tmp_path / "few")
    many = peaks(tmp_path, embedded_database, tmp_path / "many")
    print(few, many)
    for little, much in zip(few, many, strict=True):
        assert much < little * 1.15
