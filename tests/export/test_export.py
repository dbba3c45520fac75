"""An export holds what the archive showed: all of it, once, in order, and whole after whatever happened."""

from __future__ import annotations

import json
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from psycopg import sql
from support.exporting import MARCH, SPRING, Export, add
from support.postgres import connection

from etl.errors import DatabaseRefused, DatabaseUnavailable, UsageError
from etl.fields import HIDDEN
from etl.jobs.progress import Progress
from etl.lake import folder
from etl.lake.folder import LakeFailed
from etl.lake.manifest import Manifest
from etl.model import Interval
from etl.store import arrow
from etl.store import export as store
from etl.store.database import Connection
from etl.store.export import COLUMNS

pytestmark = pytest.mark.slow

Rows = Callable[..., list[Mapping[str, Any]]]
NY_MARCH = "calls/month=2026-03/recorder=ny-1/calls.parquet"


def manifest(tmp_path: Path, of: str = "lake") -> Manifest:
    return folder.whole(tmp_path / of)


def ids(found: list[Mapping[str, Any]]) -> list[str]:
    return [row["call_id"] for row in found]


# What is in it --------------------------------------------------------------------------------------------------


def test_calls_lie_by_month_and_recorder_in_the_order_of_their_starts(
    conn: Connection, run: Export, rows: Rows
) -> None:
    add(conn, "later", 2)
    add(conn, "b", 1)
    add(conn, "a", 1)
    add(conn, "other", 0, recorder="ny-2")
    add(conn, "april", 31)
    assert run().rows == 5
    found = [(row["path"].removesuffix("/calls.parquet"), row["call_id"]) for row in rows()]
    assert found == [
        ("calls/month=2026-03/recorder=ny-1", "a"),
        ("calls/month=2026-03/recorder=ny-1", "b"),
        ("calls/month=2026-03/recorder=ny-1", "later"),
        ("calls/month=2026-03/recorder=ny-2", "other"),
        ("calls/month=2026-04/recorder=ny-1", "april"),
    ]


def test_months_are_those_of_utc_and_a_call_without_a_start_counts_when_it_was_first_seen(
    conn: Connection, run: Export, rows: Rows
) -> None:
    """Also where the session has another zone."""
    conn.execute("SET TimeZone = 'Asia/Kathmandu'")
    conn.commit()
    add(conn, "last", 31 - 1 / 86_400)
    add(conn, "first", 31)
    add(conn, "unknown", 31, start_time=None, first_seen_at=MARCH + timedelta(days=30))
    run()
    months = {row["call_id"]: row["path"][12:19] for row in rows()}
    assert months == {"last": "2026-03", "first": "2026-04", "unknown": "2026-03"}
    assert ids(rows()) == ["last", "unknown", "first"], "without a start, behind those with one"


def test_only_what_began_in_the_span_is_exported(conn: Connection, run: Export, rows: Rows) -> None:
    for day in range(4):
        add(conn, f"day {day}", day)
        add(conn, f"seen {day}", start_time=None, first_seen_at=MARCH + timedelta(days=day))
    run(span=Interval(MARCH + timedelta(days=1), MARCH + timedelta(days=3)))
    assert set(ids(rows())) == {"day 1", "day 2", "seen 1", "seen 2"}


def test_a_file_has_the_columns_of_report_calls_with_spans_in_seconds(conn: Connection, run: Export) -> None:
    """A column that is added to the view must come here, too; the recorder stands in the folder's name."""
    columns = {column.name for column in conn.execute("SELECT * FROM report.calls LIMIT 0").description or ()}
    conn.rollback()
    seconds = {"duration": "duration_seconds", "recorder_duration": "recorder_duration_seconds"}
    assert set(COLUMNS) == {seconds.get(name, name) for name in columns} - {"recorder"}


