"""Which exports still hold calls that are deleted or erased here.

What is out of reach is never taken for gone: a folder is looked into, or found missing beside others, or named.
"""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import TypeAlias

from etl.errors import UsageError
from etl.lake.folder import Folder, Left, path_of
from etl.lake.manifest import File
from etl.store import erasure
from etl.store.database import Connection
from etl.store.erasure import Export, Months

_MARGIN = timedelta(minutes=1)
"""So long the transaction of an erasure may take, with ease: an export that began meanwhile may not have seen it, and
one that is listed in vain is only made again."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A folder with exported calls that are deleted or erased here. `files` are the files of it, by their paths in the
    folder; None where it cannot be looked into from this machine."""

    host: str
    folder: str
    files: tuple[str, ...] | None


Found: TypeAlias = tuple[tuple[Copy, ...], tuple[Copy, ...]]
"""Where copies are, and where some were: folders that are gone."""


def deleted(connection: Connection, before: datetime) -> Found:
    """The exports of calls that began before a moment."""
    return _found(erasure.exports(connection), _Deleted(before))


def erased(connection: Connection) -> Found:
    """The exports that still show what was erased, by whatever run."""
    exports = erasure.exports(connection)
    if not exports:
        return (), ()
    return _found(exports, _Erased(erasure.erased_months(connection, exports[0].started_at - _MARGIN)))


# Which calls ------------------------------------------------------------------------------------------------------


class _Calls(ABC):
    """Which calls are looked for: tells whether a file may hold one."""

    @abstractmethod
    def among(self, exports: Sequence[Export]) -> bool:
        """Whether the exports to a folder that cannot be looked into may have left one there."""

    @abstractmethod
    def within(self, file: File) -> bool:
        """Whether a file that the manifest knows holds one."""

    @abstractmethod
    def left_in(self, left: Left, at: datetime | None) -> bool:
        """Whether a file that an export left which began `at` (None: nobody knows) may hold one."""


@dataclass(frozen=True, slots=True)
class _Deleted(_Calls):
    """Calls that began before a moment."""

    before: datetime

    def among(self, exports: Sequence[Export]) -> bool:
        return any(each.start < self.before for each in exports)

    def within(self, file: File) -> bool:
        return (file.min_start or file.start) < self.before

    def left_in(self, left: Left, at: datetime | None) -> bool:
        return left.month <= f"{self.before:%Y-%m}"


@dataclass(frozen=True, slots=True)
class _Erased(_Calls):
    """Calls as they were before they were erased."""

    months: Months

    def among(self, exports: Sequence[Export]) -> bool:
        return any(
            _misses([each for each in exports if _covers(each, month)], at) for (month, _), at in self.months.items()
        )

    def within(self, file: File) -> bool:
        return _is_stale(file.exported_at, self.months.get((file.month, file.recorder)))

    def left_in(self, left: Left, at: datetime | None) -> bool:
        return any(path_of(*place) == left.place and _is_stale(at, erased) for place, erased in self.months.items())


def _is_stale(exported: datetime | None, erased: datetime | None) -> bool:
    """Whether a file that was exported then (None: nobody knows when) shows a call as it was before it was erased."""
    return erased is not None and (exported is None or exported < erased + _MARGIN)


def _misses(exports: Sequence[Export], at: datetime) -> bool:
    """Whether these exports were made before a call was erased, and not again after that."""
    again = any(each.finished and each.started_at > at + _MARGIN for each in exports)
    return any(each.started_at < at + _MARGIN for each in exports) and not again


def _covers(export: Export, month: str) -> bool:
    return f"{export.start:%Y-%m}" <= month <= f"{export.end:%Y-%m}"


# Which folders ----------------------------------------------------------------------------------------------------


def _found(exports: Sequence[Export], calls: _Calls) -> Found:
    copies, gone = [], []
    for (host, name), rows in groupby(sorted(exports, key=_place), key=_place):
        concerned = calls.among(list(rows))
        here = host == socket.gethostname()
        if here and _is_gone(Path(name)):
            gone += [Copy(host, name, ())] if concerned else []
            continue
        files = _files(Path(name), calls) if here else None
        if files or (files is None and concerned):
            copies.append(Copy(host, name, files))
    return tuple(copies), tuple(gone)


def _place(export: Export) -> tuple[str, str]:
    return export.host, export.folder


def _is_gone(root: Path) -> bool:
    """Whether a folder was removed: others are there in its place. A place that is empty, or not there, may be that of
    a disk that is not mounted."""
    try:
        beside = {path.name for path in root.parent.iterdir()}
    except OSError:
        return False
    return bool(beside) and root.name not in beside


def _files(root: Path, calls: _Calls) -> tuple[str, ...] | None:
    """The files of a folder that hold such calls; None if it cannot be looked into, or no export is in it."""
    try:
        folder = Folder(root)
        left = folder.left()
    except (UsageError, OSError):
        return None
    manifest = folder.manifest
    if manifest is None and not left:
        return None
    noted = [file.path for file in manifest.files if calls.within(file)] if manifest else []
    began = manifest.created if manifest else None
    named = [*noted, *(each.path for each in left if calls.left_in(each, began))]
    return tuple(path for path in named if (root / path).exists())
