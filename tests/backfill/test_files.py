"""`cdr backfill files` without processes of its own: what becomes of files, and from where a run goes on."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from support.metadata import BEGIN, call_id, metadata, write, write_flat, write_nested

from etl.config import HistoryFiles, Settings
from etl.errors import CdrError, DatabaseUnavailable, HistoryRefused, SchemaMismatch
from etl.history.files import Problem, Trouble
from etl.jobs import backfill_files, backfill_files_crew
from etl.jobs.backfill_files import Report, Watch, import_files, preview
from etl.jobs.progress import Progress
from etl.store import quarantine
from etl.store.database import Connection

Import = Callable[..., Report]
SETTINGS = Settings.model_validate({"recorder": [{"name": "ny-1", "host": "127.0.0.1", "port": 10100}]})


@pytest.fixture
def conn(empty_embedded_conn: Connection) -> Connection:
    """A connection to an empty database."""
    with empty_embedded_conn.transaction():
        empty_embedded_conn.execute("DELETE FROM cdr.backfill_run")
    return empty_embedded_conn


@pytest.fixture
def run(conn: Connection, embedded_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Import:
    """Imports `tmp_path`, ten files at a time."""
    monkeypatch.setattr(backfill_files, "CHUNK", 10)

    def go(watch: Watch | None = None, settings: Settings = SETTINGS, processes: int = 1) -> Report:
        return import_files(settings, embedded_url, [tmp_path], processes, watch or Watch())

    return go


def rows(conn: Connection, query: str) -> list[tuple[Any, ...]]:
    with conn.transaction():
        return conn.execute(query.encode()).fetchall()


def calls(conn: Connection) -> list[str]:
    return [row[0] for row in rows(conn, "SELECT call_id FROM cdr.call WHERE state = 'complete' ORDER BY id_time")]


def stored(conn: Connection) -> list[tuple[Any, ...]]:
    """Every row of the archive, with what tells whether it was ever written again."""
    query = "SELECT ctid, xmin::text, {0}::text FROM cdr.{0} ORDER BY tableoid, ctid"
    return [row for table in ("call", "fact", "quarantine") for row in rows(conn, query.format(table))]


def stop_after(files: int) -> Watch:
    """Somebody who presses Ctrl-C when so many files are done."""

    def progress(now: Progress) -> None:
        if now.done >= files:
            raise KeyboardInterrupt

    return Watch(progress=progress)


def test_a_record_becomes_a_complete_call_of_the_recorder_that_it_names(
    run: Import, conn: Connection, tmp_path: Path
) -> None:
    write(tmp_path / "2024/04/a.xml", metadata(1), BEGIN + timedelta(days=2))
    report = run()
    assert report.whole
    query = "SELECT call_id, recorder, state, source, source_name, start_time, first_seen_at FROM cdr.call"
    start = BEGIN + timedelta(minutes=10)
    seen = BEGIN + timedelta(days=2)
    assert rows(conn, query) == [(call_id(1), "ny-1", "complete", "file", "Call Agent", start, seen)]
    assert dict(report.counts) == {"files": 1, "bytes": len(metadata(1)), "records": 1, "completed": 1}


def test_whatever_is_wrong_with_one_file_leaves_the_others_alone(run: Import, conn: Connection, tmp_path: Path) -> None:
    write_flat(tmp_path / "good", 15)
    write(tmp_path / "other.xml", b"<playlist><song id='7'/></playlist>")
    write(tmp_path / "broken.xml", metadata(20)[:-9])
    write(tmp_path / "empty.xml", b"")
    os.mkfifo(tmp_path / "pipe.xml")
    (tmp_path / "gone").symlink_to("nowhere")
    problems = list[Problem]()
    report = run(Watch(problem=problems.append))
    assert calls(conn) == [call_id(number) for number in range(15)]
    wanted = {"files": 18, "records": 15, "completed": 15, "skipped": 1, "quarantined": 2, "unreadable": 2}
    assert {name: report.counts[name] for name in wanted} == wanted
    assert not report.whole
    assert (
        {Path(each.path).name for each in problems}
        == {"pipe.xml", "gone"}
        == {Path(each.path).name for each in report.problems}
    )
    kept = rows(conn, "SELECT origin, observed_at, body FROM cdr.quarantine ORDER BY origin")
    assert kept == [
        (str(tmp_path / "broken.xml"), BEGIN, metadata(20)[:-9]),
        (str(tmp_path / "empty.xml"), BEGIN, b""),
    ]


def test_a_file_above_the_limit_is_quarantined_by_its_ends(run: Import, conn: Connection, tmp_path: Path) -> None:
    body = metadata(1).replace(b"Call Agent", b"x" * 200_000)
    write(tmp_path / "large.xml", body)
    run(settings=SETTINGS.model_copy(update={"worker": SETTINGS.worker.model_copy(update={"document_limit": 199_999})}))
    ((reason, note, kept),) = rows(conn, "SELECT reason, note, body FROM cdr.quarantine")
    assert (reason, kept) == ("too_large", body[: 64 * 1024] + body[-64 * 1024 :])
    assert hashlib.sha256(body).hexdigest() in note["detail"]
    assert f"{len(body)} bytes" in note["detail"]


def test_large_files_are_stored_in_several_transactions(
    run: Import, conn: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etl.jobs.backfill_files_chunk.BATCH_BYTES", 1)
    write_flat(tmp_path, 9)
    run()
    assert rows(conn, "SELECT count(DISTINCT xmin::text) FROM cdr.call") == [(9,)]


def test_the_same_files_again_write_nothing(run: Import, conn: Connection, tmp_path: Path) -> None:
    write_flat(tmp_path, 25)
    write(tmp_path / "broken.xml", b"<a>")
    run()
    before = stored(conn)
    again = run()
    assert stored(conn) == before
    assert (again.resumed, again.counts["files"], again.counts.get("completed", 0)) == (False, 26, 0)
    assert rows(conn, "SELECT command, result FROM cdr.backfill_run") == [("files", "done")] * 2


def test_a_file_that_was_half_written_settles_its_quarantine_when_it_is_whole(
    run: Import, conn: Connection, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.xml", metadata(1)[:-20])
    write(tmp_path / "b.xml", metadata(2)[:-20])
    run()
    write(path, metadata(1), BEGIN + timedelta(seconds=1))
    report = run()
    assert (report.counts["mended"], calls(conn)) == (1, [call_id(1)])
    assert rows(conn, "SELECT origin, state FROM cdr.quarantine ORDER BY origin") == [
        (str(path), "retried"),
        (str(tmp_path / "b.xml"), "open"),
    ]


def test_what_somebody_discarded_is_nothing_amiss(run: Import, conn: Connection, tmp_path: Path) -> None:
    write(tmp_path / "a.xml", b"<a>")
    assert not run().whole
    with conn.transaction():
        quarantine.resolve(conn, quarantine.items(conn)[0].id, "discarded", datetime.now(UTC))
    report = run()
    assert (report.whole, report.counts["discarded"]) == (True, 1)


def test_a_path_that_is_not_utf8_is_kept_as_text(run: Import, conn: Connection, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    write(Path(os.fsdecode(folder)) / "a.xml", b"<a>")
    run()
    assert rows(conn, "SELECT origin FROM cdr.quarantine") == [(f"{tmp_path}/caf\\udce9/a.xml",)]
    write(Path(os.fsdecode(folder)) / "a.xml", metadata(1))
    assert run().counts["mended"] == 1


def test_records_outside_a_recorders_extensions_are_left_out(run: Import, conn: Connection, tmp_path: Path) -> None:
    write(tmp_path / "a.xml", metadata(1))
    entry = {"name": "ny-1", "host": "127.0.0.1", "port": 1, "extensions": ["1000"]}
    report = run(settings=Settings.model_validate({"recorder": [entry]}))
    assert (report.counts["strangers"], report.counts["records"], calls(conn)) == (1, 1, [])


@pytest.fixture
def elsewhere() -> Settings:
    """Settings in a zone that is not that of the files."""
    files = HistoryFiles(roots=(), timezone=ZoneInfo("Asia/Kolkata"))
    return SETTINGS.model_copy(update={"history": SETTINGS.history.model_copy(update={"files": files})})


def test_a_zone_that_the_ids_speak_against_stops_the_import_before_anything_is_stored(
    run: Import, conn: Connection, tmp_path: Path, elsewhere: Settings
) -> None:
    write_flat(tmp_path, 5)
    with pytest.raises(HistoryRefused, match=r"5\.5 hours earlier .* history\.files\.timezone is not the zone"):
        run(settings=elsewhere)
    assert calls(conn) == []
    assert run().counts["completed"] == 5


def test_one_record_in_a_doubtful_zone_damages_nothing_that_is_better_known(
    run: Import, conn: Connection, tmp_path: Path, elsewhere: Settings
) -> None:
    path = write(tmp_path / "a.xml", metadata(1))
    run()
    before = stored(conn)
    write(path, metadata(1), BEGIN + timedelta(days=1))
    report = run(settings=elsewhere)
    assert (stored(conn), report.counts["withheld"], report.whole) == (before, 1, False)


# Going on -------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def one_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the files is the database's: these were all put there in the minute before a run."""
    monkeypatch.setattr(backfill_files, "SKEW", timedelta(0))


