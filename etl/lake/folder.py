"""The folder of a lake: who may write there, and how it never claims more than it holds.

`manifest.json` says what is in a folder that is whole. While one is being written there is `unfinished.json` instead,
of the same form, renewed after each month; what ends an export, a power cut too, leaves that, and the next one goes on
from there. A file is written beside its place and renamed.

A name is only on disk once its folder was synced: what is made, renamed or removed is synced, with the folders above
it, before a manifest says so, and the manifest before the command ends.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from etl.errors import CdrError, UsageError
from etl.lake.manifest import File, Manifest, load

CALLS = "calls"
"""The folder inside the folder under which the files lie: the root of what readers are pointed to."""
WHOLE, UNFINISHED = "manifest.json", "unfinished.json"
_NAME = "calls.parquet"
_BESIDE = f".{_NAME}.part"
_NONE = "__HIVE_DEFAULT_PARTITION__"
"""Hive's word for null."""
_EMPTY = "%"
"""A recorder without a name: Hive has no word for it, and no quoted name is this."""
_LONGEST = 200
"""Bytes of a folder's name, of which file systems take 255."""


@dataclass(frozen=True, slots=True)
class Left:
    """A file with calls that no manifest names, by its path in the folder: an export was killed before it noted it.
    `place` is the path of the file that it is or was to become."""

    path: str
    place: str

    @property
    def month(self) -> str:
        """The month of its calls, `YYYY-MM` in UTC."""
        return self.place.split("/")[1].removeprefix("month=")


class LakeFailed(CdrError):
    """The folder cannot be written or read: disk full, read-only, gone. What is finished in it stays."""


def path_of(month: str, recorder: str | None) -> str:
    """Where the calls of a recorder and month lie, relative to the folder: Hive's style, which every reader knows.

    ASCII but for letters, digits, `-`, `_` and `.` is quoted, as Spark does. A name that no file system would take is
    cut off and told apart by a checksum; the manifest has it whole.
    """
    return f"{CALLS}/month={month}/recorder={_NONE if recorder is None else _quoted(recorder)}/{_NAME}"


def _quoted(name: str) -> str:
    if not name:
        return _EMPTY
    if name == _NONE:
        return name.replace("_", "%5F")
    quoted = "".join(
        char if char.isalnum() or char in "-_." or not char.isascii() else f"%{ord(char):02X}" for char in name
    )
    encoded = quoted.encode()
    if len(encoded) <= _LONGEST:
        return quoted
    return f"{encoded[: _LONGEST - 20].decode(errors='ignore')}~{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def _plain(char: str) -> bool:
    return char.isalnum() or char in "-_." or not char.isascii()


