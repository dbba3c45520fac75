"""Exports that still hold what is deleted or erased: they are named as long as they are there, whatever befell them."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.command import Result
from support.postgres import Server
from support.retention import CLERK, YOUNG, Archive, make

from etl.calls.ids import UNTIMED
from etl.jobs.retention import apply
from etl.lake.folder import WHOLE, Folder
from etl.lake.manifest import File, Manifest
from etl.model import Fact

pytestmark = pytest.mark.slow

Cdr = Callable[..., Result]
HERE = socket.gethostname()
EXPORT = ("export", "--from", "2024-05-01T00:00Z", "--to", "2024-06-01T00:00Z", "--out", "lake")
ERASE = ("retention", "erase", "--party", "John", "--reason", "asked", "--json")
NOBODY = ("retention", "erase", "--party", "nobodyatall", "--reason", "asked", "--json")
FILE = "calls/month=2024-05/recorder=ny-1/calls.parquet"
PART = "calls/month=2024-05/recorder=ny-1/.calls.parquet.part"


@pytest.fixture
def server(embedded_server: Server) -> Server:
    """One server will do: the SQL is tested elsewhere."""
    return embedded_server


def john() -> Fact:
    return make("a", id_time=UNTIMED, source_name="John")


def note_export(archive: Archive, folder: Path, host: str, at: datetime) -> None:
    archive.change(
        "INSERT INTO cdr.export (folder, host, from_time, to_time, masked, who, started_at, finished_at)"
        " VALUES (%s, %s, %s, %s, false, 'w', %s, %s)",
        str(folder), host, YOUNG, YOUNG + timedelta(days=1), at, at,
    )  # fmt: skip


def test_exported_files_that_show_an_erased_call_are_named(archive: Archive, cdr: Cdr, tmp_path: Path) -> None:
    at = datetime.now(UTC) - timedelta(hours=1)
    files = []
    for recorder in ("ny-1", "ny-2"):
        path = f"calls/month=2024-05/recorder={recorder}/calls.parquet"
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_bytes(b"x")
        span = (YOUNG, YOUNG + timedelta(days=1))
        files.append(File(path, "2024-05", recorder, *span, 1, 1, "", None, None, "", "", at))
    (tmp_path / WHOLE).write_text(Manifest(False, "0004", *span, at, tuple(files)).dump())
    archive.store(john(), make("b", recorder="ny-2"))
    note_export(archive, tmp_path, HERE, at)
    note_export(archive, tmp_path, "elsewhere", at)
    code, out, _ = cdr("retention", "erase", "--party", "John", "--reason", "asked", "--json")
    copies = json.loads(out)["copies"]
    assert code == 5
    assert {copy["host"]: copy["files"] for copy in copies} == {
        HERE: [files[0].path],
        "elsewhere": None,
    }
    (tmp_path / files[0].path).unlink()
    note_export(archive, tmp_path, "elsewhere", datetime.now(UTC) + timedelta(minutes=1))
    assert cdr("retention", "erase", "--party", "John", "--reason", "asked", "--json")[0] == 0


def test_exports_of_the_limits_own_month_are_named_if_they_show_what_was_deleted(
    archive: Archive, tmp_path: Path
) -> None:
    """A damaged file too: calls can be read from it."""
    month, limit = datetime(2017, 6, 1, tzinfo=UTC), datetime(2017, 6, 15, tzinfo=UTC)
    files = []
    for recorder, first in (("ny-1", limit - timedelta(days=1)), ("ny-2", limit)):
        path = f"calls/month=2017-06/recorder={recorder}/calls.parquet"
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_bytes(b"x")
        span = (month, month + timedelta(days=30))
        files.append(File(path, "2017-06", recorder, *span, 1, 1, "", first, first, "", "", YOUNG))
    (tmp_path / WHOLE).write_text(Manifest(False, "0004", *span, YOUNG, tuple(files)).dump())
    note_export(archive, tmp_path, HERE, YOUNG)
    assert [copy.files for copy in apply(archive.conn, limit, CLERK).copies] == [(files[0].path,)]


# What a killed export left ----------------------------------------------------------------------------------------


def killed(cdr: Cdr, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """An export that ends, without a word, before a step of its folder."""

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Folder, step, kill)
        assert cdr(*EXPORT).code == 1


def files_named(done: Result) -> list[str]:
    return sorted(file for copy in done.json["copies"] for file in copy["files"] or ())


def test_a_file_that_a_killed_export_had_not_noted_yet_is_named(
    archive: Archive, cdr: Cdr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lies in its place, with all numbers, and unfinished.json knows of no file."""
    archive.store(john(), make("b", recorder="ny-2"))
    killed(cdr, monkeypatch, "save")
    assert (tmp_path / "lake" / FILE).exists()
    done = cdr(*ERASE)
    assert (done.code, files_named(done)) == (5, [FILE])
    assert cdr(*NOBODY).code == 5
    (tmp_path / "lake" / FILE).unlink()
    assert cdr(*NOBODY).code == 0