def test_values_come_through_as_they_are(conn: Connection, run: Export, rows: Rows, tmp_path: Path) -> None:
    add(
        conn,
        "a",
        1.5,
        end_time=MARCH + timedelta(days=1.5, seconds=61.25),
        recorder_duration=timedelta(hours=30),
        source_name='Zoë "; DROP\n🙂',
        cause_id=0,
        direction_id=99,
        conference=True,
        quality=["bad_manual", "zone_suspect"],
    )
    with conn.transaction():
        conn.execute("UPDATE cdr.call SET attributes = '{\"k\": [1, null]}'")
    run()
    (row,) = rows()
    assert row["start_time"] == MARCH + timedelta(days=1.5)
    assert row["start_time"].tzinfo is not None
    assert row["duration_seconds"] == 61.25
    assert row["recorder_duration_seconds"] == 108_000
    assert row["source_name"] == 'Zoë "; DROP\n🙂'
    assert (row["cause_id"], row["direction"], row["direction_id"]) == (0, "unknown code 99", 99)
    assert row["quality"] == ["bad_manual", "zone_suspect"]
    assert json.loads(row["attributes"]) == {"k": [1, None]}
    assert row["conference"] is True
    assert row["agent_id"] is None
    schema = pq.read_schema(tmp_path / "lake" / NY_MARCH)
    assert schema.field("start_time").type == pa.timestamp("us", tz="UTC")
    assert schema.field("duration_seconds").type == pa.float64()
    assert schema.field("quality").type.value_type == pa.string()
    assert schema.field("cause_id").type == pa.int32()


def test_any_name_of_a_recorder_is_kept_apart(conn: Connection, run: Export, rows: Rows, tmp_path: Path) -> None:
    names = ["a/b=c d%", "..", "München", "001", "x" * 300, "x" * 299 + "y", 'q"*?', "true", "line\nbreak", None]
    for number, name in enumerate(names):
        add(conn, f"{number}", 1, recorder=name)
    run()
    assert len(rows()) == len({row["path"] for row in rows()}) == len(names)
    told = {file.path: file.recorder for file in manifest(tmp_path).files}
    assert {row["call_id"]: told[row["path"]] for row in rows()} == {str(n): name for n, name in enumerate(names)}