class Folder:
    """A folder that this process alone writes to."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._manifest: Manifest | None = None
        for name in (UNFINISHED, WHOLE):
            if (root / name).exists():
                self._manifest = load(root / name)
                break

    @property
    def manifest(self) -> Manifest | None:
        """What is there; None in a new folder."""
        return self._manifest

    def holds(self, file: File) -> bool:
        """Whether a file of the manifest is there, as it was written."""
        return damage(self.root, file) is None

    def left(self) -> list[Left]:
        """What an export left that was killed, or is at work: nothing in it is older than the manifest's `created`."""
        known = self._manifest.by_path() if self._manifest else {}
        found = []
        for path in sorted((self.root / CALLS).glob(f"month=*/recorder=*/*{_NAME}*")):
            place = str(path.with_name(_NAME).relative_to(self.root))
            if path.name == _BESIDE or (path.name == _NAME and place not in known):
                found.append(Left(str(path.relative_to(self.root)), place))
        return found

    def begin(self, manifest: Manifest) -> None:
        """From now on the folder is unfinished. First removes what an export left that was killed: beside the new
        manifest it would pass for as young as that."""
        with told(self.root):
            for each in self.left():
                (self.root / each.path).unlink()
                _sync((self.root / each.path).parent)
            self._save(manifest)
            (self.root / WHOLE).unlink(missing_ok=True)
            _sync(self.root)

    def beside(self, path: str) -> Path:
        """Where to write a file that is to get this path."""
        place = (self.root / path).with_name(_BESIDE)
        with told(place):
            place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def put(self, path: str) -> None:
        """Bring the file that was written beside to its place.

        Whoever made the folders above it, an export that was killed perhaps, need not have synced them.
        """
        place = self.root / path
        with told(self.root):
            _sync(self.beside(path))
            self.beside(path).rename(place)
            for above in place.parents[: len(Path(path).parts)]:
                _sync(above)

    def save(self, files: Iterable[File]) -> None:
        """Note files that have come to their places: whatever happens now, they need not be written again."""
        assert self._manifest is not None
        known = self._manifest.by_path() | {file.path: file for file in files}
        with told(self.root):
            self._save(self._manifest.with_files(known.values()))

    def finish(self, manifest: Manifest) -> None:
        """The folder holds exactly this: what else the manifest knew is removed, with folders that are empty then."""
        assert self._manifest is not None
        with told(self.root):
            for path in self._manifest.by_path().keys() - manifest.by_path().keys():
                self._remove(self.root / path)
            self._save(manifest)
            (self.root / UNFINISHED).rename(self.root / WHOLE)
            _sync(self.root)

    def _remove(self, path: Path) -> None:
        """For good, with folders that are empty then: what a power cut brings back would be read by everybody who reads
        the folder, whatever the manifest says."""
        path.unlink(missing_ok=True)
        for folder in (path.parent, path.parent.parent):
            if folder.exists():
                _sync(folder)
                if not any(folder.iterdir()):
                    folder.rmdir()
                    _sync(folder.parent)

    def _save(self, manifest: Manifest) -> None:
        beside = self.root / f".{UNFINISHED}.part"
        beside.write_text(manifest.dump(), encoding="utf-8")
        _sync(beside)
        beside.rename(self.root / UNFINISHED)
        _sync(self.root)
        self._manifest = manifest


@contextmanager
def opened(root: Path) -> Iterator[Folder]:
    """The folder, made where it is not there, for as long as the block lasts. A new one is closed to other users, since
    calls will lie in it: whom else they are for is for its owner to say.

    Raises `UsageError` where it holds something else than a lake, or where another export is at work.
    """
    with told(root):
        _make(root, mode=0o700)
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock(descriptor, root)
        _refuse_strangers(root)
        yield Folder(root)
    finally:
        os.close(descriptor)


def whole(root: Path) -> Manifest:
    """What a finished folder holds. Raises `UsageError` where there is none."""
    if (root / UNFINISHED).exists():
        raise UsageError(f"{root}: an export was interrupted here: run it again, and it goes on")
    if not (root / WHOLE).exists():
        raise UsageError(f"{root} holds no export: there is no {WHOLE}")
    return load(root / WHOLE)


def damage(root: Path, file: File) -> str | None:
    """What is wrong with a file, None if it is as it was written."""
    path = root / file.path
    try:
        if path.stat().st_size != file.bytes:
            return "has another size"
        return None if checksum(path) == file.sha256 else "has another content"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


@contextmanager
def told(place: Path) -> Iterator[None]:
    """Turn what the file system refuses into an error that says what to do."""
    try:
        yield
    except OSError as error:
        what = f"{place}: {os.strerror(error.errno) if error.errno else error}"
        raise LakeFailed(f"{what}; what is finished is kept: once this is mended, the same command goes on") from error


def _lock(descriptor: int, root: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(f"{root}: another export is writing there") from None


def _refuse_strangers(root: Path) -> None:
    """A folder that is not ours is not touched. What the very beginning leaves, if it is killed, is ours."""
    there = {path.name for path in root.iterdir()} - {f".{UNFINISHED}.part"}
    if there and not there & {WHOLE, UNFINISHED}:
        raise UsageError(f"{root} holds something else: choose a folder that is new, empty or of an earlier export")


def _make(root: Path, mode: int = 0o777) -> None:
    """Make a folder, with those above it where they are missing; `mode` is for itself alone."""
    if not root.is_dir():
        _make(root.parent)
        root.mkdir(mode, exist_ok=True)
    with suppress(PermissionError):  # of a folder that may be entered and not read
        _sync(root.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
