"""dlt, as its documentation makes it fast: Arrow tables in large pieces, passed on as CSV to COPY.

`python -m benchmarks.loaders.with_dlt FOLDER DISPOSITION` loads into the table `loaded.call`; dlt takes the database
from its environment.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import dlt
import pyarrow as pa

from benchmarks.loaders.records import bodies, record
from etl.fields import FIELDS, FieldType

ROWS = 20_000
"""Records in an Arrow table."""

_TYPES = {
    FieldType.TEXT: pa.string(),
    FieldType.INTEGER: pa.int32(),
    FieldType.BOOLEAN: pa.bool_(),
    FieldType.TIME: pa.timestamp("us", tz="UTC"),
    FieldType.INTERVAL: pa.int32(),
}
_SCHEMA = pa.schema(
    [
        pa.field("call_id", pa.string(), nullable=False),
        *(pa.field(field.name, _TYPES[field.type]) for field in FIELDS),
        pa.field("document", pa.string(), nullable=False),
    ]
)


def tables(root: Path) -> Iterator[pa.Table]:
    """The records of a folder."""
    found = (record(body) for body in bodies(root))
    while rows := list(islice(found, ROWS)):
        yield pa.table({name: [row.get(name) for row in rows] for name in _SCHEMA.names}, schema=_SCHEMA)


def load(root: Path, disposition: str) -> None:
    """Load a folder. `disposition` is `append`, or `merge` where the same call may come again."""
    resource = dlt.resource(
        tables(root),
        name="call",
        primary_key="call_id",
        write_disposition={"disposition": "merge", "strategy": "upsert"} if disposition == "merge" else "append",
    )
    pipeline = dlt.pipeline("bench", destination="postgres", dataset_name="loaded")
    pipeline.run(resource, loader_file_format="csv").raise_on_failed_jobs()


if __name__ == "__main__":
    load(Path(sys.argv[1]), sys.argv[2])
