"""Metadata files: finds them below any folder, and reads them one at a time. Sources: section 5 of the protocol.

Nobody documents where they lie, so every `*.xml` counts, in any case of these letters and at any depth. A folder is
read in the order that the operating system gives, and never held as a whole: one may have ten million files.
Whatever cannot be read is told to the caller and leaves the rest alone.

Links are followed within the folders that were asked for, and not out of them: whoever may write there, a recorder or
its share on the network, could have us read any file of this machine with our rights.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import blake2b
from pathlib import Path
from typing import TypeAlias

from etl.protocol.markup import Excerpt

PIECE = 1000
"""How many names of a folder are handed out at once."""

_ONLY_LOOK = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
"""Whatever carries the name: opening a pipe must not wait for somebody to write, nor a terminal become ours."""
_BLOCK = 1 << 20


class Trouble(StrEnum):
    """What can be wrong with a file or folder."""

    UNREADABLE = "unreadable"
    VANISHED = "vanished"
    """It was there a moment ago: moved or deleted, as recorders do together with the media."""
    LOOP = "loop"
    """A link leads back to a folder above it, or where another link led. Nothing is missing: that folder is read
    anyway."""
    OUTSIDE = "outside"
    """A link leads out of the folders that were asked for."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a file or folder was not read. `told` is for the user. `root`: it is one of those that were asked for."""

    path: str
    trouble: Trouble
    told: str
    root: bool = False


Tell: TypeAlias = Callable[[Problem], None]


@dataclass(frozen=True, slots=True)
class FileRead:
    """A file. `observed_at` is its modification time (UTC), `size` its length in bytes.

    Where `cut` is not empty the file is longer than the limit: `body` is then its first and last 64 kB, and `cut`
    says how long it is, with its SHA-256.
    """

    path: str
    observed_at: datetime
    body: bytes
    size: int
    cut: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """How far a folder is done: its first `entries` entries, in its own order, and the digest of their names.

    Files among them that were modified or replaced at `since` (UTC) or later do not count as done.
    """

    entries: int
    digest: bytes
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """The next metadata files of a folder, by name. `place`: how far the folder is done once they are; None for a
    file that was asked for by itself, and for those that are only read again."""

    folder: str
    names: tuple[str, ...]
    place: Place | None

    @property
    def paths(self) -> list[str]:
        before = os.path.join(self.folder, "")  # noqa: PTH118 - with its slash; for ten million names
        return [before + name for name in self.names]


Known: TypeAlias = Callable[[str], Place | None]
"""Says how far a folder is done already."""


class Region:
    """The folders, and files, that were asked for: all that may be read. `places`: their paths without links."""

    def __init__(self, roots: Iterable[str | os.PathLike[str]]) -> None:
        self.places = tuple(dict.fromkeys(os.path.realpath(root) for root in roots))
        self._below = tuple(os.path.join(place, "") for place in self.places)  # noqa: PTH118 - with a slash

    def outside(self, path: str, real: str) -> Problem | None:
        """What is wrong with a path that is `real`ly this one, if it is none of theirs."""
        if real in self.places or real.startswith(self._below):
            return None
        told = f"it leads to {real}, outside of what was asked for; if that is meant, ask for that folder, too"
        return Problem(path, Trouble.OUTSIDE, told)


def walk(
    root: str, tell: Tell, known: Known = lambda _: None, size: int = PIECE, region: Region | None = None
) -> Iterator[Piece]:
    """All metadata files below a root, or the file that it is; one folder is open at a time. Links to folders are
    followed within the `region`, which is the root if none is given.

    What is `known` to be done of a folder is left out if the same names still stand there in the same order; where
    they don't, the folder is done again. Folders inside it are entered in any case.
    """
    try:
        found = Path(root).stat()
    except OSError as error:
        tell(_problem(root, error, root=True))
        return
    if stat.S_ISDIR(found.st_mode):
        yield from _descend(root, _Tools(tell, known, size, region or Region([root])))
    else:
        folder, name = os.path.split(root)
        yield Piece(folder, (name,), None)


