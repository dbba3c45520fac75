"""Metadata files as typed records: what a plain script would make of them for a loader. Needs lxml alone.

Every field that we have a column for, and the document as text. Nothing is checked: a text that does not fit ends it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from lxml import etree

from etl.fields import FIELDS, FieldType

ZONE = ZoneInfo("America/New_York")


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZONE).astimezone(UTC)


def _seconds(text: str) -> int:
    hours, minutes, seconds = text.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + int(float(seconds))


_READERS: dict[FieldType, Callable[[str], Any]] = {
    FieldType.TEXT: str,
    FieldType.INTEGER: int,
    FieldType.BOOLEAN: lambda text: text.lower() in ("true", "1"),
    FieldType.TIME: _time,
    FieldType.INTERVAL: _seconds,
}
_BY_WIRE_NAME = {field.wire_name: (field.name, _READERS[field.type]) for field in FIELDS}


def bodies(root: Path) -> Iterator[bytes]:
    """The content of every file."""
    for folder, _, names in os.walk(root):
        for name in names:
            with open(f"{folder}/{name}", "rb") as file:  # noqa: PTH123 - faster, and it is the loaders' time
                yield file.read()


def record(body: bytes) -> dict[str, Any]:
    """A file's record: only the columns it has a value for."""
    found: dict[str, Any] = {"document": body.decode()}
    for child in etree.fromstring(body):
        text = child.text
        if not text:
            continue
        if column := _BY_WIRE_NAME.get(str(child.tag)):
            name, read = column
            found[name] = read(text)
        elif child.tag == "id":
            found["call_id"] = text
    return found
