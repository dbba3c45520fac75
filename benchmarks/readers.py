"""What readers ask, over one month of a year of calls; what deleting a month takes; what the readers' indexes cost.

Each question is asked as an analyst, for whom personal data is masked, beside the owner, who sees it as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial

import psycopg

from benchmarks import postgres, store
from benchmarks.measure import Comparison, Figure, Peer, Task, timed
from benchmarks.readers_sample import Year, after
from benchmarks.sample import live_batches
from etl.model import Fact
from etl.store.database import Connection, connect
from etl.store.embedded import Cluster

_OF_THE_MONTH = "{time} >= '{first}' AND {time} < '{after}'"

QUESTIONS = {
    "hourly_volume": ("SELECT * FROM report.hourly_volume WHERE {within}", "hour"),
    "daily_volume": ("SELECT * FROM report.daily_volume WHERE {within}", "day"),
    "busy_hour": ("SELECT * FROM report.busy_hour WHERE {within}", "day"),
    "extension_usage": ("SELECT * FROM report.extension_usage WHERE {within}", "day"),
    "concurrent_calls": ("SELECT * FROM report.concurrent_calls('{first}', '{after}')", ""),
    "completeness_between": ("SELECT * FROM report.completeness_between('{first}', '{after}')", ""),
    "unresolved_calls": ("SELECT * FROM report.unresolved_calls WHERE {within}", "start_time"),
    "conversations_between, counted": ("SELECT count(*) FROM report.conversations_between('{first}', '{after}')", ""),
    "conversations_between, one day": (
        "SELECT * FROM report.conversations_between('{first}', '{first}'::timestamptz + interval '1 day')",
        "",
    ),
    "calls, by cause": (
        "SELECT cause, count(*), avg(duration) FROM report.calls WHERE {within} GROUP BY 1",
        "start_time",
    ),
    "calls, the busiest callers": (
        "SELECT source_caller_id, count(*) FROM report.calls WHERE {within} GROUP BY 1 ORDER BY 2 DESC LIMIT 20",
        "start_time",
    ),
    "calls, the longest 100": (
        "SELECT * FROM report.calls WHERE {within} ORDER BY duration DESC NULLS LAST LIMIT 100",
        "start_time",
    ),
    "calls of one extension": (
        "SELECT * FROM report.calls WHERE {within} AND recorded_extension = '10123'",
        "start_time",
    ),
}
"""Questions, and the column by which each is held to the month."""


def figures(cluster: Cluster, calls: int, facts: int, repetitions: int) -> list[Figure]:
    """`calls` calls in twelve months are asked about one of them; then `facts` live calls are written."""
    year = Year(postgres.fresh(cluster), calls)
    year.fill()
    return [*questions(year, repetitions), *_deletions(year, repetitions), *_ingest(cluster, facts, repetitions)]


def questions(year: Year, repetitions: int) -> list[Figure]:
    """Each question, as an analyst and as the owner in turns. The first turn, only to warm up, does not count."""
    comparison = Comparison(f"readers, a month of {year.calls:,} calls", "question", repetitions)
    with _reader(year.url) as owner, _reader(year.url, "cdr_analyst") as analyst:
        found = []
        for name, (question, column) in QUESTIONS.items():
            worded = _worded(question, column, year)
            peers: dict[str, Task] = {"as the owner, unmasked": partial(_ask, owner, worded)}
            found.append(comparison.figure(name, 1, partial(_ask, analyst, worded), peers))
            print(f"  {name}", file=sys.stderr)
        return found


def _worded(question: str, column: str, year: Year) -> str:
    ends = {"first": year.asked, "after": after(year.asked)}
    return question.format(within=_OF_THE_MONTH.format(time=column, **ends), **ends)


@contextmanager
def _reader(url: str, role: str | None = None) -> Iterator[psycopg.Connection]:
    """A connection as readers have it: the database's own settings, and nothing of ours."""
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute("SET TimeZone = 'America/New_York'")
        if role is not None:
            connection.execute(f"SET ROLE {role}".encode())
        yield connection


def _ask(connection: psycopg.Connection, question: str) -> None:
    connection.execute(question.encode()).fetchall()


# Deletion -------------------------------------------------------------------------------------------------------


def _deletions(year: Year, repetitions: int) -> list[Figure]:
    """Whole months, dropped and deleted row by row in turns."""
    dropped, deleted = [], []
    months = iter([month for month in year.months if month != year.asked])
    with closing(psycopg.connect(year.url, autocommit=True)) as connection:
        for first, second in list(zip(months, months, strict=False))[:repetitions]:
            drop = [f"DROP TABLE cdr.call_{first:%Y_%m}"]
            delete = [f"DELETE FROM cdr.call_{second:%Y_%m}", f"VACUUM cdr.call_{second:%Y_%m}"]
            dropped.append(timed(partial(_run, connection, drop)))
            deleted.append(timed(partial(_run, connection, delete)))
    peer = Peer("its rows deleted, and vacuumed", tuple(deleted))
    return [Figure("deletion", f"a month of {year.calls:,} calls dropped", "month", tuple(dropped), (peer,))]


# What the indexes cost ------------------------------------------------------------------------------------------


_WITHOUT = (
    "DROP INDEX cdr.call_start_time",
    "CREATE INDEX call_start_time ON cdr.call (start_time)",
    "DROP INDEX cdr.call_startless",
)


def _ingest(cluster: Cluster, calls: int, repetitions: int) -> list[Figure]:
    """The same live calls into a database as it is, and into one that lacks what is there for readers only."""
    ours, bare = postgres.fresh(cluster), postgres.fresh(cluster)
    with connect(ours) as with_indexes, connect(bare) as without:
        with without.transaction():
            _run(without, _WITHOUT)
        found = []
        for size in store.SIZES:
            batches = live_batches(calls, size)
            rounds = [
                [_written(each, batches) / calls for each in (with_indexes, without)] for _ in range(repetitions + 1)
            ]
            first, second = zip(*rounds[1:], strict=True)
            name = f"written in batches of {size:,} facts"
            found.append(
                Figure("readers' indexes", name, "call", first, (Peer("an index on the start alone", second),))
            )
        return found


def _written(connection: Connection, batches: Sequence[Sequence[Fact]]) -> float:
    seconds = timed(partial(store.write, connection, batches))
    store.remove(connection, batches)
    return seconds


def _run(connection: psycopg.Connection, statements: Sequence[str]) -> None:
    for statement in statements:
        connection.execute(statement.encode())
