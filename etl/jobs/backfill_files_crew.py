"""Processes that import files side by side: Python reads XML on one core only.

Each has a pipe of its own, so the death of either side is seen by the other as the end of it. A process that waits
for the database would not look: it also watches its parent.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import TypeAlias

from etl.config import Settings
from etl.errors import CdrError
from etl.history.files import Region
from etl.jobs.backfill_files_chunk import ChunkReader, Outcome
from etl.store import database, folders
from etl.store.folders import Mark

AHEAD = 64
"""How many chunks may be done while an earlier one is not: they are kept until it is."""
_GARBAGE = 50_000
"""So many objects more than before call for a search for garbage: several chunks. What comes of a file needs none."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some files, of one folder or of several; `marks`: how far these folders are once this and all chunks before
    it are done."""

    paths: list[str]
    marks: list[Mark]


@dataclass(frozen=True, slots=True)
class _Member:
    process: SpawnProcess
    pipe: Pipe


Done: TypeAlias = tuple[list[Mark], Outcome]


class Crew:
    """`count` processes with their connections. Leave the block and they are gone."""

    def __init__(self, count: int, settings: Settings, url: str, region: Region, *, dry_run: bool) -> None:
        # Spawned: a fork would share the parent's connection, and whatever its threads hold.
        context = multiprocessing.get_context("spawn")
        self._members: list[_Member] = []
        for number in range(1, count + 1):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_serve, args=(theirs, settings, url, region, dry_run), name=f"files-{number}", daemon=True
            )
            process.start()
            theirs.close()
            self._members.append(_Member(process, ours))

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        for member in self._members:
            member.pipe.close()
            if kind is not None:
                member.process.terminate()
        for member in self._members:
            member.process.join()

    def work(self, chunks: Iterator[Chunk]) -> Iterator[Done]:
        """Do all chunks; what came of them, in their order. Raises what a process raised."""
        idle, busy = list(self._members), dict[Pipe, tuple[int, _Member]]()
        marks, done, given, shown = dict[int, list[Mark]](), dict[int, Outcome](), 0, 0
        more = True
        while more or busy:
            while more and idle and given - shown < AHEAD:
                if more := (chunk := next(chunks, None)) is not None:
                    member = idle.pop()
                    _send(member, chunk.paths)
                    busy[member.pipe], marks[given] = (given, member), chunk.marks
                    given += 1
            for pipe in wait(list(busy)) if busy else ():
                assert isinstance(pipe, Pipe)
                number, member = busy.pop(pipe)
                done[number] = _received(member)
                idle.append(member)
            while shown in done:
                yield marks.pop(shown), done.pop(shown)
                shown += 1


def _send(member: _Member, paths: list[str]) -> None:
    try:
        member.pipe.send(paths)
    except OSError:
        raise _died(member) from None


def _received(member: _Member) -> Outcome:
    try:
        answer = member.pipe.recv()
    except (EOFError, OSError):
        raise _died(member) from None
    if isinstance(answer, CdrError):
        raise answer
    assert isinstance(answer, Outcome)
    return answer


def _died(member: _Member) -> CdrError:
    member.process.join()
    return CdrError(
        f"process {member.process.name} that imported files ended by itself (exit code {member.process.exitcode}; -9:"
        " killed, perhaps for want of memory): run the same command again, it goes on from where it was"
    )


def _serve(pipe: Pipe, settings: Settings, url: str, region: Region, dry_run: bool) -> None:
    """The life of a process of the crew."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    gc.freeze()
    gc.set_threshold(_GARBAGE)
    try:
        with database.connect(url, application="cdr backfill") as connection:
            folders.relax(connection)
            reader = ChunkReader(settings, connection, region, dry_run=dry_run)
            while True:
                pipe.send(reader.read(pipe.recv()))
    except EOFError:
        return
    except CdrError as error:
        pipe.send(error)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
