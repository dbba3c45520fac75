"""The records of a folder as Singer messages on stdout, for targets: `python -m benchmarks.loaders.tap FOLDER`."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.loaders.records import bodies, record
from etl.fields import FIELDS, FieldType

_TYPES: dict[FieldType, dict[str, Any]] = {
    FieldType.TEXT: {"type": ["null", "string"]},
    FieldType.INTEGER: {"type": ["null", "integer"]},
    FieldType.BOOLEAN: {"type": ["null", "boolean"]},
    FieldType.TIME: {"type": ["null", "string"], "format": "date-time"},
    FieldType.INTERVAL: {"type": ["null", "integer"]},
}


def _schema() -> dict[str, Any]:
    text = {"type": "string"}
    columns = {"call_id": text, **{field.name: _TYPES[field.type] for field in FIELDS}, "document": text}
    return {"stream": "call", "schema": {"type": "object", "properties": columns}, "key_properties": ["call_id"]}


def main(root: Path) -> None:
    """Write the schema, then every record."""
    print(json.dumps({"type": "SCHEMA", **_schema()}))
    for body in bodies(root):
        # pipelinewise-target-postgres would store the letter n for each end of a line.
        found = record(body.replace(b"\n", b""))
        print(json.dumps({"type": "RECORD", "stream": "call", "record": found}, default=datetime.isoformat))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
