"""`cdr backfill files`: metadata files into the archive, on all cores, from where the last run stopped.

One process walks the folders and keeps the ledger; others read, understand and store. A folder's place in the ledger
moves only when all files before it are stored, so whatever is killed is at worst read again.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain, islice
from pathlib import Path
from uuid import UUID

from etl.config import Settings
from etl.errors import CdrError, DatabaseError
from etl.history.files import Piece, Place, Problem, Region, Tell, Trouble, walk
from etl.jobs.backfill_files_chunk import ChunkReader, Outcome
from etl.jobs.backfill_files_crew import Chunk, Crew, Done
from etl.jobs.progress import OnProgress, Progress, unwatched
from etl.model import Json
from etl.store import backfill, database, folders
from etl.store.backfill import Result, Run
from etl.store.database import Connection, name_of
from etl.store.errors import translate
from etl.store.folders import Mark

CHUNK = 1000
"""Files for one process at a time; a transaction of about as many facts is what the merge likes best."""
SKEW = timedelta(minutes=1)
"""By how much the clock of a file server may be behind that of the database."""
SHOWN = 100
"""How many problems a report names; all of them are told while the run lasts."""


_MISSING = (Trouble.UNREADABLE, Trouble.VANISHED, Trouble.OUTSIDE, "quarantined", "withheld")


@dataclass(frozen=True, slots=True)
class Report:
    """What a run came to.

    `run` is None for a dry run. `resumed`: it went on from an earlier one, whose `counts` are in these (by the names
    that docs/history.md explains). `problems` are the first ones that this process met, `out_of_reach` those of the
    paths asked for that could not be read at all.
    """

    run: UUID | None
    resumed: bool
    counts: Mapping[str, int]
    problems: tuple[Problem, ...]
    out_of_reach: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether the records of every file that was there are stored, or were looked at by somebody and discarded."""
        return not any(self.counts.get(name) for name in _MISSING)


@dataclass(frozen=True, slots=True)
class Watch:
    """Whom a run tells how far it is, and what it cannot read."""

    progress: OnProgress = unwatched
    problem: Tell = lambda _: None


def cores() -> int:
    """How many processes this machine runs at once."""
    return len(os.sched_getaffinity(0))


def import_files(settings: Settings, url: str, paths: Sequence[Path], processes: int, watch: Watch) -> Report:
    """Import every metadata file below these paths into the database at `url`.

    Where the newest run over the same paths has not ended, this one goes on from there. Raises `HistoryRefused` where
    the files speak against the configured zone, `DatabaseError`, and `CdrError` where a process dies.
    """
    roots = _absolute(paths)
    region = Region(roots)
    scope: dict[str, Json] = {"paths": [_text(root) for root in roots]}
    with database.connect(url) as connection:
        resumed = backfill.resume(connection, "files", scope)
        run = resumed or backfill.begin(connection, "files", scope)
        tally = _Tally(watch, run.counts)
        pieces = (
            piece
            for root in roots
            for piece in walk(root, tally.walked, lambda folder: _known(connection, run, folder), CHUNK, region)
        )
        with (
            _noted(url, run, tally),
            _counted(roots, region, tally),
            closing(_done(_packed(pieces), settings, url, region, processes)) as done,
        ):
            for marks, outcome in done:
                with translate(name_of(connection)), connection.transaction():
                    folders.mark(connection, run.id, marks)
                    backfill.progress(connection, run.id, tally.kept + outcome.counts)
                tally.add(outcome)
        folders.forget_finished(connection)
    return tally.report(run.id, resumed=resumed is not None)


def preview(settings: Settings, url: str, paths: Sequence[Path], processes: int, watch: Watch) -> Report:
    """Read every file and write nothing: what an import of all of them would do."""
    roots = _absolute(paths)
    region = Region(roots)
    tally = _Tally(watch, {})
    pieces = (piece for root in roots for piece in walk(root, tally.walked, size=CHUNK, region=region))
    read = _done(_packed(pieces), settings, url, region, processes, dry_run=True)
    with _counted(roots, region, tally), closing(read) as done:
        for _, outcome in done:
            tally.add(outcome)
    return tally.report(None, resumed=False)


