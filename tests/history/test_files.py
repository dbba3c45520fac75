"""Finding metadata files in folders, and reading them."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.history.files import FileRead, Piece, Place, Problem, Region, Trouble, read_file, scan, walk

LIMIT = 1_000_000
WRITTEN = datetime(2024, 5, 1, 12, 0, 0, 250_000, tzinfo=UTC)


@pytest.fixture
def problems() -> list[Problem]:
    """What a walk complained of."""
    return []


def put(path: Path, body: bytes = b"<a/>", at: datetime = WRITTEN) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    os.utime(path, (at.timestamp(), at.timestamp()))
    return path


def found(root: Path, tell: Callable[[Problem], None]) -> list[str]:
    return [os.path.relpath(path, root) for piece in walk(str(root), tell) for path in piece.paths]


def test_every_xml_file_is_found_at_any_depth_in_any_case_and_nothing_else(
    tmp_path: Path, problems: list[Problem]
) -> None:
    for name in ("a.xml", "b.XML", "deep/er/c.Xml", "dir.xml/d.xml", "e.xml.partial", "xml", "f.wav"):
        put(tmp_path / name)
    assert sorted(found(tmp_path, problems.append)) == ["a.xml", "b.XML", "deep/er/c.Xml", "dir.xml/d.xml"]
    assert problems == []


def test_a_file_that_is_asked_for_by_itself_is_read_whatever_it_is_called(
    tmp_path: Path, problems: list[Problem]
) -> None:
    path = put(tmp_path / "record.txt")
    assert list(walk(str(path), problems.append)) == [Piece(str(tmp_path), ("record.txt",), None)]


def test_a_folder_comes_in_pieces_and_is_never_held_as_a_whole(tmp_path: Path, problems: list[Problem]) -> None:
    for number in range(25):
        put(tmp_path / f"{number}.xml")
    pieces = list(walk(str(tmp_path), problems.append, size=10))
    assert [len(piece.names) for piece in pieces] == [10, 10, 5]
    assert [piece.place.entries for piece in pieces if piece.place] == [10, 20, 25]


def test_what_is_known_to_be_done_is_left_out_but_folders_in_it_are_entered(
    tmp_path: Path, problems: list[Problem]
) -> None:
    for number in range(30):
        put(tmp_path / f"{number}.xml")
        put(tmp_path / f"folder{number}/{number}.xml")
    whole = list(walk(str(tmp_path), problems.append, size=10))
    own = [piece for piece in whole if piece.folder == str(tmp_path)]
    rest = list(walk(str(tmp_path), problems.append, {str(tmp_path): own[1].place}.get, size=10))
    assert {path for piece in rest for path in piece.paths} == {
        path for piece in whole if piece not in own[:2] for path in piece.paths
    }


@pytest.mark.parametrize("change", ["renamed", "fewer"])
def test_a_folder_that_changed_where_it_was_done_is_done_again(
    tmp_path: Path, problems: list[Problem], change: str
) -> None:
    for number in range(10):
        put(tmp_path / f"{number}.xml")
    (piece,) = walk(str(tmp_path), problems.append)
    if change == "renamed":
        (tmp_path / "3.xml").rename(tmp_path / "new.xml")
    else:
        (tmp_path / "3.xml").unlink()
    (again,) = walk(str(tmp_path), problems.append, {str(tmp_path): piece.place}.get)
    assert sorted(again.names) == sorted(each.name for each in tmp_path.iterdir())


def moment(folder: Path) -> datetime:
    """A moment later than all that was done to files before: their times move in ticks."""
    path, before = put(folder / "clock"), 0.0
    while (at := path.stat().st_ctime) <= (before := before or at):
        put(path)
    return datetime.fromtimestamp(at, UTC)


def overwrite(path: Path) -> None:
    put(path, b"<b/>", at=datetime.now(UTC))


def replace_by_an_older_one(path: Path) -> None:
    other = put(path.parent.parent / "other.xml", b"<b/>", at=WRITTEN - timedelta(days=1))
    other.rename(path)


def overwrite_and_turn_back(path: Path) -> None:
    put(path, b"<b/>", at=WRITTEN - timedelta(days=1))


@pytest.mark.parametrize("size", [1, 10])
@pytest.mark.parametrize("change", [overwrite, replace_by_an_older_one, overwrite_and_turn_back])
def test_a_file_that_changed_since_it_was_done_is_handed_out_again(
    tmp_path: Path, problems: list[Problem], size: int, change: Callable[[Path], None]
) -> None:
    """Whatever its modification time; and what is noted of it takes nothing back of what is done."""
    root = tmp_path / "files"
    for number in range(10):
        put(root / f"{number}.xml")
    first, second = walk(str(root), problems.append, size=5)
    since = moment(tmp_path)
    change(root / first.names[1])
    assert first.place
    known = {str(root): replace(first.place, since=since)}
    again = list(walk(str(root), problems.append, known.get, size=size))
    assert [name for piece in again for name in piece.names] == [first.names[1], *second.names]
    assert all(piece.place is None or piece.place.entries >= 5 for piece in again)


Tree = dict[str, "Tree | None"]
names = st.sampled_from(["a.xml", "b.XML", "c.xml", "d.txt", "e", "f.xml", "g"])
trees: st.SearchStrategy[Tree] = st.recursive(
    st.dictionaries(names, st.none(), max_size=6), lambda inner: st.dictionaries(names, inner | st.none(), max_size=6)
)


def plant(tree: Tree, folder: Path) -> None:
    for name, inner in tree.items():
        if inner is None:
            (folder / name).write_bytes(b"")
        else:
            (folder / name).mkdir()
            plant(inner, folder / name)


def xml_files(tree: Tree, folder: Path) -> Iterator[str]:
    for name, inner in tree.items():
        if inner is not None:
            yield from xml_files(inner, folder / name)
        elif name.lower().endswith(".xml"):
            yield str(folder / name)


@pytest.mark.slow
@settings(deadline=None)
@given(tree=trees, size=st.integers(1, 3), data=st.data())
def test_any_tree_stopped_anywhere_and_changed_there_is_read_whole(tree: Tree, size: int, data: st.DataObject) -> None:
    """What the first walk handed out up to a stop is done; a second one hands out all the rest, and what is new."""
    with tempfile.TemporaryDirectory() as name:
        root, problems = Path(name), list[Problem]()
        plant(tree, root)
        pieces = list(walk(str(root), problems.append, size=size))
        stop = data.draw(st.integers(0, len(pieces)), "stop")
        ledger: dict[str, Place] = {piece.folder: piece.place for piece in pieces[:stop] if piece.place}
        done = {path for piece in pieces[:stop] for path in piece.paths}
        late = data.draw(st.sets(st.sampled_from([str(root / "late.xml"), str(root / "h" / "late.xml")])), "late")
        for path in late:
            put(Path(path))
        again = {path for piece in walk(str(root), problems.append, ledger.get, size=size) for path in piece.paths}
        assert done | again == {*xml_files(tree, root), *late}
        assert problems == []
        if not late:
            assert not done & again


def test_a_link_that_leads_back_is_told_and_everything_is_read_once(tmp_path: Path, problems: list[Problem]) -> None:
    put(tmp_path / "a/b/1.xml")
    (tmp_path / "a/b/up").symlink_to(tmp_path)
    (tmp_path / "a/b/here").symlink_to(".")
    assert found(tmp_path, problems.append) == ["a/b/1.xml"]
    assert {(Path(each.path).name, each.trouble) for each in problems} == {("up", Trouble.LOOP), ("here", Trouble.LOOP)}


def test_a_link_to_a_folder_elsewhere_is_followed_where_that_folder_is_asked_for_too(
    tmp_path: Path, problems: list[Problem]
) -> None:
    put(tmp_path / "elsewhere/1.xml")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/media").symlink_to(tmp_path / "elsewhere")
    both = Region([tmp_path / "root", tmp_path / "elsewhere"])
    (piece,) = walk(str(tmp_path / "root"), problems.append, region=both)
    assert isinstance(read_file(piece.paths[0], LIMIT, both), FileRead)
    assert not problems
    assert found(tmp_path / "root", problems.append) == []
    assert [each.trouble for each in problems] == [Trouble.OUTSIDE]


def test_links_that_lead_nowhere_are_told(tmp_path: Path, problems: list[Problem]) -> None:
    """One could have been a folder on a disk that is not mounted."""
    (tmp_path / "gone").symlink_to(tmp_path / "not mounted")
    (tmp_path / "itself").symlink_to("itself")
    assert found(tmp_path, problems.append) == []
    assert {(Path(each.path).name, each.trouble) for each in problems} == {
        ("gone", Trouble.UNREADABLE),
        ("itself", Trouble.UNREADABLE),
    }


def test_a_root_that_is_not_there_is_told_as_a_root(tmp_path: Path, problems: list[Problem]) -> None:
    assert found(tmp_path / "none", problems.append) == []
    assert [(each.root, each.told) for each in problems] == [(True, "No such file or directory")]


def test_a_folder_that_vanishes_before_it_is_entered_is_told_and_the_rest_is_read(
    tmp_path: Path, problems: list[Problem]
) -> None:
    put(tmp_path / "a/1.xml")
    put(tmp_path / "b/2.xml")

    def known(folder: str) -> None:
        if folder == str(tmp_path / "a"):
            (tmp_path / "a/1.xml").unlink()
            (tmp_path / "a").rmdir()

    read = [path for piece in walk(str(tmp_path), problems.append, known) for path in piece.paths]
    assert read == [str(tmp_path / "b/2.xml")]
    assert [(each.path, each.trouble) for each in problems] == [(str(tmp_path / "a"), Trouble.VANISHED)]


def test_a_folder_that_cannot_be_opened_is_told_and_the_rest_is_read(
    tmp_path: Path, problems: list[Problem], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "a/1.xml")
    put(tmp_path / "b/2.xml")
    real = os.scandir

    def scandir(path: str) -> object:
        if path == str(tmp_path / "a"):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert found(tmp_path, problems.append) == ["b/2.xml"]
    assert [(each.path, each.told) for each in problems] == [(str(tmp_path / "a"), "Too many open files")]


@pytest.mark.slow
def test_folders_nested_deeper_than_functions_and_than_files_may_be_open_are_read(
    tmp_path: Path, problems: list[Problem]
) -> None:
    home, depth = Path.cwd(), 1500
    try:
        os.chdir(tmp_path)
        for _ in range(depth):  # each by itself: the whole path is near the longest that there can be
            Path("d").mkdir()
            os.chdir("d")
        Path("1.xml").touch()
    finally:
        os.chdir(home)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = max(int(each) for each in os.listdir("/proc/self/fd")) + 3  # noqa: PTH208 - numbers
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, limits[1]))
    try:
        (path,) = found(tmp_path, problems.append)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        subprocess.run(["rm", "-r", str(tmp_path / "d")], check=True)  # Python's own would nest too deep
    assert path.count("d/") == depth


# Reading --------------------------------------------------------------------------------------------------------


def test_a_file_is_read_with_its_modification_time(tmp_path: Path) -> None:
    path = put(tmp_path / "a.xml", b"<verbacdr/>")
    assert read_file(str(path), LIMIT, Region([path])) == FileRead(str(path), WRITTEN, b"<verbacdr/>", 11)


@pytest.mark.parametrize("more", [0, 1])
def test_a_file_above_the_limit_leaves_its_ends_its_length_and_its_digest(tmp_path: Path, more: int) -> None:
    body = os.urandom(300_000 + more)
    read = read_file(str(put(tmp_path / "a.xml", body)), 300_000, Region([tmp_path]))
    assert isinstance(read, FileRead)
    assert read.size == len(body)
    if not more:
        assert (read.body, read.cut) == (body, "")
        return
    assert read.body == body[: 64 * 1024] + body[-64 * 1024 :]
    assert f"{len(body)} bytes" in read.cut
    assert hashlib.sha256(body).hexdigest() in read.cut


def folder(path: Path) -> None:
    path.mkdir()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def endless_link(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize("make", [folder, pipe, endless_link])
def test_what_is_no_file_is_told_and_nobody_waits_for_it(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "a.xml")
    read = read_file(str(tmp_path / "a.xml"), LIMIT, Region([tmp_path]))
    assert isinstance(read, Problem)
    assert (read.trouble, bool(read.told)) == (Trouble.UNREADABLE, True)


def test_a_file_that_is_gone_has_vanished(tmp_path: Path) -> None:
    read = read_file(str(tmp_path / "a.xml"), LIMIT, Region([tmp_path]))
    assert isinstance(read, Problem)
    assert read.trouble is Trouble.VANISHED


def test_a_name_need_not_be_utf8(tmp_path: Path, problems: list[Problem]) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.xml")).write_bytes(b"<a/>")
    (read,) = scan([tmp_path], None, LIMIT, problems.append)
    assert os.fsencode(read.path).endswith(b"/caf\xe9.xml")


# Scanning -------------------------------------------------------------------------------------------------------


def test_a_scan_gives_what_was_modified_since(tmp_path: Path, problems: list[Problem]) -> None:
    put(tmp_path / "old.xml", at=datetime(2024, 4, 30, tzinfo=UTC))
    put(tmp_path / "just.xml", at=WRITTEN)
    read = list(scan([tmp_path, tmp_path / "just.xml"], WRITTEN, LIMIT, problems.append))
    assert [Path(each.path).name for each in read] == ["just.xml", "just.xml"]
    assert len(list(scan([tmp_path], None, LIMIT, problems.append))) == 2


def test_a_scan_tells_what_it_cannot_give(tmp_path: Path, problems: list[Problem]) -> None:
    put(tmp_path / "large.xml", b"x" * 11)
    put(tmp_path / "good.xml")
    pipe(tmp_path / "pipe.xml")
    assert [each.body for each in scan([tmp_path, tmp_path / "none"], None, 10, problems.append)] == [b"<a/>"]
    assert {Path(each.path).name for each in problems} == {"large.xml", "pipe.xml", "none"}


def test_links_that_lead_to_links_are_not_followed_in_all_their_combinations(tmp_path: Path) -> None:
    """Thirty folders with a link beside each were a billion ways to the last one: the reading never ended."""
    folder = tmp_path
    for _ in range(30):
        (folder / "inner").mkdir()
        (folder / "link").symlink_to("inner")
        folder = folder / "inner"
    (folder / "x.xml").write_bytes(b"<a/>")
    told: list[Problem] = []
    read = [path for piece in walk(str(tmp_path), told.append) for path in piece.paths]
    assert str(folder / "x.xml") in read
    assert len(read) <= 31
    assert {each.trouble for each in told} == {Trouble.LOOP}
