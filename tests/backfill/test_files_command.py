"""What `cdr backfill files` says, and which code it ends with; and `cdr quarantine retry` for what it left there."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.command import Here, Result
from support.metadata import BEGIN, call_id, metadata, write, write_flat
from support.postgres import connection

from etl.model import Quarantined
from etl.store.write import Batch, Writer

Cdr = Callable[..., Result]


@pytest.fixture
def cdr(tmp_path: Path, embedded_database: str, here: Here) -> Cdr:
    """The command, with a configuration whose last lines are given."""

    def call(*words: str, config: str = "") -> Result:
        (tmp_path / "cdr.toml").write_text(f'[database]\nurl = "{embedded_database}"\n{config}')
        return here(*words)

    return call


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with connection(url) as opened:
        return opened.execute(query.encode()).fetchall()


def test_it_tells_what_it_did(cdr: Cdr, tmp_path: Path) -> None:
    write_flat(tmp_path / "media", 3)
    write(tmp_path / "media/other.xml", b"<other/>")
    done = cdr("backfill", "files", "media")
    assert done.code == 0
    assert "read as UTC: history.files.timezone is not configured" in done.err
    told = {line[: line.rindex(" ", 0, len(line.rstrip()))].strip(): line.split()[-1] for line in done.out.splitlines()}
    assert told == {
        "what": "count",
        "files read": "4",
        "records in them": "3",
        "calls that became complete": "3",
        "files of other XML": "1",
    }


def test_without_a_path_it_reads_the_configured_roots_in_their_zone(
    cdr: Cdr, tmp_path: Path, embedded_database: str
) -> None:
    write_flat(tmp_path / "media", 1)
    config = '[history.files]\nroots = ["media"]\ntimezone = "America/New_York"\n'
    done = cdr("backfill", "files", "--json", config=config)
    assert (done.code, done.json["counts"]["records"]) == (0, 1)
    assert rows(embedded_database, "SELECT start_time FROM cdr.call") == [(datetime(2024, 4, 1, 4, tzinfo=UTC),)]


def test_without_a_path_and_without_roots_it_says_what_to_do(cdr: Cdr) -> None:
    done = cdr("backfill", "files")
    assert (done.code, done.out) == (2, "")
    assert "give a PATH, or set history.files.roots" in done.err


def test_without_a_database_it_says_nothing_but_that(cdr: Cdr, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text('[[recorder]]\nname = "ny-1"\nhost = "127.0.0.1"\nport = 1\n')
    result = cdr("backfill", "files", str(tmp_path), "--config", "other.toml")
    assert (result.code, result.err.startswith("cdr: no database is configured")) == (2, True)


def test_what_cannot_be_read_ends_with_5_and_is_named(cdr: Cdr, tmp_path: Path) -> None:
    write_flat(tmp_path / "media", 1)
    os.mkfifo(tmp_path / "media/\x1b[31m.xml")
    done = cdr("backfill", "files", "media", "--json")
    assert (done.code, done.json["counts"]["unreadable"]) == (5, 1)
    assert [each["path"] for each in done.json["problems"]] == [f"{tmp_path}/media/\\x1b[31m.xml"]
    assert f"{tmp_path}/media/\\x1b[31m.xml: unreadable: it is no regular file" in done.err


def test_a_path_that_is_not_there_ends_with_4(cdr: Cdr, tmp_path: Path) -> None:
    write_flat(tmp_path / "media", 1)
    done = cdr("backfill", "files", "none", "media")
    assert done.code == 4
    assert f"{tmp_path}/none could not be read at all" in done.err


def test_what_was_not_understood_ends_with_5_until_it_is_discarded(cdr: Cdr, tmp_path: Path) -> None:
    write(tmp_path / "media/a.xml", b"<a>")
    first = cdr("backfill", "files", "media")
    assert first.code == 5
    assert "cdr quarantine list" in first.err
    assert cdr("quarantine", "discard", "--all").code == 0
    assert cdr("backfill", "files", "media").code == 0


def test_a_dry_run_says_what_it_would_import(cdr: Cdr, tmp_path: Path, embedded_database: str) -> None:
    write_flat(tmp_path / "media", 2)
    done = cdr("backfill", "files", "media", "--dry-run", "--json")
    assert (done.code, done.json["run"], done.json["counts"]["new"]) == (0, None, 2)
    tables = ("call", "fact", "quarantine", "backfill_run")
    assert [rows(embedded_database, f"SELECT count(*) FROM cdr.{table}") for table in tables] == [[(0,)]] * 4


# What stands in quarantine --------------------------------------------------------------------------------------


@pytest.fixture
def quarantined(embedded_database: str) -> Callable[..., None]:
    """Puts something of the history into quarantine."""

    def put(kind: str, body: bytes, reason: str = "not_well_formed") -> None:
        row = Quarantined(BEGIN, None, "/media/a.xml" if kind == "file" else kind, reason, body, note={"kind": kind})
        with connection(embedded_database) as opened:
            Writer(opened).write(Batch(quarantined=[row]))

    return put


@pytest.mark.parametrize("kind", ["file", "http"])
def test_a_document_of_the_history_that_reads_well_by_now_becomes_a_call_of_that_source(
    cdr: Cdr, embedded_database: str, quarantined: Callable[..., None], kind: str
) -> None:
    quarantined(kind, metadata(1))
    done = cdr("quarantine", "retry", "--all", "--json")
    assert (done.code, [(each["facts"], each["reason"]) for each in done.json]) == (0, [(1, "")])
    query = "SELECT call_id, source, first_seen_at FROM cdr.call"
    assert rows(embedded_database, query) == [(call_id(1), kind, BEGIN)]
    assert rows(embedded_database, "SELECT state FROM cdr.quarantine") == [("retried",)]


@pytest.mark.parametrize("kind", ["file", "http"])
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<a>", "not_well_formed"),
        (b"<other/>", "it holds no record"),
        (b"<verbacdr><source_name>x</source_name></verbacdr>", "no_id"),
    ],
)
def test_what_is_still_not_understood_stays_open(
    cdr: Cdr, embedded_database: str, quarantined: Callable[..., None], kind: str, body: bytes, reason: str
) -> None:
    quarantined(kind, body)
    done = cdr("quarantine", "retry", "--all", "--json")
    assert (done.code, [each["reason"] for each in done.json]) == (5, [reason])
    assert rows(embedded_database, "SELECT state FROM cdr.quarantine") == [("open",)]


def test_the_ends_of_a_file_that_was_too_large_are_never_taken_for_a_record(
    cdr: Cdr, embedded_database: str, quarantined: Callable[..., None]
) -> None:
    """Cut in the middle of a text they may well be a document."""
    quarantined("file", metadata(1), "too_large")
    done = cdr("quarantine", "retry", "--all")
    assert done.code == 5
    assert "raise worker.document_limit" in done.out
    assert rows(embedded_database, "SELECT count(*) FROM cdr.call") == [(0,)]
