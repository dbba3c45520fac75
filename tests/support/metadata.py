"""Metadata files as a recorder leaves them, small and by the thousand."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

BEGIN = datetime(2024, 4, 1, tzinfo=UTC)
"""When the first call began; another one begins every ten minutes."""
_UUID_EPOCH = datetime(1582, 10, 15, tzinfo=UTC)


def call_id(number: int) -> str:
    """A version 1 id of the moment at which this call began."""
    ticks = (BEGIN + timedelta(minutes=10) * number - _UUID_EPOCH) // timedelta(microseconds=1) * 10
    return str(
        UUID(fields=(ticks & 0xFFFFFFFF, ticks >> 32 & 0xFFFF, ticks >> 48 & 0x0FFF | 0x1000, 0x80, 0x01, number))
    )


def metadata(number: int, name: str = "Call Agent") -> bytes:
    """The file of one call."""
    start = BEGIN + timedelta(minutes=10) * number
    return (
        f"<verbacdr><ccdr_id>{call_id(number)}</ccdr_id><source_name>{name}</source_name><location>ny-1</location>"
        f"<start_time>{start:%Y-%m-%d %H:%M:%S}.000</start_time>"
        f"<end_time>{start + timedelta(seconds=90):%Y-%m-%d %H:%M:%S}.000</end_time></verbacdr>"
    ).encode()


def write(path: Path, body: bytes, at: datetime = BEGIN) -> Path:
    """A file of a known age."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    os.utime(path, (at.timestamp(), at.timestamp()))
    return path


def write_flat(folder: Path, count: int, first: int = 0) -> None:
    """`count` files in one folder."""
    for number in range(first, first + count):
        write(folder / f"{number}.xml", metadata(number))


def write_nested(folder: Path, count: int, first: int = 0) -> None:
    """`count` files in folders within folders, which also hold files themselves."""
    for number in range(first, first + count):
        parts = [folder, *(Path(digit) for digit in str(number)[:-1])]
        write(Path(*parts) / f"{number}.XML", metadata(number))
