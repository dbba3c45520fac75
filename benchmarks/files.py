"""A folder of metadata files into an empty database, beside what general loaders take for the same records.

Everybody is a process (or several) of its own, from its start to its end, on the same server. All keep the document.
What they stored must be the same, or there is no figure.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import psycopg
from lxml import etree
from psycopg.conninfo import conninfo_to_dict

from benchmarks import bare, files_sample, postgres
from benchmarks.measure import Figure, Peer
from etl.store.database import connect
from etl.store.elements import unpack
from etl.store.embedded import Cluster

ROOT = Path(__file__).parents[1]
LOADERS = ROOT / "benchmarks" / "loaders"

_COLUMNS = "call_id, start_time, end_time, source_caller_id, destination_caller_id, cause_id"
_OURS = f"SELECT {_COLUMNS}, f.element FROM cdr.call JOIN (SELECT call_id, element FROM cdr.fact) f USING (call_id)"
_THEIRS = f"SELECT {_COLUMNS}, document FROM loaded.call"

Import: TypeAlias = Callable[[Path, str], None]
"""Imports a folder into the database at a URL."""


@dataclass(frozen=True, slots=True)
class Way:
    """A way to import, and how what it stored is read back: the columns compared, and the record's element."""

    name: str
    run: Import
    stored: str
    element: Callable[[Any], bytes]


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds by the clock, and of CPU: of the importing processes and the server."""

    wall: float
    cpu: float


def figures(cluster: Cluster, count: int, repetitions: int, *, loaders: bool) -> list[Figure]:
    """`count` files by us, by the general loaders if wanted, and a bare COPY of the rows that we made."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cdr-bench-files-")))
        root = folder / "media"
        written = files_sample.write(root, count)
        ways = [Way("cdr backfill files", _ours, _OURS, unpack), *(_loaders(folder) if loaders else ())]
        rounds = [_round(cluster, ways, root, count) for _ in range(repetitions)]
    part = f"files, {count:,} of {written / count:,.0f} bytes"
    walls = {name: tuple(each[name].wall / count for each in rounds) for name in rounds[0]}
    cpus = {name: tuple(each[name].cpu / count for each in rounds) for name in rounds[0]}
    return [_figure(part, "imported, end to end", walls), _figure(part, "CPU, server included", cpus)]


def _figure(part: str, name: str, seconds: Mapping[str, tuple[float, ...]]) -> Figure:
    (_, ours), *others = seconds.items()
    return Figure(part, name, "file", ours, tuple(Peer(*other) for other in others))


def _round(cluster: Cluster, ways: list[Way], root: Path, count: int) -> dict[str, Took]:
    """One turn of everybody, each into a database of its own. Raises ValueError where they stored different things."""
    took: dict[str, Took] = {}
    sums: dict[str, str] = {}
    for way in ways:
        url = postgres.fresh(cluster)
        print(f"  {way.name}", file=sys.stderr)
        took[way.name] = _measured(cluster, lambda way=way, url=url: way.run(root, url))  # type: ignore[misc]
        sums[way.name] = _checksum(url, way, count)
        if way.run is _ours:
            took[bare.NAME] = _bare(cluster, url)
    if len(set(sums.values())) > 1:
        raise ValueError(f"the ways to import stored different records: {sums}")
    return took


def _measured(cluster: Cluster, task: Callable[[], object]) -> Took:
    wall, cpu = time.perf_counter(), _children_cpu() + postgres.server_cpu(cluster)
    task()
    return Took(time.perf_counter() - wall, _children_cpu() + postgres.server_cpu(cluster) - cpu)


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _bare(cluster: Cluster, url: str) -> Took:
    """COPY of the rows of all tables that were filled. The client does nothing, so the server's CPU is all."""
    with connect(url) as connection:
        rows = bare.taken(connection)
        before = postgres.server_cpu(cluster)
        seconds = bare.seconds(connection, rows)
        return Took(seconds, postgres.server_cpu(cluster) - before)


# What was stored ------------------------------------------------------------------------------------------------


def _checksum(url: str, way: Way, count: int) -> str:
    """Over key, times, parties, cause and the document of every call. Raises ValueError if there are not `count`."""
    digest, rows = hashlib.sha256(), 0
    for row in _stored(url, way):
        digest.update(repr(row).encode())
        rows += 1
    if rows != count:
        raise ValueError(f"{way.name} stored {rows} of {count} records")
    return digest.hexdigest()