def test_half_a_file_of_a_killed_export_is_named(
    archive: Archive, cdr: Cdr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.store(john())
    killed(cdr, monkeypatch, "put")
    (tmp_path / "lake" / PART).write_bytes(b"PAR1 John")
    done = cdr(*ERASE)
    assert (done.code, files_named(done)) == (5, [PART])


def test_the_next_export_ends_what_a_killed_one_left(
    archive: Archive, cdr: Cdr, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.store(john())
    killed(cdr, monkeypatch, "save")
    cdr(*ERASE)
    archive.change("UPDATE cdr.call SET recorded_at = recorded_at - interval '1 hour'")
    archive.change("UPDATE cdr.erased_call SET erased_at = erased_at - interval '1 hour'")
    assert cdr(*EXPORT).code == 0
    assert cdr(*NOBODY).code == 0


def test_a_file_of_a_killed_export_that_began_after_the_erasure_is_not_named(
    archive: Archive, cdr: Cdr, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.store(john())
    cdr(*ERASE)
    archive.change("UPDATE cdr.call SET recorded_at = recorded_at - interval '1 hour'")
    killed(cdr, monkeypatch, "save")
    assert cdr(*NOBODY).code == 0


def test_files_without_any_manifest_are_named(
    archive: Archive, cdr: Cdr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When they were written nobody knows any more."""
    archive.store(john())
    assert cdr(*EXPORT).code == 0
    (tmp_path / "lake" / WHOLE).unlink()
    done = cdr(*ERASE)
    assert (done.code, files_named(done)) == (5, [FILE])


def test_deletion_by_age_names_what_a_killed_export_left(
    archive: Archive, cdr: Cdr, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.store(john())
    killed(cdr, monkeypatch, "save")
    assert [copy.files for copy in apply(archive.conn, YOUNG + timedelta(days=1), CLERK).copies] == [(FILE,)]
    assert apply(archive.conn, datetime(2024, 4, 30, tzinfo=UTC), CLERK).copies == ()


# Exports that are gone --------------------------------------------------------------------------------------------


def exported_and_erased(archive: Archive, cdr: Cdr) -> None:
    archive.store(john())
    assert cdr(*EXPORT).code == 0
    assert cdr(*ERASE).code == 5


def test_an_export_that_was_deleted_is_said_to_be_gone_and_amiss_no_more(
    archive: Archive, cdr: Cdr, tmp_path: Path
) -> None:
    """Every erasure that came later ended with 5, and nothing helped."""
    exported_and_erased(archive, cdr)
    remove(tmp_path / "lake")
    done = cdr(*NOBODY)
    assert (done.code, done.json["copies"]) == (0, [])
    assert [(copy["host"], copy["folder"]) for copy in done.json["gone"]] == [(HERE, str(tmp_path / "lake"))]
    assert "is not there any more" in cdr(*NOBODY[:-1]).err


def remove(folder: Path) -> None:
    """With all that is in it."""
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


@pytest.mark.parametrize("place", ["disk/lake", "disk/exports/lake"])
def test_an_export_on_a_disk_that_is_not_mounted_is_not_gone(
    archive: Archive, cdr: Cdr, tmp_path: Path, place: str
) -> None:
    """Of a disk that is away an empty folder is left in its place."""
    at = datetime.now(UTC) - timedelta(hours=1)
    archive.store(john())
    note_export(archive, tmp_path / place, HERE, at)
    (tmp_path / "disk").mkdir()
    done = cdr(*ERASE)
    assert (done.code, [copy["files"] for copy in done.json["copies"]]) == (5, [None])


def test_a_folder_that_is_there_and_empty_is_not_gone(archive: Archive, cdr: Cdr, tmp_path: Path) -> None:
    """It may be where the disk belongs."""
    archive.store(john())
    note_export(archive, tmp_path / "lake", HERE, datetime.now(UTC) - timedelta(hours=1))
    (tmp_path / "lake").mkdir()
    assert cdr(*ERASE).code == 5


DESTROYED = ("retention", "destroyed", "/srv/lake", "--host", "elsewhere", "--reason", "disk shredded")


def test_an_export_elsewhere_is_named_until_somebody_vouches_that_it_was_destroyed(archive: Archive, cdr: Cdr) -> None:
    at = datetime.now(UTC) - timedelta(hours=1)
    archive.store(john())
    note_export(archive, Path("/srv/lake"), "elsewhere", at)
    assert cdr(*ERASE).code == 5
    assert json.loads(cdr(*DESTROYED, "--json").out) == {"folder": "/srv/lake", "host": "elsewhere", "exports": 1}
    assert cdr(*NOBODY).code == 0
    assert archive.rows("SELECT target, reason, effect FROM cdr.audit WHERE action = 'retention destroyed'") == [
        ({"folder": "/srv/lake", "host": "elsewhere"}, "disk shredded", {"exports": 1})
    ]
    assert cdr(*DESTROYED).code == 2


def test_an_export_that_is_made_after_the_last_one_was_destroyed_is_named(archive: Archive, cdr: Cdr) -> None:
    at = datetime.now(UTC) - timedelta(hours=1)
    archive.store(john())
    note_export(archive, Path("/srv/lake"), "elsewhere", at)
    cdr(*DESTROYED)
    note_export(archive, Path("/srv/lake"), "elsewhere", at)
    assert cdr(*ERASE).code == 5


def test_what_is_still_there_is_not_taken_for_destroyed(archive: Archive, cdr: Cdr, tmp_path: Path) -> None:
    exported_and_erased(archive, cdr)
    done = cdr("retention", "destroyed", "lake", "--reason", "so they say")
    assert done.code == 2
    assert "is still there" in done.err
    remove(tmp_path / "lake")
    assert cdr("retention", "destroyed", "lake", "--reason", "rm").code == 0
    assert cdr(*NOBODY).json["gone"] == []


def test_a_destroyed_export_of_which_nobody_knows_is_a_slip(archive: Archive, cdr: Cdr) -> None:
    done = cdr(*DESTROYED)
    assert done.code == 2
    assert "no export to /srv/lake on elsewhere" in done.err
    assert archive.rows("SELECT count(*) FROM cdr.audit") == [(0,)]