def read_file(path: str, limit: int, region: Region) -> FileRead | Problem:
    """Read a file; of one longer than `limit` bytes only what is worth keeping, in little memory.

    Where it lies is asked of what was opened, for a link can be put in its way at any moment.
    """
    try:
        descriptor = os.open(path, _ONLY_LOOK)
    except (OSError, ValueError) as error:
        return _problem(path, error)
    try:
        return region.outside(path, _place(descriptor)) or _read_open(descriptor, path, limit)
    except (OSError, ValueError, OverflowError) as error:
        return _problem(path, error)
    finally:
        os.close(descriptor)


def scan(roots: Iterable[str | os.PathLike[str]], since: datetime | None, limit: int, tell: Tell) -> Iterator[FileRead]:
    """Every metadata file below the roots that was modified at `since` (UTC) or later, one after the other.

    Whatever cannot be read is told, files above the `limit` (bytes) too.
    """
    region = Region(roots := tuple(roots))
    for root in roots:
        for piece in walk(os.path.abspath(root), tell, region=region):  # noqa: PTH100 - a name need not be UTF-8
            for path in piece.paths:
                read = None if since is not None and _older(path, since) else read_file(path, limit, region)
                if isinstance(read, FileRead) and read.cut:
                    read = Problem(path, Trouble.UNREADABLE, f"too large: {read.cut}")
                if isinstance(read, Problem):
                    tell(read)
                elif read is not None:
                    yield read


def _older(path: str, since: datetime) -> bool:
    """Whether it is known to have been modified before; what cannot be told is for the reader to find out."""
    try:
        return Path(path).stat().st_mtime < since.timestamp()
    except OSError:
        return False


def _place(descriptor: int) -> str:
    """The path of what is open, by the kernel's own knowledge."""
    return os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 - a name need not be UTF-8


def _read_open(descriptor: int, path: str, limit: int) -> FileRead | Problem:
    status = os.fstat(descriptor)  # before the first byte: what is written while we read is newer than we say
    if not stat.S_ISREG(status.st_mode):
        return Problem(path, Trouble.UNREADABLE, "it is no regular file")
    modified = datetime.fromtimestamp(status.st_mtime, UTC)
    body = os.read(descriptor, min(limit, status.st_size) + 1)
    if len(body) != status.st_size:  # else one byte was asked for in vain: it has ended
        while body and len(body) <= limit and (more := os.read(descriptor, min(limit + 1 - len(body), _BLOCK))):
            body += more
    if len(body) <= limit:
        return FileRead(path, modified, body, len(body))
    excerpt = Excerpt()
    excerpt.add(memoryview(body))
    while block := os.read(descriptor, _BLOCK):
        excerpt.add(memoryview(block))
    return FileRead(path, modified, excerpt.kept, excerpt.length, excerpt.told())


# Folders --------------------------------------------------------------------------------------------------------


class _Moved(Exception):
    """What stands in a folder is not what stood there when its first entries were done."""


@dataclass(frozen=True, slots=True)
class _Tools:
    """What goes along into every folder of a walk. `linked`: the folders that a link has led to (device and inode)."""

    tell: Tell
    known: Known
    size: int
    region: Region
    linked: set[tuple[int, int]] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Open:
    """A folder whose pieces or inner folders are being gone through. `identity`: device and inode, by which a loop is
    seen."""

    identity: tuple[int, int]
    steps: Iterator[Piece | str]


def _descend(root: str, tools: _Tools) -> Iterator[Piece]:
    """Depth first, with a stack of our own: folders can be nested deeper than functions."""
    stack: list[_Open] = []
    step: Piece | str | None = root
    while step is not None or stack:
        if isinstance(step, Piece):
            yield step
        elif step is None:
            stack.pop()
        elif opened := _enter(step, stack, tools):
            stack.append(opened)
        step = next(stack[-1].steps, None) if stack else None


