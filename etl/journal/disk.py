"""Folders of the journal: made, locked, renamed and deleted so that a power cut undoes none of it by halves.

A name is only on disk once its folder was synced, so whatever makes or moves a name syncs the folder after
it. (SQLite does the same for the files it makes itself, such as the write-ahead log.)
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from etl.errors import JournalDamaged, JournalError, JournalFull

LOCK_NAME = "owner.lock"

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM}


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn errors of the operating system into ours.

    Raises:
        JournalFull: no room, a failing or read-only disk, or too many open files: waiting can help.
        JournalDamaged: the file or folder is gone.
        JournalError: anything else, such as missing rights.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise JournalDamaged(str(path), f"it is gone ({error})") from error
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise JournalFull(str(path), f"{error.strerror}; make room on its disk") from error
        reason = f"{error.strerror}; check that this user owns it and may read and write it"
        raise JournalError(str(path), reason) from error


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a private folder (0700), with the folders above it where they are missing."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    sync_folder(folder.parent)


def make_file(path: Path) -> None:
    """Make an empty private file (0600); SQLite gives the files beside it the same mode.

    Only for files that SQLite has not opened yet: closing any descriptor of a file drops the locks that
    SQLite holds on it in this process.
    """
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def rename(source: Path, target: Path) -> None:
    """Give a file or folder another name beside its old one, for good."""
    source.rename(target)
    sync_folder(target.parent)


def delete_folder(folder: Path) -> None:
    """Delete a folder that we hold the lock of: its lock last, so that one without a lock is always empty."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK_NAME:
            path.unlink()
    (folder / LOCK_NAME).unlink(missing_ok=True)
    delete_empty(folder)


def delete_empty(folder: Path) -> None:
    """Delete an empty folder; leave one that is not, or that someone else deletes at this moment."""
    with suppress(OSError):
        folder.rmdir()


class Lock:
    """The lock of one journal folder, held while its owner lives; the kernel drops it when the owner dies.

    It belongs to the open file, not to the process: a second attempt by the same process fails as well.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    @classmethod
    def take(cls, folder: Path, *, make: bool = True) -> Self | None:
        """Lock `folder` without waiting; None where someone else holds it or has just deleted it.

        Raises:
            FileNotFoundError: the folder is gone, or without `make`, it has no lock file.
            OSError: the lock file cannot be opened.
        """
        path = folder / LOCK_NAME
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if make else 0), 0o600)
        lock = cls(descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.release()
            return None
        if not _is_named(descriptor, path):  # its holder deleted the folder between our open and our lock
            lock.release()
            return None
        return lock

    def sign(self) -> None:
        """Write who holds the lock, for the eyes of humans only."""
        assert self._descriptor is not None, "a released lock cannot be signed"
        os.truncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()} on {socket.gethostname()}\n".encode(), 0)

    def release(self) -> None:
        """Let go of the lock; harmless when it is already released."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _is_named(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