@pytest.mark.parametrize("plant", [write_flat, write_nested])
@pytest.mark.parametrize("stopped", [10, 20, 35])
def test_an_interrupted_run_goes_on_from_where_it_was(
    run: Import, conn: Connection, tmp_path: Path, plant: Callable[[Path, int], None], stopped: int
) -> None:
    """Its counts hold every file once, so nothing that was done was read again."""
    plant(tmp_path, 40)
    with pytest.raises(KeyboardInterrupt):
        run(stop_after(stopped))
    ((result, counts),) = rows(conn, "SELECT result, counts FROM cdr.backfill_run")
    assert result == "interrupted"
    assert stopped <= counts["files"] <= 40
    report = run()
    assert (report.resumed, report.counts["files"], report.counts["completed"]) == (True, 40, 40)
    assert calls(conn) == [call_id(number) for number in range(40)]
    assert rows(conn, "SELECT result FROM cdr.backfill_run") == [("done",)]
    assert rows(conn, "SELECT count(*) FROM cdr.backfill_folder") == [(0,)]


def test_an_older_run_of_other_paths_is_left_alone(
    run: Import, conn: Connection, embedded_url: str, tmp_path: Path
) -> None:
    write_flat(tmp_path / "a", 30)
    with pytest.raises(KeyboardInterrupt):
        run(stop_after(10))
    report = import_files(SETTINGS, embedded_url, [tmp_path / "a"], 1, Watch())
    assert (report.resumed, report.counts["files"]) == (False, 30)