class _Tally:
    """What was seen so far, and who is told.

    What became of files is `kept` with the ledger. What is wrong with folders is not: every run walks all of them.
    """

    def __init__(self, watch: Watch, before: Mapping[str, int]) -> None:
        self.kept = Counter(before)
        self.total: int | None = None
        self._watch = watch
        self._folders: Counter[str] = Counter()
        self._problems: list[Problem] = []
        self._out_of_reach: list[str] = []

    @property
    def counts(self) -> Counter[str]:
        return self.kept + self._folders

    def walked(self, problem: Problem) -> None:
        """Take note of a problem that the walk met."""
        self._folders[problem.trouble.value] += 1
        if problem.root:
            self._out_of_reach.append(problem.path)
        self._tell(problem)

    def add(self, outcome: Outcome) -> None:
        """Take note of what became of a chunk."""
        self.kept.update(outcome.counts)
        for problem in outcome.problems:
            self._tell(problem)
        counts = self.counts
        done = sum(self.kept[name] for name in ("files", *Trouble))
        told = {name: counts[name] for name in ("records", "quarantined", Trouble.UNREADABLE.value)}
        self._watch.progress(Progress(done, self.total, "files", told))

    def report(self, run: UUID | None, *, resumed: bool) -> Report:
        return Report(run, resumed, dict(self.counts), tuple(self._problems), tuple(self._out_of_reach))

    def _tell(self, problem: Problem) -> None:
        if len(self._problems) < SHOWN:
            self._problems.append(problem)
        self._watch.problem(problem)


@contextmanager
def _noted(url: str, run: Run, tally: _Tally) -> Iterator[None]:
    """Note how the run ends; over a connection of its own, since the other one may be in the middle of something.

    What a run did that has not ended stays as it was noted with the ledger.
    """
    unnoted = suppress(DatabaseError)  # what is not noted has not ended, and is gone on with all the same
    try:
        yield
    except KeyboardInterrupt:
        with unnoted:
            _finish(url, run, "interrupted")
        raise
    except CdrError as error:
        with unnoted:
            _finish(url, run, "failed", told=str(error))
        raise
    _finish(url, run, "done", tally.counts)


def _finish(
    url: str, run: Run, result: Result, counts: Mapping[str, int] | None = None, told: str | None = None
) -> None:
    with database.connect(url) as connection:
        backfill.finish(connection, run.id, result, counts, told)


@contextmanager
def _counted(roots: Sequence[str], region: Region, tally: _Tally) -> Iterator[None]:
    """Count the files meanwhile: names are read a hundred times faster than files, and then the time left is known."""
    over = threading.Event()

    def count() -> None:
        found = 0
        for root in roots:
            for piece in walk(root, lambda _: None, region=region):
                found += len(piece.names)
                if over.is_set():
                    return
        tally.total = found

    threading.Thread(target=count, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _done(
    chunks: Iterator[Chunk], settings: Settings, url: str, region: Region, processes: int, *, dry_run: bool = False
) -> Generator[Done, None, None]:
    """Do all chunks; what came of them, in their order. A single one is done here: a process takes longer to start."""
    first = list(islice(chunks, 2))
    chunks = chain(first, chunks)
    if len(first) > 1 and processes > 1:
        with Crew(processes, settings, url, region, dry_run=dry_run) as crew:
            yield from crew.work(chunks)
        return
    with database.connect(url) as connection:
        folders.relax(connection)
        reader = ChunkReader(settings, connection, region, dry_run=dry_run)
        for chunk in chunks:
            yield chunk.marks, reader.read(chunk.paths)


def _packed(pieces: Iterable[Piece]) -> Iterator[Chunk]:
    """Pieces as chunks: those of small folders together."""
    paths: list[str] = []
    marks: list[Mark] = []
    for piece in pieces:
        paths += piece.paths
        if piece.place is not None:
            marks.append(Mark(piece.folder, piece.place.entries, piece.place.digest))
        if len(paths) >= CHUNK:
            yield Chunk(paths, marks)
            paths, marks = [], []
    if paths:
        yield Chunk(paths, marks)


def _known(connection: Connection, run: Run, folder: str) -> Place | None:
    """How far the run is in a folder. A file that was modified since it began may have been read before that."""
    mark = folders.find(connection, run.id, folder)
    return None if mark is None else Place(mark.entries, mark.digest, run.started_at - SKEW)


def _absolute(paths: Sequence[Path]) -> list[str]:
    """As the user names them: the path of a file is where its quarantine is found again."""
    return [os.path.abspath(path) for path in paths]  # noqa: PTH100 - which would resolve links


def _text(path: str) -> str:
    """A path as text that a database can hold: a name need not be UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
