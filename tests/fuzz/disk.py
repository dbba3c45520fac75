"""What stands on a disk, ours or another's: metadata files and their names, journal segments, stored elements, and what
is kept in quarantine."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from fuzz.law import Target, refused
from fuzz.wire import DOCUMENTS, INTERPRETER, NOON, NOTES, READER

from etl.errors import CdrError, JournalDamaged, JournalFull
from etl.history.files import FileRead, Problem, Trouble, scan
from etl.jobs.retry import _read
from etl.journal import Journal, Limits, adopt
from etl.model import Draft, Entry, What
from etl.store.elements import pack, unpack
from etl.store.quarantine import Item

_MEMORY = Path("/dev/shm")
ENTRIES = 24


@contextmanager
def _folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="cdr-fuzz-", dir=_MEMORY if _MEMORY.is_dir() else None))
    try:
        yield path
    finally:
        shutil.rmtree(path)


# Metadata files --------------------------------------------------------------------------------------------------


def tree(data: bytes) -> None:
    """A folder of any make is gone through: every metadata file is read as it is, or told, once.

    Each line makes something: its first byte says what (folder, link, pipe, a file else), the rest is its name.
    """
    with _folder() as root:
        made = {root}
        folder = root
        for line in data.split(b"\n")[:40]:
            name = os.fsdecode(line[1:60].replace(b"/", b"_").replace(b"\0", b"_"))
            if name in ("", ".", ".."):
                continue
            with suppress(OSError):
                folder = _make(line[:1], folder / name, root)
                made.add(folder)
        told: list[Problem] = []
        read = list(scan([root], None, 64, told.append))
        _all_read(root, read, told)


def _make(kind: bytes, path: Path, root: Path) -> Path:
    """Make it, if there is nothing of its name; returns the folder in which the next one is made."""
    if os.path.lexists(path):
        return path.parent
    if kind == b"d":
        path.mkdir()
        return path
    if kind == b"l":
        path.symlink_to(root)
    elif kind == b"x":
        path.symlink_to("nowhere")
    elif kind == b"p":
        os.mkfifo(path)
    else:
        path.write_bytes(kind * 100 if kind > b"m" else kind)
    return path.parent


def _all_read(root: Path, read: list[FileRead], told: list[Problem]) -> None:
    there = [os.path.join(at, name) for at, _, names in os.walk(root) for name in names if name[-4:].lower() == ".xml"]  # noqa: PTH118
    dealt = [each.path for each in read] + [each.path for each in told if each.trouble is not Trouble.LOOP]
    assert set(there) <= set(dealt)
    assert all(each.told.strip() for each in told)
    for each in read:
        assert each.body == Path(each.path).read_bytes()


# Our journal -----------------------------------------------------------------------------------------------------


@cache
def _journal() -> tuple[dict[str, bytes], list[Entry]]:
    """The files of a journal of several segments, and its entries."""
    with _folder() as root:
        journal = Journal.create(root, Limits(segment_bytes=3_000))
        for number in range(1, ENTRIES + 1):
            body = b"%d" % number * 200
            journal.append(
                Draft(NOON + timedelta(seconds=number), "ny-1", UUID(int=1), What.DOCUMENT, body, {"n": number})
            ).result(10)
        journal.finish(10)
        entries = journal.read(0, ENTRIES + 1, 1 << 20)
        journal._shelf.close()
        files = {path.name: path.read_bytes() for path in journal.path.glob("*.sqlite*")}
        journal.close()
    return files, entries


def journal(data: bytes) -> None:
    """A journal with any bytes changed gives the entries that were written up to the damage, which is named; none is
    ever another, and none is missing in silence.

    Five bytes make a change: file, position (three bytes), and what to write there; 255 cuts the file off.
    """
    files, written = _journal()
    changed = dict(files)
    for at in range(0, min(len(data) - 4, 50), 5):
        name = sorted(files)[data[at] % len(files)]
        body, value = changed[name], data[at + 4]
        place = int.from_bytes(data[at + 1 : at + 4], "big") % max(len(body), 1)
        changed[name] = body[:place] if value == 255 else body[:place] + bytes([value]) + body[place + 1 :]
    with _folder() as root:
        folder = root / str(uuid4())
        folder.mkdir()
        for name, body in changed.items():
            (folder / name).write_bytes(body)
        found, whole = _read_all(root)
    assert found == written[: len(found)], "an entry is not what was written"
    assert whole is False or len(found) == len(written), "entries are missing, and nobody says so"


def _read_all(root: Path) -> tuple[list[Entry], bool]:
    """The entries up to damage, and whether there was none."""
    found: list[Entry] = []
    adopted = adopt(root)
    whole = not adopted.refused
    for each in adopted.journals:
        with each:
            try:
                end = each.last_sequence
                while len(found) < end and (page := each.read(len(found), 7, 10_000)):
                    found += page
            except (JournalDamaged, JournalFull):
                whole = False
    return found, whole


# The archive -----------------------------------------------------------------------------------------------------


def element(data: bytes) -> None:
    """Any bytes are packed and come back; any bytes are unpacked, in bounds, or refused."""
    assert unpack(pack(data)) == data
    with refused(CdrError):
        found = unpack(data)
        assert len(found) <= 1100 * len(data) + 8192
        assert unpack(pack(found)) == found


def retry(data: bytes) -> None:
    """What stands in quarantine is read again, or there is a word why not. The first line is its note, in JSON."""
    head, _, body = data.partition(b"\n")
    try:
        note: Any = json.loads(head)
        json.dumps(note).encode()
    except (ValueError, RecursionError):
        note = {}
    if not isinstance(note, dict):
        note = {}
    for recorder in ("ny-1", None):
        item = Item(
            1, NOON, recorder, "stream" if recorder else "http", "no_id", None, note, len(body), "open", NOON, None
        )
        told, reason = _read(INTERPRETER, READER, item, body)
        assert reason or not told.quarantined


_NOTES = tuple(
    json.dumps(note).encode() for note in (*NOTES, *({"kind": kind} for kind in ("list", "file", "http", "detail")))
)

TARGETS = (
    Target(
        "tree",
        tree,
        (
            b"fa.xml\nda\nfb.XML\nlup\nxgone.xml\nppipe.xml\nzlong.xml",
            b"dx.xml\nfx.xml",
            b"f\xff.xml\nf\xed\xa0\x80.xml",
        ),
        (b".xml", b"\n", b"d", b"l", b"x", b"p", b"f", b"\xff", b" ", b"\r", b"..", b"-", b"*"),
    ),
    Target("journal", journal, (b"\0\0\0\0\0", b"\x01\0\x10\0\xff", b"\x02\x00\x20\x05\x07" * 3)),
    Target(
        "element",
        element,
        (pack(DOCUMENTS[3]), pack(DOCUMENTS[3])[:-3], b"\0abc", b"\2", b"", b"\1\x03\0"),
        (b"\0", b"\1", b"\2", b"\xff"),
    ),
    Target("retry", retry, tuple(note + b"\n" + body for note in _NOTES for body in DOCUMENTS[3:10:2])),
)
