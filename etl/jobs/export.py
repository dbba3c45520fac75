"""Calls go to a folder of Parquet files, by month and recorder, as one snapshot of the archive shows them.

There is one way to write a folder, whether it is new, was left unfinished, or is whole and to be brought up to date:
what it holds already of the very calls that the snapshot shows is kept, the rest is written. So whatever happened on
the way, all months that an export was asked for are of one snapshot when it has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby

import pyarrow as pa

from etl.errors import CdrError, UsageError
from etl.jobs.progress import OnProgress, Progress, unwatched
from etl.lake import parquet
from etl.lake.folder import Folder, checksum, path_of
from etl.lake.manifest import File, Manifest
from etl.lake.parquet import Batches, Written
from etl.model import Interval
from etl.store import arrow
from etl.store import export as store
from etl.store.arrow import Reader
from etl.store.audit import Author
from etl.store.database import Connection
from etl.store.export import Destination, Portion, Snapshot


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of the files of a span: `kept` as they are, `removed` since no call of theirs is left, and the
    portions that are to be `written`."""

    kept: Sequence[File]
    written: Sequence[Portion]
    removed: Sequence[File]


@dataclass(frozen=True, slots=True)
class Report:
    """What an export came to. `files`: all of the span, `written` of them now, the others kept as they were."""

    number: int
    files: Sequence[File]
    written: int
    removed: int

    @property
    def rows(self) -> int:
        """Calls in the folder that began in the span."""
        return sum(file.rows for file in self.files)

    @property
    def bytes(self) -> int:
        """Size of their files."""
        return sum(file.bytes for file in self.files)


def export(
    connection: Connection,
    url: str,
    folder: Folder,
    destination: Destination,
    author: Author,
    *,
    on_progress: OnProgress = unwatched,
) -> Report:
    """Bring a folder to what the archive shows of a span. `connection` leads to the database of `url`.

    Raises `UsageError` where the folder holds what this export would spoil, `DatabaseRefused` where rights are missing,
    `LakeFailed` where the disk refuses, `DatabaseError`; the folder is then unfinished, and the next export goes on.
    """
    span, masked = destination.span, destination.masked
    store.require_rights(connection, masked=masked)
    there = folder.manifest.files if folder.manifest else ()
    refuse_spoiling(folder, destination)
    noted = store.begin(connection, destination, author)
    with arrow.opened(url) as reader:
        with store.snapshot(connection, span) as seen:
            reader.begin(seen.name, store.MASKED if masked else None)
        plan = planned(there, span, seen, folder.holds)
        manifest = Manifest(masked, seen.schema, span.start, span.end, seen.taken_at, there)
        folder.begin(manifest)
        run = _Run(connection, reader, folder, seen, on_progress, sum(portion.rows for portion in plan.written))
        files = [*plan.kept, *run.write(span, plan.written)]
        folder.finish(manifest.with_files([*(file for file in there if not _within(file, span)), *files]))
    report = Report(noted.number, files, len(plan.written), len(plan.removed))
    effect = {"rows": report.rows, "files": len(files), "written": report.written, "removed": report.removed}
    store.finish(connection, noted, effect)
    return report


def month_of(name: str) -> Interval:
    """The month `YYYY-MM` of UTC."""
    start = datetime.fromisoformat(f"{name}-01").replace(tzinfo=UTC)
    return Interval(start, (start + timedelta(days=31)).replace(day=1))


def part(month: str, span: Interval) -> Interval:
    """As much of a month as lies in a span. Raises where that is nothing."""
    whole = month_of(month)
    return Interval(max(whole.start, span.start), min(whole.end, span.end))


def refuse_spoiling(folder: Folder, destination: Destination) -> None:
    """Raise `UsageError` where what is in a folder cannot stand beside what is to come, or would be cut off by it."""
    manifest, span = folder.manifest, destination.span
    if manifest is None:
        return
    if manifest.masked != destination.masked:
        raise UsageError(
            f"{folder.root} holds calls {'with' if manifest.masked else 'without'} pseudonyms: do the same as before"
            f" ({'with' if manifest.masked else 'without'} --masked), or choose another folder"
        )
    for file in manifest.files:
        if _within(file, span) and not _contains(part(file.month, span), file.span):
            raise UsageError(
                f"{folder.root} holds {file.month} from {file.start.isoformat()} to {file.end.isoformat()}, and would"
                " lose some of it: ask for at least that time, or choose another folder"
            )


def planned(files: Sequence[File], span: Interval, seen: Snapshot, holds: Callable[[File], bool]) -> Plan:
    """What is to be done so that the files of a span are as a snapshot shows them. `holds`: whether a file is there."""
    known = {(file.month, file.recorder): file for file in files if _within(file, span)}
    kept, written = [], []
    for portion in seen.portions:
        file = known.pop((portion.month, portion.recorder), None)
        wanted = (portion.fingerprint, portion.rows, seen.view)
        if file and (file.fingerprint, file.rows, file.view) == wanted and holds(file):
            asked = part(file.month, span)
            kept.append(replace(file, start=asked.start, end=asked.end, exported_at=seen.taken_at))
        else:
            written.append(portion)
    return Plan(kept, written, tuple(known.values()))


def _within(file: File, span: Interval) -> bool:
    whole = month_of(file.month)
    return whole.start < span.end and span.start < whole.end


def _contains(outer: Interval, inner: Interval) -> bool:
    return outer.start <= inner.start and inner.end <= outer.end


class _Run:
    """Writes what is to be written, month by month."""

    def __init__(
        self,
        connection: Connection,
        reader: Reader,
        folder: Folder,
        seen: Snapshot,
        on_progress: OnProgress,
        total: int,
    ) -> None:
        self._connection = connection
        self._reader = reader
        self._folder = folder
        self._seen = seen
        self._on_progress = on_progress
        self._total = total
        self._done = 0

    def write(self, span: Interval, portions: Sequence[Portion]) -> Iterator[File]:
        """The files, month by month: each month is noted in the folder when it is there."""
        for month, group in groupby(portions, key=lambda portion: portion.month):
            files = list(self._month(part(month, span), {portion.recorder: portion for portion in group}))
            self._folder.save(files)
            yield from files

    def _month(self, span: Interval, portions: dict[str | None, Portion]) -> Iterator[File]:
        month = f"{span.start:%Y-%m}"
        statement = store.calls(self._connection, span, portions.keys())
        with closing(self._reader.batches(statement)) as batches:
            watched = self._watched(batches)
            for written in parquet.write(watched, lambda recorder: self._folder.beside(path_of(month, recorder))):
                yield self._put(written, portions.pop(written.recorder), span)
        if portions:
            raise CdrError(f"calls of {month} were counted and not read: this is a bug, please report it")

    def _watched(self, batches: Batches) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield batch
            self._done += batch.num_rows
            self._on_progress(Progress(self._done, self._total, "calls"))

    def _put(self, written: Written, portion: Portion, span: Interval) -> File:
        if written.rows != portion.rows:
            raise CdrError(f"{portion.rows} calls were counted, {written.rows} read: this is a bug, please report it")
        path = path_of(portion.month, portion.recorder)
        beside = self._folder.beside(path)
        file = File(
            path=path,
            month=portion.month,
            recorder=portion.recorder,
            start=span.start,
            end=span.end,
            rows=written.rows,
            bytes=beside.stat().st_size,
            sha256=checksum(beside),
            min_start=written.min_start,
            max_start=written.max_start,
            fingerprint=portion.fingerprint,
            view=self._seen.view,
            exported_at=self._seen.taken_at,
        )
        self._folder.put(path)
        return file
