"""Arrow batches into Parquet files, one for each recorder of a month. Needs the extra `export`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, groupby
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from etl.lake.folder import told

Batches: TypeAlias = Iterable[pa.RecordBatch]


@dataclass(frozen=True, slots=True)
class Written:
    """What was written for one recorder: how many rows, and between which starts, None where no row has one."""

    recorder: str | None
    rows: int
    min_start: datetime | None
    max_start: datetime | None


def write(batches: Batches, place: Callable[[str | None], Path]) -> Iterator[Written]:
    """Write rows that come ordered by their first column, the recorder, into a file for each: `place` says where.

    The column itself is left out: the file's folder tells. Yields as soon as a file is closed. Raises `LakeFailed`
    where it cannot be written.
    """
    for recorder, parts in groupby(_runs(batches), key=lambda run: run[0]):
        yield _write(recorder, (part for _, part in parts), place(recorder))


def _runs(batches: Batches) -> Iterator[tuple[str | None, pa.RecordBatch]]:
    """Batches cut where the recorder changes."""
    for batch in batches:
        runs = pc.run_end_encode(batch.column(0))
        begin = 0
        for recorder, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
            yield recorder, batch.slice(begin, end - begin).remove_column(0)
            begin = end


def _write(recorder: str | None, parts: Iterator[pa.RecordBatch], place: Path) -> Written:
    rows = 0
    starts: list[datetime] = []
    first = next(parts)
    with _writing(place, first.schema) as writer:
        for part in chain((first,), parts):
            with told(place.parent):
                writer.write_batch(part)
            rows += part.num_rows
            ends = pc.min_max(part.column("start_time")).as_py()
            starts += [each for each in ends.values() if each is not None]
    return Written(recorder, rows, min(starts, default=None), max(starts, default=None))


@contextmanager
def _writing(place: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """Half a file is removed: it helps nobody, and the disk may be full."""
    with told(place.parent):
        writer = pq.ParquetWriter(place, schema, compression="zstd")
    try:
        yield writer
        with told(place.parent):
            writer.close()
    except BaseException:
        with suppress(OSError, pa.ArrowException):
            writer.close()
        place.unlink(missing_ok=True)
        raise
