"""Tricks with paths: what lies in a folder of metadata files, in the folder of an export, and where others look."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support.command import Here
from support.postgres import connection
from support.readers import insert

from etl.errors import UsageError
from etl.history.files import FileRead, Problem, Region, Trouble, read_file, scan, walk
from etl.lake import folder as lake
from etl.lake import manifest
from etl.store import embedded

LIMIT = 100_000
CANARY = b"root-canary:x:0:0"
PATIENCE = 60.0

Configure = Callable[..., Path]


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """The folder that a recorder may write to; beside it lies what is not for it."""
    (tmp_path / "private").mkdir()
    (tmp_path / "private/secret.xml").write_bytes(CANARY)
    folder = tmp_path / "media"
    folder.mkdir()
    (folder / "good.xml").write_text("<verbacdr><ccdr_id>good</ccdr_id></verbacdr>")
    return folder


def read(*roots: Path) -> tuple[dict[str, bytes], list[Problem]]:
    """What is read of these folders, by path, and what is not."""
    problems: list[Problem] = []
    return {each.path: each.body for each in scan(roots, None, LIMIT, problems.append)}, problems


# Metadata files -------------------------------------------------------------------------------------------------

LINKS = {
    "to a file": {"x.xml": "{out}/secret.xml"},
    "to a file, relative": {"x.xml": "../private/secret.xml"},
    "to a link": {"x.xml": "y", "y": "{out}/secret.xml"},
    "to a folder": {"x": "{out}"},
    "to a folder named like a file": {"x.xml": "{out}"},
    "to a folder through a link": {"x": "y", "y": ".."},
    "to the root": {"x": "/"},
    "to a neighbour that begins alike": {"x": "../media-private"},
    "through the process": {"x": "/proc/self/cwd"},
    "through a descriptor": {"x.xml": "/proc/self/fd/0"},
}
"""Links in the folder, and where they lead."""


@pytest.mark.parametrize("name", LINKS)
def test_a_link_out_of_the_folder_is_told_and_not_followed(tmp_path: Path, media: Path, name: str) -> None:
    shutil.copytree(tmp_path / "private", tmp_path / "media-private")
    for link, target in LINKS[name].items():
        (media / link).symlink_to(target.format(out=tmp_path / "private"))
    found, problems = read(media)
    assert list(found) == [str(media / "good.xml")]
    assert {each.trouble for each in problems} <= {Trouble.OUTSIDE, Trouble.UNREADABLE}
    assert problems


def test_a_link_inside_the_folder_is_followed(media: Path) -> None:
    (media / "x.xml").symlink_to("good.xml")
    assert len(read(media)[0]) == 2


def test_a_folder_that_is_asked_for_by_a_link_is_read(tmp_path: Path, media: Path) -> None:
    """Whoever runs the command says what may be read."""
    (tmp_path / "link").symlink_to(media)
    (tmp_path / "file.xml").symlink_to(tmp_path / "private/secret.xml")
    found, problems = read(tmp_path / "link", tmp_path / "file.xml")
    assert sorted(found.values())[1] == CANARY
    assert not problems


def test_a_link_that_is_put_in_the_way_between_look_and_read_is_not_followed(
    tmp_path: Path, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a file, and of a folder above it: where a file lies is asked of what was opened."""
    (media / "deep").mkdir()
    (media / "deep/secret.xml").write_text("<verbacdr/>")
    region = Region([media])
    paths = [path for piece in walk(str(media), lambda _: None, region=region) for path in piece.paths]
    assert len(paths) == 2
    (media / "good.xml").unlink()
    (media / "good.xml").symlink_to(tmp_path / "private/secret.xml")
    (media / "deep").rename(media / "shallow")
    (media / "deep").symlink_to(tmp_path / "private")
    told = [read_file(path, LIMIT, region) for path in paths]
    assert [each.trouble for each in told if isinstance(each, Problem)] == [Trouble.OUTSIDE] * 2


def test_a_file_that_is_swapped_again_and_again_never_shows_another(tmp_path: Path, media: Path) -> None:
    """A race that an attacker would run: ours and a link to what is not ours take turns under one name."""
    target, over = media / "good.xml", threading.Event()

    def swap() -> None:
        while not over.is_set():
            (media / "link").symlink_to(tmp_path / "private/secret.xml")
            (media / "link").rename(target)
            (media / "file").write_bytes(b"<verbacdr/>")
            (media / "file").rename(target)

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        region = Region([media])
        seen = [read_file(str(target), LIMIT, region) for _ in range(2_000)]
    finally:
        over.set()
        swapping.join()
    assert not [each for each in seen if isinstance(each, FileRead) and each.body == CANARY]