def _stored(url: str, way: Way) -> Iterator[tuple[Any, ...]]:
    with psycopg.connect(url, options="-c TimeZone=UTC") as connection, connection.cursor("stored") as cursor:
        cursor.execute(f'{way.stored} ORDER BY call_id COLLATE "C"'.encode())
        for call_id, start, end, source, destination, cause, document in cursor:
            element = hashlib.sha256(way.element(document)).hexdigest()
            yield call_id, _utc(start), _utc(end), source, destination, int(cause), element


def _utc(moment: datetime) -> str:
    """The instant; a loader may keep UTC without saying so."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).isoformat(timespec="microseconds")


def _element_of(document: str) -> bytes:
    return etree.tostring(etree.fromstring(document.encode()), encoding="utf-8", with_tail=False)


# The ways -------------------------------------------------------------------------------------------------------


def _ours(root: Path, url: str) -> None:
    with tempfile.TemporaryDirectory(prefix="cdr-bench-config-") as folder:
        file = Path(folder) / "cdr.toml"
        file.write_text(_CONFIG.format(url=url, root=root, zone=files_sample.ZONE.key))
        _run([sys.executable, "-m", "etl.cli", "backfill", "files", str(root), "--config", str(file)], {})


_CONFIG = """
[database]
url = "{url}"
[worker]
data_dir = "data"
[[recorder]]
name = "ny-1"
host = "127.0.0.1"
port = 1
timezone = "{zone}"
[history.files]
roots = ["{root}"]
timezone = "{zone}"
"""


def _loaders(folder: Path) -> list[Way]:
    dlt, pipelinewise = (_environment(folder, name) for name in ("dlt", "pipelinewise"))
    return [
        Way("dlt, append (a second import doubles)", _dlt(dlt, "append"), _THEIRS, _element_of),
        Way("dlt, merge", _dlt(dlt, "merge"), _THEIRS, _element_of),
        Way("pipelinewise-target-postgres", _pipelinewise(pipelinewise), _THEIRS, _element_of),
    ]


def _environment(folder: Path, name: str) -> Path:
    """The programs of a new virtual environment with a loader, pinned by hashes."""
    print(f"  installing {name}", file=sys.stderr)
    _run([sys.executable, "-m", "venv", str(folder / name)], {})
    programs = folder / name / "bin"
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
    _run([str(programs / "python"), *install, "-r", str(LOADERS / f"{name}.txt")], {})
    return programs


def _dlt(programs: Path, disposition: str) -> Import:
    def run(root: Path, url: str) -> None:
        with tempfile.TemporaryDirectory(prefix="cdr-bench-dlt-") as home:
            # dlt wants a host and a password; the server's socket, behind the question mark, needs neither.
            credentials = url.replace("postgres@/", "postgres:unused@localhost/")
            environment = {
                "DESTINATION__POSTGRES__CREDENTIALS": credentials,
                "RUNTIME__DLTHUB_TELEMETRY": "false",
                "DLT_DATA_DIR": home,
                **_DLT_SETTINGS,
            }
            module = ["-m", "benchmarks.loaders.with_dlt", str(root), disposition]
            _run([str(programs / "python"), *module], environment)

    return run


_DLT_SETTINGS = {
    "EXTRACT__DATA_WRITER__FILE_MAX_ITEMS": "20000",
    "NORMALIZE__DATA_WRITER__FILE_MAX_ITEMS": "20000",
    "NORMALIZE__WORKERS": "2",
    "LOAD__WORKERS": "4",
}
"""Several files, so that its workers have something to share."""


def _pipelinewise(programs: Path) -> Import:
    def run(root: Path, url: str) -> None:
        parts = conninfo_to_dict(url)
        settings = {
            "host": parts["host"],
            "port": 5432,
            "user": parts["user"],
            "password": "unused",
            "dbname": parts["dbname"],
            "default_target_schema": "loaded",
            "batch_size_rows": 20_000,
            "validate_records": False,
        }
        with tempfile.NamedTemporaryFile("w", prefix="cdr-bench-target-", suffix=".json") as file:
            json.dump(settings, file)
            file.flush()
            tap = [str(programs / "python"), "-m", "benchmarks.loaders.tap", str(root)]
            with subprocess.Popen(tap, cwd=ROOT, stdout=subprocess.PIPE) as records:
                _run([str(programs / "target-postgres"), "--config", file.name], {}, records)
            if records.returncode:
                raise subprocess.CalledProcessError(records.returncode, tap)

    return run


def _run(command: list[str], environment: Mapping[str, str], records: subprocess.Popen[bytes] | None = None) -> None:
    """Run a command from the project's folder. Raises `CalledProcessError`, with what it said, if it fails."""
    subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=records.stdout if records else None,
        capture_output=True,
        check=True,
    )