def test_what_appears_after_an_interruption_is_read_too(run: Import, conn: Connection, tmp_path: Path) -> None:
    write_nested(tmp_path, 40)
    with pytest.raises(KeyboardInterrupt):
        run(stop_after(20))
    write_nested(tmp_path, 15, first=40)
    write_flat(tmp_path / "new", 2, first=55)
    run()
    assert calls(conn) == [call_id(number) for number in range(57)]


def test_a_file_that_changes_after_it_was_read_is_read_again_by_the_run_that_goes_on(
    run: Import, conn: Connection, tmp_path: Path
) -> None:
    """The names in the folder are the same, so it counts as done; the others are not read again."""
    write_flat(tmp_path, 40)
    with pytest.raises(KeyboardInterrupt):
        run(stop_after(10))
    done = calls(conn)
    first = next(
        path
        for path in tmp_path.iterdir()
        if path.stem in {str(number) for number in range(40) if call_id(number) in done}
    )
    write(first, metadata(99), at=datetime.now(UTC))
    report = run()
    assert (report.resumed, report.counts["files"]) == (True, 41)
    assert call_id(99) in calls(conn)


def test_a_file_that_is_replaced_by_an_older_one_is_read_again_by_the_run_that_goes_on(
    run: Import, conn: Connection, tmp_path: Path
) -> None:
    """A restored backup keeps its modification time: that alone does not tell what is new."""
    root = tmp_path / "files"
    write_flat(root, 40)
    with pytest.raises(KeyboardInterrupt):
        run(stop_after(10))
    done = calls(conn)
    first = next(path for path in root.iterdir() if call_id(int(path.stem)) in done)
    write(tmp_path / "other", metadata(99), at=BEGIN - timedelta(days=9)).rename(first)
    report = run()
    assert (report.resumed, report.counts["files"]) == (True, 41)
    assert call_id(99) in calls(conn)


def test_folders_are_told_of_once_however_often_a_run_goes_on(run: Import, conn: Connection, tmp_path: Path) -> None:
    write_flat(tmp_path, 40)
    (tmp_path / "gone").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.xml")
    os.utime(tmp_path / "pipe.xml", (0, 0))
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(stop_after(0))
    assert run().counts["unreadable"] == 2


def test_two_runs_side_by_side_do_no_harm(run: Import, conn: Connection, tmp_path: Path) -> None:
    write_nested(tmp_path, 40)
    with ThreadPoolExecutor(2) as pool:
        reports = [future.result() for future in [pool.submit(run), pool.submit(run)]]
    assert all(report.whole for report in reports)
    assert calls(conn) == [call_id(number) for number in range(40)]
    assert rows(conn, "SELECT count(*) FROM cdr.backfill_folder") == [(0,)]


