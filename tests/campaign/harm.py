"""What can happen to a data_dir: its disk is small and full, its journals are damaged."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

DISK = "24m"
BALLAST = "ballast"


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """A file system of `DISK` on `folder`; False where none can be mounted: that takes root, and not every place."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "cdr-campaign", str(folder)]
    mounted = subprocess.run(words, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            unmount(folder)


def unmount(folder: Path) -> None:
    """Let go of such a file system; does nothing where there is none."""
    subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=False)


def fill(folder: Path) -> None:
    """Leave no room on its disk."""
    with (folder / BALLAST).open("wb", buffering=0) as ballast:
        for size in (1 << 20, 1 << 12):
            try:
                while ballast.write(b"\0" * size) == size:
                    pass
            except OSError:
                continue


def empty(folder: Path) -> None:
    """Give the room back."""
    (folder / BALLAST).unlink(missing_ok=True)


DAMAGES = ("flipped", "removed", "truncated")


def damage(journals: Path, how: str, seed: int) -> int:
    """Damage the last segment of each journal in a dead worker's folder; how many there were.

    `flipped`: a tenth of the bytes behind its first page, and of its log. `removed`: the segment with its log.
    `truncated`: it ends somewhere, and its log too.
    """
    dice = Random(seed)
    segments = [max(found) for each in sorted(_folders(journals)) if (found := list(each.glob("*.sqlite")))]
    for segment in segments:
        for path in (segment, segment.with_name(f"{segment.name}-wal"), segment.with_name(f"{segment.name}-shm")):
            if path.exists():
                _damage(path, how, dice)
    return len(segments)


def _folders(journals: Path) -> Iterator[Path]:
    """Those that nobody has set aside, and that are whole."""
    if journals.exists():
        yield from (each for each in journals.iterdir() if each.is_dir() and "." not in each.name)


def _damage(path: Path, how: str, dice: Random) -> None:
    if how == "removed":
        path.unlink()
        return
    content = bytearray(path.read_bytes())
    if how == "truncated":
        del content[dice.randrange(len(content) + 1) :]
    else:
        for index in range(4096, len(content)):
            if dice.random() < 0.1:
                content[index] ^= 0xFF
    path.write_bytes(content)