def test_many_batches_make_one_file_for_each_recorder(
    conn: Connection, run: Export, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches end where they end: in the middle of a recorder, or between two."""
    monkeypatch.setattr(arrow, "BATCH", 2_000)
    for number in range(90):
        add(conn, f"{number:03}", number / 100, recorder=f"ny-{number % 3}", source_name="x" * 100)
    seen: list[Progress] = []
    run(on_progress=seen.append)
    assert len(seen) > 3
    assert (seen[-1].done, seen[-1].total) == (90, 90)
    by_recorder = {key: [row["call_id"] for row in rows() if f"recorder=ny-{key}/" in row["path"]] for key in range(3)}
    assert by_recorder == {key: [f"{number:03}" for number in range(key, 90, 3)] for key in range(3)}


def test_the_manifest_tells_what_each_file_holds(conn: Connection, run: Export, tmp_path: Path) -> None:
    add(conn, "a", 1)
    add(conn, "b", 2)
    add(conn, "c", start_time=None)
    run()
    (file,) = manifest(tmp_path).files
    assert (file.path, file.month, file.recorder, file.rows) == (NY_MARCH, "2026-03", "ny-1", 3)
    assert (file.min_start, file.max_start) == (MARCH + timedelta(days=1), MARCH + timedelta(days=2))
    assert (file.start, file.end) == (MARCH, datetime(2026, 4, 1, tzinfo=UTC))
    assert file.bytes == (tmp_path / "lake" / NY_MARCH).stat().st_size
    assert file.sha256 == folder.checksum(tmp_path / "lake" / NY_MARCH)
    told = json.loads((tmp_path / "lake" / "manifest.json").read_text())
    assert (told["rows"], told["masked"], told["from"], told["to"]) == (
        3,
        False,
        SPRING.start.isoformat(),
        SPRING.end.isoformat(),
    )


def test_nothing_in_the_span_is_an_export_of_nothing(conn: Connection, run: Export, tmp_path: Path) -> None:
    assert run().rows == 0
    assert manifest(tmp_path).files == ()


def test_the_archive_remembers_where_its_calls_went(conn: Connection, run: Export, tmp_path: Path) -> None:
    add(conn, "a", 1)
    number = run().number
    with conn.transaction():
        kept = conn.execute("SELECT id, folder, host, masked, who, rows, finished_at >= started_at FROM cdr.export")
        assert kept.fetchall() == [(number, str(tmp_path / "lake"), "here", False, "someone@somewhere", 1, True)]
        (note,) = conn.execute("SELECT who, action, target, effect FROM cdr.audit").fetchall()
    assert note[:2] == ("someone@somewhere", "export")
    assert note[2]["folder"] == str(tmp_path / "lake")
    assert note[3] == {"rows": 1, "files": 1, "written": 1, "removed": 0}


def test_an_export_that_was_interrupted_is_in_the_audit(conn: Connection, run: Export, tmp_path: Path) -> None:
    """It was to be found in cdr.export alone, though calls had left."""
    add(conn, "a", 1)
    with pytest.raises(KeyboardInterrupt):
        run(on_progress=interrupt_after(1))
    run()
    with conn.transaction():
        noted = conn.execute("SELECT action, target, effect->'rows' FROM cdr.audit ORDER BY id").fetchall()
        numbers = [row[0] for row in conn.execute("SELECT id FROM cdr.export ORDER BY id")]
    assert [(action, rows) for action, _, rows in noted] == [("export", None), ("export", 1)]
    assert [target["id"] for _, target, _ in noted] == numbers
    assert noted[0][1]["folder"] == str(tmp_path / "lake")


# Who may ----------------------------------------------------------------------------------------------------------


def test_a_masked_export_has_pseudonyms_as_an_analyst_sees_them(conn: Connection, run: Export, rows: Rows) -> None:
    add(conn, "a", 1, **dict.fromkeys(sorted(HIDDEN), "+49 30 1234567"))
    run("plain")
    run("masked", masked=True)
    (plain,), (masked,) = rows("plain"), rows("masked")
    with conn.transaction(force_rollback=True):
        conn.execute("SET LOCAL ROLE cdr_analyst")
        shown = conn.execute("SELECT source_caller_id FROM report.calls").fetchall()
    assert {plain[name] for name in HIDDEN} == {"+49 30 1234567"}
    assert {masked[name] for name in HIDDEN} == {shown[0][0]}
    assert "1234567" not in repr(masked)
    assert masked["attributes"] is None
    assert masked["start_time"] == plain["start_time"]


def test_masked_and_plain_do_not_share_a_folder(conn: Connection, run: Export, rows: Rows) -> None:
    add(conn, "a", 1, source_caller_id="1000")
    run()
    with pytest.raises(UsageError, match="without pseudonyms"):
        run(masked=True)
    assert rows()[0]["source_caller_id"] == "1000"


@contextmanager
def as_user(conn: Connection, database: str, *grants: str) -> Iterator[Connection]:
    """A connection of a user who has no rights but these."""
    name = f"exporter_{conn.info.backend_pid}"
    with conn.transaction():
        conn.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
        for grant in grants:
            conn.execute(sql.SQL(grant).format(sql.Identifier(name)))
    try:
        with connection(database.replace("postgres@", f"{name}@")) as opened:
            yield opened
    finally:
        with conn.transaction():
            conn.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
            conn.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def test_a_writer_who_is_no_analyst_is_told_what_is_missing(conn: Connection, database: str, run: Export) -> None:
    refused = pytest.raises(DatabaseRefused, match="GRANT cdr_analyst")
    with as_user(conn, database, "GRANT cdr_writer TO {}") as writer, refused:
        run(masked=True, archive=writer)


def test_a_writer_who_is_an_analyst_exports_masked(conn: Connection, database: str, run: Export, rows: Rows) -> None:
    add(conn, "a", 1, source_caller_id="1000")
    with as_user(conn, database, "GRANT cdr_writer, cdr_analyst TO {}") as writer:
        run(masked=True, archive=writer)
    assert rows()[0]["source_caller_id"].startswith("#")


def test_an_analyst_cannot_export_what_they_may_not_see(conn: Connection, database: str, run: Export) -> None:
    """Nor leave a file that pretends to be unmasked."""
    with as_user(conn, database, "GRANT cdr_analyst TO {}") as analyst, pytest.raises(DatabaseRefused):
        run(archive=analyst)


# Again, and after an interruption -----------------------------------------------------------------------------------


def test_again_it_writes_only_what_has_changed(conn: Connection, run: Export, rows: Rows, tmp_path: Path) -> None:
    add(conn, "a", 1)
    add(conn, "b", 1, recorder="ny-2")
    add(conn, "c", 40)
    first = run()
    untouched = (tmp_path / "lake" / NY_MARCH).stat()
    with conn.transaction():
        conn.execute(
            "UPDATE cdr.call SET state = 'lost', recorded_at = recorded_at + interval '1 us' WHERE call_id = 'b'"
        )
    add(conn, "d", 41)
    again = run()
    assert (first.written, again.written, again.removed) == (3, 2, 0)
    assert (tmp_path / "lake" / NY_MARCH).stat().st_ino == untouched.st_ino
    assert [(row["call_id"], row["state"]) for row in rows()] == [
        ("a", "complete"),
        ("b", "lost"),
        ("c", "complete"),
        ("d", "complete"),
    ]
    assert run().written == 0


def test_a_change_that_leaves_count_and_newest_time_alike_is_seen(conn: Connection, run: Export, rows: Rows) -> None:
    """One call goes and another comes, or a transaction that began earlier commits later."""
    add(conn, "a", 1)
    add(conn, "b", 2)
    run()
    with conn.transaction():
        conn.execute("UPDATE cdr.call SET call_id = 'z' WHERE call_id = 'a'")
    assert run().written == 1
    assert set(ids(rows())) == {"b", "z"}


def test_what_is_gone_from_the_archive_goes_from_the_folder(
    conn: Connection, run: Export, rows: Rows, tmp_path: Path
) -> None:
    add(conn, "a", 1)
    add(conn, "b", 40)
    run()
    with conn.transaction():
        conn.execute("DELETE FROM cdr.call WHERE call_id = 'a'")
    assert run().removed == 1
    assert ids(rows()) == ["b"]
    assert [path.name for path in (tmp_path / "lake" / "calls").iterdir()] == ["month=2026-04"]
    assert [file.month for file in manifest(tmp_path).files] == ["2026-04"]


def test_a_folder_grows_month_by_month(conn: Connection, run: Export, rows: Rows, tmp_path: Path) -> None:
    """What lies outside of the span stays; a month that was cut off is made whole."""
    add(conn, "march", 1)
    add(conn, "april", 31)
    add(conn, "later", 50)
    half = Interval(MARCH, datetime(2026, 4, 10, tzinfo=UTC))
    run(span=half)
    assert ids(rows()) == ["march", "april"]
    run(span=Interval(datetime(2026, 4, 1, tzinfo=UTC), SPRING.end))
    assert ids(rows()) == ["march", "april", "later"]
    assert [file.month for file in manifest(tmp_path).files] == ["2026-03", "2026-04"]


def test_a_file_that_is_kept_counts_for_what_was_asked_for_last_and_when(
    conn: Connection, run: Export, tmp_path: Path
) -> None:
    """Whoever looks for copies of what was erased relies on it."""
    add(conn, "a", 1)
    run(span=Interval(MARCH, MARCH + timedelta(days=2)))
    (before,) = manifest(tmp_path).files
    assert run().written == 0
    (file,) = manifest(tmp_path).files
    assert file.exported_at > before.exported_at
    assert (file.start, file.end) == (MARCH, datetime(2026, 4, 1, tzinfo=UTC))


def test_a_month_is_never_cut_off_by_a_later_export(conn: Connection, run: Export, rows: Rows) -> None:
    add(conn, "a", 1)
    run()
    with pytest.raises(UsageError, match="lose some of it"):
        run(span=Interval(MARCH + timedelta(days=2), SPRING.end))
    assert ids(rows()) == ["a"]


def test_a_file_that_was_lost_or_cut_off_is_written_again(
    conn: Connection, run: Export, rows: Rows, tmp_path: Path
) -> None:
    add(conn, "a", 1)
    add(conn, "b", 40)
    run()
    files = sorted((tmp_path / "lake").glob("calls/*/*/*.parquet"))
    files[0].unlink()
    files[1].write_bytes(b"PAR1")
    assert run().written == 2
    assert ids(rows()) == ["a", "b"]


def interrupt_after(batches: int) -> Callable[[Progress], None]:
    def watch(progress: Progress) -> None:
        nonlocal batches
        batches -= 1
        if batches == 0:
            raise KeyboardInterrupt

    return watch


def test_an_interrupted_export_is_not_whole_and_goes_on(
    conn: Connection, run: Export, rows: Rows, tmp_path: Path, second: Connection
) -> None:
    """Months that were finished are kept where the archive still shows the same, and written again where not."""
    for day in (1, 40, 70):
        add(conn, f"{day}", day)
    with pytest.raises(KeyboardInterrupt):
        run(on_progress=interrupt_after(2))
    with pytest.raises(UsageError, match="interrupted"):
        manifest(tmp_path)
    assert ids(rows()) == ["1"], "the file that was being written is gone"
    add(second, "new", 1)
    add(second, "other", 40)
    assert run().written == 3
    assert ids(rows()) == ["1", "new", "40", "other", "70"]
    assert not (tmp_path / "lake" / "unfinished.json").exists()


def test_finished_months_are_not_written_again(conn: Connection, run: Export) -> None:
    for day in (1, 40, 70):
        add(conn, f"{day}", day)
    with pytest.raises(KeyboardInterrupt):
        run(on_progress=interrupt_after(2))
    assert run().written == 2


def test_all_of_an_export_is_of_one_moment(conn: Connection, run: Export, rows: Rows, second: Connection) -> None:
    """What is written while it runs is not in it."""
    add(conn, "a", 1)
    add(conn, "b", 40)

    def meanwhile(_: Progress) -> None:
        with second.transaction():
            second.execute("DELETE FROM cdr.call WHERE call_id = 'b'")
        add(second, f"new {datetime.now(UTC)}", 41)

    run(on_progress=meanwhile)
    assert ids(rows()) == ["a", "b"]


def test_it_reads_what_it_counted(
    conn: Connection, run: Export, rows: Rows, second: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls that come after the count and before the first row is read wait for the next export."""
    add(conn, "a", 1)
    begin = folder.Folder.begin

    def meanwhile(self: folder.Folder, told: Manifest) -> None:
        add(second, "b", 1)
        begin(self, told)

    monkeypatch.setattr(folder.Folder, "begin", meanwhile)
    run()
    assert ids(rows()) == ["a"]


def test_all_is_counted_in_the_snapshot_that_is_read(conn: Connection, second: Connection) -> None:
    with store.snapshot(conn, SPRING) as seen:
        add(second, "a", 1)
        assert seen.portions == []
        assert conn.execute("SELECT count(*) FROM cdr.call").fetchone() == (0,)


def test_who_stops_waiting_does_not_wait_for_the_statement(database: str) -> None:
    """A signal in a long statement: it is cancelled there and then."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, stop)
    timer = threading.Timer(1, os.kill, [os.getpid(), signal.SIGUSR1])  # as from outside: to the process
    began = time.monotonic()
    try:
        with arrow.opened(database) as reader:
            timer.start()
            with pytest.raises(KeyboardInterrupt):
                list(reader.batches("SELECT pg_sleep(60)::text"))
    finally:
        timer.cancel()
        signal.signal(signal.SIGUSR1, before)
    assert time.monotonic() - began < 30


def test_what_only_the_other_driver_refuses_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """It knows no Kerberos, say; without the password of the URL."""
    monkeypatch.setattr(arrow, "connect", lambda _: nullcontext())
    url = "postgresql://someone:secret@/cdr?host=/nowhere"
    with pytest.raises(DatabaseUnavailable, match="someone@/nowhere/cdr") as told, arrow.opened(url):
        pass
    assert "secret" not in str(told.value)


def add_many(conn: Connection, count: int, name: str) -> None:
    statement = (
        "INSERT INTO cdr.call (call_id, id_time, state, source, start_time, first_seen_at, recorded_at, source_name)"
        f" SELECT n::text, '1970-01-01', 'complete', 'detail', now, now, now, {name}"
        " FROM generate_series(1, %s) n, (SELECT %s::timestamptz AS now) t"
    )
    with conn.transaction():
        conn.execute(statement.encode(), [count, MARCH])


def test_a_lost_database_leaves_an_unfinished_folder_and_is_told(
    conn: Connection, run: Export, second: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrow, "BATCH", 1_000)
    add_many(conn, 20_000, "repeat('x', 1000)")

    def cut(_: Progress) -> None:
        with second.transaction():
            second.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE query LIKE 'COPY %' AND datname = current_database()"
            )

    with pytest.raises(DatabaseUnavailable):
        run(on_progress=cut)
    assert not (tmp_path / "lake" / "manifest.json").exists()
    assert not list((tmp_path / "lake").glob("calls/*/*/*.part"))


def test_a_full_disk_is_told_and_the_export_goes_on_afterwards(
    conn: Connection, run: Export, rows: Rows, tmp_path: Path
) -> None:
    """A limit on the size of files stands for the disk: the error is of the same kind."""
    add_many(conn, 5_000, "sha512(n::text::bytea)::text")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(LakeFailed, match="the same command goes on"):
            run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list((tmp_path / "lake").glob("calls/*/*/*"))
    run()
    assert len(rows()) == 5000
