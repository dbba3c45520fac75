"""What a lake's folder holds, file by file: `manifest.json`. All times are UTC."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from etl.errors import UsageError
from etl.model import Interval

_PATH = re.compile(r"calls/month=[^/\0]+/recorder=[^/\0]+/calls\.parquet")
"""What a file of a lake is called. What another path names is not ours to read, replace or remove."""
FORMAT = "cdr-archive calls"
VERSION = 1
"""Of the layout: folders, columns and this file. Another one needs a new folder."""


@dataclass(frozen=True, slots=True)
class File:
    """One file: the calls of a recorder (None: of none that is known) that began in a month of UTC, `YYYY-MM`.

    `path` is relative to the folder. `start` and `end`: the part of the month that was asked for. `fingerprint`
    identifies the calls and the state of their rows, `view` the way they are shown. `exported_at`: the time of the
    newest snapshot that showed just this, be it that the file was written then, or kept. `min_start` and `max_start`
    are None where no call has a start.
    """

    path: str
    month: str
    recorder: str | None
    start: datetime
    end: datetime
    rows: int
    bytes: int
    sha256: str
    min_start: datetime | None
    max_start: datetime | None
    fingerprint: str
    view: str
    exported_at: datetime

    @property
    def span(self) -> Interval:
        """The part of its month that it is about."""
        return Interval(self.start, self.end)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a folder holds. `schema` is the revision of the database that it was read from last; `start` and `end` are
    what the last export asked for, which began to write at `created`; `masked`: numbers and names are pseudonyms."""

    masked: bool
    schema: str
    start: datetime
    end: datetime
    created: datetime
    files: tuple[File, ...] = ()

    def by_path(self) -> dict[str, File]:
        """The files by their path."""
        return {file.path: file for file in self.files}

    def with_files(self, files: Iterable[File]) -> Manifest:
        """The same with other files, in the order of their paths."""
        return replace(self, files=tuple(sorted(files, key=lambda file: file.path)))

    def dump(self) -> str:
        """As JSON, for people and programs."""
        content = {
            "format": FORMAT,
            "version": VERSION,
            "schema": self.schema,
            "masked": self.masked,
            "from": _text(self.start),
            "to": _text(self.end),
            "created": _text(self.created),
            "rows": sum(file.rows for file in self.files),
            "bytes": sum(file.bytes for file in self.files),
            "files": [_as_json(file) for file in self.files],
        }
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


_RENAMED = {"start": "from", "end": "to"}
_TIMES = ("start", "end", "min_start", "max_start", "exported_at")


def load(path: Path) -> Manifest:
    """Read a manifest. Raises `UsageError` where it is none, or of another version of the layout."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise KeyError(FORMAT)
        if content["version"] != VERSION:
            raise UsageError(f"{path}: this folder has another layout ({content['version']}): export to a new one")
        start, end, created = (datetime.fromisoformat(content[name]) for name in ("from", "to", "created"))
        files = tuple(_from_json(file) for file in content["files"])
        return Manifest(content["masked"], content["schema"], start, end, created, files)
    except (ValueError, KeyError, TypeError, RecursionError, OSError) as error:
        raise UsageError(f"{path} is no manifest of an export: export to a new folder") from error


def _as_json(file: File) -> dict[str, Any]:
    return {_RENAMED.get(each.name, each.name): _text(getattr(file, each.name)) for each in fields(file)}


def _from_json(content: Mapping[str, Any]) -> File:
    values = {each.name: content[_RENAMED.get(each.name, each.name)] for each in fields(File)}
    if not _PATH.fullmatch(values["path"]):
        raise ValueError(values["path"])
    for name in _TIMES:
        values[name] = values[name] and datetime.fromisoformat(values[name])
    return File(**values)


def _text(value: object) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