@pytest.mark.slow
@pytest.mark.parametrize("ahead", [1, 2, 64])
def test_processes_leave_nothing_out_however_far_they_may_run_ahead(
    run: Import, conn: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    monkeypatch.setattr(backfill_files_crew, "AHEAD", ahead)
    write_flat(tmp_path, 100)
    assert run(processes=2).counts["files"] == 100
    assert calls(conn) == [call_id(number) for number in range(100)]


@pytest.mark.slow
def test_a_process_that_dies_is_told_and_the_next_run_goes_on(
    run: Import, conn: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill_files_crew, "AHEAD", 2)  # when the first chunk is done not all can be
    write_flat(tmp_path, 100)

    def kill(now: Progress) -> None:
        for child in multiprocessing.active_children():
            child.kill()
            child.join()

    with pytest.raises(CdrError, match=r"ended by itself \(exit code -9"):
        run(Watch(progress=kill), processes=2)
    ((result, told, counts),) = rows(conn, "SELECT result, told, counts FROM cdr.backfill_run")
    assert (result, "ended by itself" in told, 0 < counts["files"] < 100) == ("failed", True, True)
    report = run(processes=2)
    assert (report.resumed, report.counts["files"], len(calls(conn))) == (True, 100, 100)
    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_what_a_process_cannot_do_is_raised_here(run: Import, conn: Connection, tmp_path: Path) -> None:
    write_flat(tmp_path, 30)

    def lose_the_schema(problem: Problem) -> None:
        with conn.transaction():
            conn.execute("ALTER TABLE cdr.call RENAME TO call_away")

    (tmp_path / "gone").symlink_to("nowhere")
    try:
        with pytest.raises(SchemaMismatch):
            run(Watch(problem=lose_the_schema), processes=2)
    finally:
        with conn.transaction():
            conn.execute("ALTER TABLE IF EXISTS cdr.call_away RENAME TO call")


def lose(conn: Connection, application: str) -> None:
    """End the oldest connection of this name to our database, as a server does that is stopped."""
    rows(
        conn,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database()"
        f" AND application_name = '{application}' ORDER BY backend_start LIMIT 1",
    )


def test_a_database_that_goes_away_is_told_as_one_and_the_next_run_goes_on(
    run: Import, conn: Connection, tmp_path: Path
) -> None:
    """The connection that keeps the ledger is lost, in the middle of the run."""
    write_flat(tmp_path, 40)
    with pytest.raises(DatabaseUnavailable, match="out of reach"):
        run(Watch(progress=lambda now: lose(conn, "cdr")))
    ((result, told),) = rows(conn, "SELECT result, told FROM cdr.backfill_run")
    assert (result, "out of reach" in told) == ("failed", True)
    report = run()
    assert (report.resumed, report.counts["files"], len(calls(conn))) == (True, 40, 40)


@pytest.mark.slow
def test_a_database_that_a_process_loses_is_told_as_one_and_the_next_run_goes_on(
    run: Import, conn: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill_files_crew, "AHEAD", 2)
    write_flat(tmp_path, 100)

    def lose_both(now: Progress) -> None:
        for _ in range(2):
            lose(conn, "cdr backfill")

    with pytest.raises(DatabaseUnavailable, match="out of reach"):
        run(Watch(progress=lose_both), processes=2)
    report = run(processes=2)
    assert (report.resumed, report.counts["files"], len(calls(conn))) == (True, 100, 100)


def test_a_dry_run_that_loses_the_database_tells_so(
    conn: Connection, embedded_url: str, run: Import, tmp_path: Path
) -> None:
    write_flat(tmp_path, 40)
    with pytest.raises(DatabaseUnavailable, match="out of reach"):
        preview(SETTINGS, embedded_url, [tmp_path], 1, Watch(progress=lambda now: lose(conn, "cdr")))


# Trying it out --------------------------------------------------------------------------------------------------


def test_a_dry_run_reads_everything_and_writes_nothing(
    conn: Connection, embedded_url: str, tmp_path: Path, run: Import
) -> None:
    write_flat(tmp_path, 12)
    run()
    before = stored(conn), rows(conn, "SELECT id FROM cdr.backfill_run")
    write_flat(tmp_path, 3, first=12)
    write(tmp_path / "broken.xml", b"<a>")
    report = preview(SETTINGS, embedded_url, [tmp_path], 1, Watch())
    wanted = {"files": 16, "records": 15, "new": 3, "quarantined": 1}
    assert {name: report.counts[name] for name in wanted} == wanted
    assert (report.run, report.whole) == (None, False)
    assert (stored(conn), rows(conn, "SELECT id FROM cdr.backfill_run")) == before


def test_a_path_that_is_not_there_is_out_of_reach_and_the_others_are_read(
    conn: Connection, embedded_url: str, tmp_path: Path
) -> None:
    write_flat(tmp_path / "here", 2)
    report = import_files(SETTINGS, embedded_url, [tmp_path / "none", tmp_path / "here"], 1, Watch())
    assert report.out_of_reach == (str(tmp_path / "none"),)
    assert [(each.trouble, each.root) for each in report.problems] == [(Trouble.UNREADABLE, True)]
    assert len(calls(conn)) == 2
