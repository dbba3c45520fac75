"""The journal as the product sees it, in memory: a commit takes its time, and a kill cuts off what was not committed.

In some worlds the journal is the product's own, with all that SQLite does.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID
from weakref import WeakValueDictionary

from explore.threads import here, world
from explore.world import Host, Process, World

from etl.errors import JournalDamaged, JournalError, JournalFull
from etl.journal import Adoption, Journal, Limits
from etl.journal import adopt as really_adopt
from etl.journal.writer import Tape
from etl.model import Draft, Entry, What

ROOM = 12
"""Drafts that may wait for the disk: few, so that a slow disk is felt soon."""


@dataclass(eq=False)
class Folder:
    """A journal on disk. `opened`: the world's time at which each session began, `times` that of the receipt of each
    entry, in their order. `damaged_from`: the first entry that
    cannot be read any more."""

    id: UUID
    path: Path
    owner: Process
    owner_host: Host
    entries: list[Entry] = field(default_factory=list)
    opened: dict[UUID, float] = field(default_factory=dict)
    times: list[float] = field(default_factory=list)
    damaged_from: int | None = None

    def __post_init__(self) -> None:
        self.maker = self.owner

    @property
    def readable(self) -> list[Entry]:
        return self.entries if self.damaged_from is None else self.entries[: self.damaged_from - 1]


@dataclass
class Disks:
    """All journals of a world, and how fast their disks are. `kept` also has the journals that are gone by now; `real`:
    they are the product's own."""

    world: World
    slow: float = 0.0
    real: bool = False
    kept: dict[UUID, Folder] = field(default_factory=dict)
    lost: set[UUID] = field(default_factory=set)
    on_removed: Callable[[Folder], None] = lambda folder: None
    """Told of every journal in memory that a worker deletes."""

    @property
    def folders(self) -> dict[UUID, Folder]:
        """Those that are there."""
        return {key: folder for key, folder in self.kept.items() if folder.path.exists()}

    def orphans(self, root: Path) -> list[Folder]:
        return [each for each in self.folders.values() if each.path.parent == root and each.owner.dead]

    def damage(self, folder: Folder) -> None:
        if self.real:
            return
        folder.damaged_from = self.world.dice.randint(1, max(len(folder.entries), 1))
        self.world.say(f"disk: journal {str(folder.id)[:8]} is damaged from entry {folder.damaged_from} on")

    def delete(self, folder: Folder) -> None:
        """Someone deletes the folder of a dead process."""
        self.world.say(f"disk: journal {str(folder.id)[:8]} is deleted by hand")
        self.lost.add(folder.id)
        shutil.rmtree(folder.path)


def disks() -> Disks:
    return world().part(Disks)


def _note(folder: Folder, draft: Draft) -> None:
    folder.times.append(world().now)
    if draft.what is What.OPENED:
        folder.opened[draft.session] = world().now


def _commit() -> Future[int]:
    """As the journal's own: it is shared, so nobody may cancel it for the others."""
    commit: Future[int] = Future()
    commit.set_running_or_notify_cancel()
    return commit