def _enter(path: str, above: list[_Open], tools: _Tools) -> _Open | None:
    """Open a folder, unless it is one of those above, or a link has led to it before: of links that lead to links,
    twenty would make a million ways."""
    try:
        status = Path(path).stat()
    except OSError as error:
        tools.tell(_problem(path, error))
        return None
    identity = (status.st_dev, status.st_ino)
    if any(identity == each.identity for each in above):
        tools.tell(Problem(path, Trouble.LOOP, "a link leads back to a folder above it"))
        return None
    if Path(path).is_symlink():
        if identity in tools.linked:
            tools.tell(Problem(path, Trouble.LOOP, "another link has led to the same folder already"))
            return None
        tools.linked.add(identity)
    return _Open(identity, _steps(path, tools))


def _steps(path: str, tools: _Tools) -> Iterator[Piece | str]:
    """The pieces of one folder, then the paths of the folders in it: it is closed by then, since trees are deeper than
    a process may have files open."""
    place, inner = tools.known(path), list[str]()
    try:
        try:
            yield from _listed(path, tools, place, inner)
        except _Moved:
            inner.clear()
            yield from _listed(path, tools, None, inner)
    except OSError as error:
        tools.tell(_problem(path, error))
    for name in inner:
        yield os.path.join(path, name)  # noqa: PTH118


def _listed(path: str, tools: _Tools, done: Place | None, inner: list[str]) -> Iterator[Piece]:
    """One reading of a folder, with the names of its `inner` folders; raises `_Moved` where what is done is not found
    again, `OSError`."""
    digest, count, skipped = blake2b(digest_size=16), 0, done.entries if done else 0
    names: list[str] = []
    with os.scandir(path) as entries:
        for entry in entries:
            count += 1
            digest.update(os.fsencode(entry.name) + b"\0")
            if _is_folder(entry, tools):
                inner.append(entry.name)
            elif _is_metadata(entry.name) and (count > skipped or _changed(entry, done)):
                names.append(entry.name)
            if done and count == skipped and digest.digest() != done.digest:
                raise _Moved
            if len(names) >= tools.size:
                yield Piece(path, tuple(names), Place(count, digest.digest()) if count >= skipped else None)
                names.clear()
    if count < skipped:
        raise _Moved
    if names:
        yield Piece(path, tuple(names), Place(count, digest.digest()))


def _changed(entry: os.DirEntry[str], done: Place | None) -> bool:
    """Whether a file was modified since it was done; of one that is gone by now there is nothing new.

    Whoever puts another file in its place, or gives it an older modification time, changes its status now.
    """
    if done is None or done.since is None:
        return False
    try:
        status = entry.stat()
    except OSError:
        return False
    return max(status.st_mtime, status.st_ctime) >= done.since.timestamp()


def _is_metadata(name: str) -> bool:
    return name[-4:].lower() == ".xml"


def _is_folder(entry: os.DirEntry[str], tools: _Tools) -> bool:
    """Whether it is to be entered. A link that leads nowhere could have led to a folder, and is told; one that is
    called like a metadata file is told when it is read."""
    try:
        if entry.is_dir():
            return not entry.is_symlink() or _leads_inside(entry.path, tools)
        if entry.is_symlink() and not _is_metadata(entry.name):
            entry.stat()
    except OSError as error:
        if not _is_metadata(entry.name):
            tools.tell(_problem(entry.path, error))
    return False


def _leads_inside(link: str, tools: _Tools) -> bool:
    problem = tools.region.outside(link, os.path.realpath(link))
    if problem:
        tools.tell(problem)
    return problem is None


def _problem(path: str, error: Exception, *, root: bool = False) -> Problem:
    said = (error.strerror if isinstance(error, OSError) else None) or str(error)
    vanished = isinstance(error, FileNotFoundError) and not os.path.lexists(path) and not root
    return Problem(path, Trouble.VANISHED if vanished else Trouble.UNREADABLE, said, root)