def test_what_is_no_file_keeps_nobody_waiting(media: Path) -> None:
    """Pipes, sockets, folders and devices that are called like one."""
    os.mkfifo(media / "pipe.xml")
    (media / "folder.xml").mkdir()
    (media / "endless.xml").symlink_to("/dev/zero")
    (media / "terminal.xml").symlink_to("/dev/tty")
    (media / "loop.xml").symlink_to("loop.xml")
    if os.geteuid() == 0:
        with suppress(OSError):  # not everywhere may root make one
            os.mknod(media / "device.xml", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    found, problems = read(media)
    assert list(found) == [str(media / "good.xml")]
    assert {Path(each.path).name for each in problems} >= {"pipe.xml", "endless.xml", "loop.xml"}


def test_a_file_grows_and_shrinks_while_it_is_read(media: Path) -> None:
    path, over = media / "good.xml", threading.Event()

    def change() -> None:
        while not over.is_set():
            path.write_bytes(b"<a>" + b"x" * 50_000)
            with path.open("ab") as file:
                file.write(b"y" * 100_000)
            path.write_bytes(b"")

    changing = threading.Thread(target=change)
    changing.start()
    try:
        seen = [read_file(str(path), LIMIT, Region([media])) for _ in range(500)]
    finally:
        over.set()
        changing.join()
    assert all(isinstance(each, FileRead) and len(each.body) <= max(LIMIT, 2 << 16) for each in seen)


@pytest.mark.slow
def test_a_file_of_a_terabyte_is_not_read_into_memory(here: Here, media: Path, embedded_database: str) -> None:
    """A file with a hole. Its ends would be kept, were somebody to read all of it; a smaller one shows how."""
    with (media / "huge.xml").open("wb") as file:
        file.truncate(200_000_000)
    (media / "cdr.toml").write_text(f'database.url = "{embedded_database}"\nworker.document_limit = "1MB"\n')
    before = _peak()
    done = here("backfill", "files", str(media), "--processes", "1", "--config", str(media / "cdr.toml"))
    assert done.code == 5
    assert _peak() - before < 60_000_000
    with connection(embedded_database) as opened:
        assert opened.execute("SELECT reason, length(body) FROM cdr.quarantine").fetchall() == [("too_large", 1 << 17)]


def _peak() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.slow
def test_names_that_are_no_text_are_imported_and_their_rows_found_again(
    here: Here, media: Path, embedded_database: str
) -> None:
    """New lines, escapes, bytes that are no UTF-8, quotes, names of options; as long as a file system has them."""
    names = [
        b"two\nlines",
        b"\x1b]0;x\x07",
        b"\xff\xfe",
        b"'; DROP TABLE cdr.call; --",
        b"--help",
        b"\\N\\.",
        b"n" * 250,
    ]
    paths = [Path(os.fsdecode(os.fsencode(media) + b"/" + name + b".xml")) for name in names]
    for path in paths:
        path.write_text("<verbacdr><ccdr_id>")
    (media / "cdr.toml").write_text(f'database.url = "{embedded_database}"\n')
    command = ("backfill", "files", str(media), "--config", str(media / "cdr.toml"))
    assert here(*command).code == 5
    for path in paths:
        path.write_text("<verbacdr><ccdr_id>mended</ccdr_id></verbacdr>")
    assert here(*command).code == 0
    with connection(embedded_database) as opened:
        rows = opened.execute("SELECT state, count(*) FROM cdr.quarantine GROUP BY 1").fetchall()
    assert rows == [("retried", len(names))]


# The folder of an export ----------------------------------------------------------------------------------------

PATHS = (
    "../victim",
    "/tmp/victim",
    "calls/../../victim",
    "calls/month=2024-05/recorder=x/../../../../victim",
    "",
    ".",
    "calls",
    "manifest.json",
    "calls/month=x/recorder=y/other.parquet",
    "calls/month=x/recorder=\0/calls.parquet",
    7,
    None,
)


def lake_of(folder: Path, path: Any) -> Path:
    """A folder that claims to be ours, with one file of this path."""
    folder.mkdir(exist_ok=True)
    moment = "2024-05-01T00:00:00+00:00"
    span = {"from": moment, "to": moment}
    file = {"path": path, "month": "2024-05", "recorder": "x", "rows": 1, "bytes": 6, "sha256": "0" * 64, **span}
    file |= {"min_start": None, "max_start": None, "fingerprint": "f", "view": "v", "exported_at": moment}
    content = {"format": manifest.FORMAT, "version": manifest.VERSION, "schema": "0004", "masked": False, **span}
    (folder / "manifest.json").write_text(json.dumps({**content, "created": moment, "files": [file]}))
    return folder


@pytest.mark.parametrize("path", PATHS)
def test_a_manifest_names_only_files_of_its_own_folder(tmp_path: Path, path: Any) -> None:
    """One that somebody else wrote once had an export delete whatever it named."""
    (tmp_path / "victim").write_text("victim")
    with pytest.raises(UsageError, match="manifest"):
        lake.whole(lake_of(tmp_path / "lake", path))
    with pytest.raises(UsageError, match="manifest"), lake.opened(tmp_path / "lake"):
        pass
    assert (tmp_path / "victim").read_text() == "victim"


@pytest.mark.slow
def test_a_folder_with_a_foreign_manifest_has_nothing_of_others_deleted(
    here: Here, tmp_path: Path, embedded_database: str
) -> None:
    (tmp_path / "victim").write_text("victim")
    lake_of(tmp_path / "lake", "../victim")
    (tmp_path / "cdr.toml").write_text(f'database.url = "{embedded_database}"\n')
    span = ("--from", "2024-05-01T00:00Z", "--to", "2024-06-01T00:00Z")
    for words in (("export", *span, "--out", "lake"), ("export", "--verify", "--out", "lake")):
        assert here(*words, "--config", "cdr.toml").code == 2
    assert (tmp_path / "victim").read_text() == "victim"


@pytest.mark.parametrize("name", ["../x", "/x", ".", "..", "", "a/b", "\0", "n\n", "x" * 5000, "%2e%2e"])
def test_a_recorder_is_one_folder_whatever_it_is_called(name: str) -> None:
    path = lake.path_of("2024-05", name)
    assert len(Path(path).parts) == 4
    assert ".." not in Path(path).parts
    assert "\0" not in path
    assert len({lake.path_of("2024-05", each) for each in (name, name + "x", None)}) == 3


# Who may read what we write -------------------------------------------------------------------------------------


@pytest.fixture
def open_handed() -> Iterator[None]:
    """A user whose new files are everybody's."""
    before = os.umask(0)
    yield
    os.umask(before)


def closed(path: Path) -> bool:
    return not stat.S_IMODE(path.stat().st_mode) & 0o077


@pytest.mark.slow
def test_an_export_and_a_report_are_closed_to_others_until_their_owner_opens_them(
    here: Here, tmp_path: Path, embedded_database: str, open_handed: None
) -> None:
    with connection(embedded_database) as opened:
        insert(opened, "1", {})
    (tmp_path / "cdr.toml").write_text(f'database.url = "{embedded_database}"\n')
    span = ("--from", "2024-05-01T00:00Z", "--to", "2024-05-03T00:00Z", "--config", "cdr.toml")
    assert here("export", *span, "--out", "lake").code == 0
    assert here("report", *span, "--out", "page").code in (0, 5)
    assert closed(tmp_path / "lake")
    assert closed(tmp_path / "page")
    (tmp_path / "lake").chmod(0o755)
    assert here("export", *span, "--out", "lake").code == 0
    assert not closed(tmp_path / "lake"), "what its owner has opened stays open"


@pytest.mark.slow
def test_the_embedded_server_and_its_socket_are_for_nobody_else(public_folder: Path, open_handed: None) -> None:
    """Whoever reaches the socket is let in without a password, so nobody may; and no port is open."""
    cluster = embedded.cluster(public_folder)
    with embedded.shared(cluster):
        cluster.start()
        assert closed(cluster.data)
        assert closed(cluster.socket)
        with connection(cluster.url()) as opened:
            assert opened.execute("SHOW listen_addresses").fetchone() == ("",)
        cluster.socket.chmod(0o777)
        cluster.start()
        assert closed(cluster.socket), "one that was open is closed by the next start"
        if os.geteuid() == 0:
            words = ["/usr/bin/test", "-S", str(cluster.socket / ".s.PGSQL.5432")]
            assert subprocess.run(words, check=False).returncode == 0
            assert subprocess.run(words, user="daemon", check=False, cwd="/").returncode == 1
    cluster.socket.rmdir()


def test_a_link_in_place_of_the_servers_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root it was once followed, and what it leads to given to the server's user."""
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o755)
    cluster = embedded.Cluster(embedded.programs(), tmp_path / "data")
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    cluster.socket.symlink_to(victim)
    before = victim.stat()
    with pytest.raises(UsageError, match="is a link"):
        cluster.start()
    assert (victim.stat().st_uid, victim.stat().st_mode) == (before.st_uid, before.st_mode)
