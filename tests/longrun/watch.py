"""One look at everything that could grow: the worker's process, its journal, its metrics, and the database."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import psycopg
from prometheus_client.parser import text_string_to_metric_families

from etl.journal.segment import first_of

Sample: TypeAlias = dict[str, Any]
_TICKS = os.sysconf("SC_CLK_TCK")

_SMALL = 65_536
"""Bytes of a table that is not worth looking at."""

# A partition counts for its table. TOAST lies with the table that it belongs to.
_TABLES = """
SELECT coalesce(parent.relname, c.relname), sum(s.n_live_tup)::bigint, sum(s.n_dead_tup)::bigint,
       sum(s.autovacuum_count)::bigint, sum(s.autoanalyze_count)::bigint,
       sum(pg_table_size(c.oid))::bigint, sum(pg_indexes_size(c.oid))::bigint
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_stat_user_tables s ON s.relid = c.oid
LEFT JOIN pg_inherits i ON i.inhrelid = c.oid LEFT JOIN pg_class parent ON parent.oid = i.inhparent
WHERE n.nspname = 'cdr' AND c.relkind = 'r'
GROUP BY 1
"""
_DATABASE = """
SELECT pg_database_size(current_database()), pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint,
       (SELECT extract(epoch FROM now() - max(observed_at))::float8 FROM cdr.checkpoint)
"""
_UNRESOLVED = "SELECT count(*)::int FROM cdr.call WHERE state <> 'complete'"


def process(pid: int) -> Sample:
    """Resident memory (bytes; `anon` without files that are mapped), open files, threads, CPU seconds."""
    told = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return {
        "rss": _kilobytes(told["VmRSS"]),
        "anon": _kilobytes(told["RssAnon"]),
        "fds": len(os.listdir(f"/proc/{pid}/fd")),  # noqa: PTH208
        "threads": int(told["Threads"]),
        "cpu": (int(stat[11]) + int(stat[12])) / _TICKS,
    }


def journal(folder: Path) -> Sample:
    """Bytes and segments of all journals under a data_dir. A file may go while we look."""
    found = [path for path in (folder / "journal").rglob("*") if path.is_file()]
    return {
        "journal_bytes": sum(_size(path) for path in found),
        "segments": sum(first_of(path.name) is not None for path in found),
    }


def metrics(port: int) -> Mapping[str, list[tuple[Mapping[str, str], float]]]:
    """The worker's metrics: labels and values by the name of the sample."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        text = answer.read().decode()
    found: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def answers(port: int) -> bool:
    """Whether there are metrics yet."""
    try:
        return bool(metrics(port))
    except OSError:
        return False


def database(url: str) -> Sample:
    """Sizes (bytes), dead rows and autovacuum runs by table; empty while the database is away."""
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
            rows = connection.execute(_TABLES.encode()).fetchall()
            size, wal, lag = connection.execute(_DATABASE.encode()).fetchone() or (None, None, None)
    except psycopg.OperationalError:
        return {}
    keys = ("live", "dead", "vacuums", "analyzes", "heap", "indexes")
    tables = {name: dict(zip(keys, values, strict=True)) for name, *values in rows if values[4] > _SMALL}
    return {"database_bytes": size, "wal": wal, "lag": lag, "tables": tables}


def unresolved(url: str) -> int | None:
    """Calls that are not complete; None while the database is away."""
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
            ((count,),) = connection.execute(_UNRESOLVED.encode())
            return int(count)
    except psycopg.OperationalError:
        return None


def _kilobytes(text: str) -> int:
    return int(text.split()[0]) * 1024


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