class MemoryJournal:
    """`Journal` and `HeldJournal` in one."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._process = folder.owner
        self._waiting: list[Draft] = []
        self._commit = _commit()
        self._under_way = False
        self._finished = False
        self._latest: Any = None
        self._waiters: list[Any] = []
        self.failing: JournalFull | None = None
        self.broken: JournalError | None = None

    @classmethod
    def create(cls, root: Path, limits: object = None) -> Self:
        at = disks()
        id = world().uuid4()
        path = root / str(id)
        path.mkdir(parents=True)
        folder = Folder(id, path, here(), here().host)
        at.kept[id] = folder
        return cls(folder)

    @property
    def id(self) -> UUID:
        return self._folder.id

    @property
    def path(self) -> Path:
        return self._folder.path

    def append(self, draft: Draft) -> Future[int]:
        if self._process.dead:
            return _commit()
        if self._finished:
            raise JournalError(str(self.path), "it is finished and takes no more entries")
        _note(self._folder, draft)
        self._latest = draft.observed_at if self._latest is None else max(self._latest, draft.observed_at)
        self._waiting.append(replace(draft, observed_at=self._latest))
        commit = self._commit
        self._begin()
        return commit

    def _begin(self) -> None:
        if self._waiting and not self._under_way:
            self._under_way = True
            at = disks()
            batch, self._waiting = self._waiting, []
            commit, self._commit = self._commit, _commit()
            at.world.later(at.world.dice.expovariate(1 / 0.003) + at.slow, lambda: self._write(batch, commit))

    def _write(self, batch: list[Draft], commit: Future[int]) -> None:
        """The disk is done with it. What was under way when the process died may be there or not."""
        self._under_way = False
        if self._process.dead:
            return
        for draft in batch:
            self._folder.entries.append(Entry(len(self._folder.entries) + 1, draft))
        self._process.world.current = self._process
        commit.set_result(self.last_sequence)
        for wake in list(self._waiters):
            wake()
        self._process.world.current = None
        self._begin()

    @property
    def has_room(self) -> bool:
        return len(self._waiting) < ROOM

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def bytes_on_disk(self) -> int:
        return 1000 * len(self._folder.entries)

    @property
    def last_sequence(self) -> int:
        if self._folder.damaged_from is not None:
            raise JournalDamaged(str(self.path), "its end cannot be read")
        return len(self._folder.entries)

    def backlog(self, checkpoint: int) -> int:
        return self.last_sequence - checkpoint

    def read(self, after: int, max_rows: int, max_bytes: int) -> list[Entry]:
        if self._folder.damaged_from is not None and after + 1 >= self._folder.damaged_from:
            raise JournalDamaged(str(self.path), f"entry {after + 1} is not what was written")
        # A batch of any size: it must not matter where one ends.
        few = disks().world.dice.choice((1, 3, max_rows))
        return self._folder.readable[after : after + min(few, max_rows)]

    def wait(self, after: int, timeout: float) -> bool:
        if self.last_sequence <= after and not self._finished and not self._folder.owner.dead:
            here().park(timeout, self._waiters)
        return self.last_sequence > after

    def discard(self, upto: int) -> None: ...

    @property
    def discarded(self) -> int:
        """Whole segments are: here the first one is never full."""
        return 0

    def finish(self, timeout: float) -> None:
        self._finished = True
        until = self._process.world.now + timeout
        while (self._waiting or self._under_way) and self._process.world.now < until:
            here().park(0.01)
        if self._waiting or self._under_way:
            raise JournalFull(str(self.path), "its disk does not answer")

    def remove(self, checkpoint: int) -> None:
        if (left := self.backlog(checkpoint)) > 0:
            raise JournalError(str(self.path), f"{left} of its entries are not archived yet; it is kept")
        self._let_go()
        disks().on_removed(self._folder)

    def set_aside(self) -> Path:
        self._let_go()
        return self.path

    def _let_go(self) -> None:
        with suppress(FileNotFoundError):
            self.path.rmdir()

    def close(self) -> None:
        """Whoever starts next adopts it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def adopt(root: Path) -> Adoption:
    """`etl.journal.adopt`."""
    if disks().real:
        return adopt_real(root)
    found = []
    for folder in disks().orphans(root):
        folder.owner = here()
        found.append(MemoryJournal(folder))
    return Adoption(tuple(found), ())  # type: ignore[arg-type]


class RealJournal(Journal):
    """The product's own, on a file system in memory; it notes what it has committed, and can be left behind."""

    def __init__(self, shelf: Any, lock: Any, limits: Limits) -> None:
        super().__init__(shelf, lock, Limits(segment_bytes=4_000, waiting_rows=ROOM))
        process = here()
        self._note = Folder(self.id, self.path, process, process.host)
        self._drafts: list[Draft] = []
        self._stamp: Any = None
        disks().kept[self.id] = self._note
        _tapes[id(shelf)] = self
        process.closers.append(partial(_abandon, shelf, lock))

    def append(self, draft: Draft) -> Future[int]:
        if self._note.owner.dead:
            return _commit()
        _note(self._note, draft)
        commit = super().append(draft)
        self._stamp = draft.observed_at if self._stamp is None else max(self._stamp, draft.observed_at)
        self._drafts.append(replace(draft, observed_at=self._stamp))
        return commit

    def committed(self, number: int) -> None:
        """So many lines more are on disk."""
        for draft in self._drafts[:number]:
            self._note.entries.append(Entry(len(self._note.entries) + 1, draft))
        del self._drafts[:number]


_tapes: WeakValueDictionary[int, RealJournal] = WeakValueDictionary()
_write = Tape.write


def write(tape: Tape, lines: list[Any]) -> None:
    """`Tape.write`, which takes its time: a kill can come before it."""
    here().park(world().dice.expovariate(1 / 0.003) + disks().slow)
    _write(tape, lines)
    _tapes[id(tape._shelf)].committed(len(lines))


def _abandon(shelf: Any, lock: Any) -> None:
    """As the kernel does for the dead."""
    shelf.close()
    lock.release()


def adopt_real(root: Path) -> Adoption:
    found = really_adopt(root)
    for journal in found[0]:
        disks().kept[journal.id].owner = here()
        here().closers.append(partial(_abandon, journal._shelf, journal._lock))
    return found


class Journals:
    """`Journal`, of the kind that this world has."""

    @staticmethod
    def create(root: Path, limits: Limits) -> MemoryJournal | RealJournal:
        return RealJournal.create(root, limits) if disks().real else MemoryJournal.create(root, limits)


SEAMS: dict[str, object] = {
    "etl.worker.worker.Journal": Journals,
    "etl.journal.writer.Tape.write": write,
    "etl.worker.adoption.adopt": adopt,
}
