"""`cdr doctor`: looks at all that an archive needs, and says of each finding what to do about it.

It disturbs nothing: a recorder is asked for its list over a connection of its own, and no subscription is made; locks
are tried on a file of its own; the database is only read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from uuid import uuid4

from etl.calls.facts import read_fact
from etl.calls.history import SKEW
from etl.calls.ids import is_timed
from etl.config import Recorder, Settings
from etl.errors import CdrError, DatabaseError, HistoryError, RecorderError, UsageError
from etl.history.http import HistoryClient
from etl.ingest.interpret import Interpreter
from etl.jobs.doctor_disk import journals, room
from etl.model import Fact, Interval, Kind
from etl.protocol.answers import Failed, ListAnswer
from etl.recorder.clock import SystemClock
from etl.recorder.queries import Queries
from etl.recorder.sink import Nowhere, Scribe
from etl.store import health, migrate
from etl.store.database import Connection, require_schema, revision

OLDEST_SERVER = 150_000
MOST_SKEW = timedelta(seconds=2)
"""How far two clocks may differ before we say so."""
MOSTLY = 0.5
"""The share of suspect calls from which the zone is the likely reason."""


class Verdict(StrEnum):
    """How serious a finding is."""

    OK = "ok"
    ADVICE = "advice"
    """Nothing is wrong; something would be better."""
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, what was found, and what to do about it. `code` is the exit code that a problem asks for."""

    check: str
    subject: str
    verdict: Verdict
    told: str
    advice: str = ""
    code: int = 0


def ok(check: str, subject: str, told: str) -> Finding:
    """Nothing amiss."""
    return Finding(check, subject, Verdict.OK, told)


def advice(check: str, subject: str, told: str, what: str) -> Finding:
    """Nothing wrong."""
    return Finding(check, subject, Verdict.ADVICE, told, what)


def problem(check: str, subject: str, told: str, what: str, code: int) -> Finding:
    """Something to mend."""
    return Finding(check, subject, Verdict.PROBLEM, told, what, code)


def failed(check: str, subject: str, error: CdrError) -> Finding:
    """An error of ours says by itself what to do next."""
    return problem(check, subject, str(error), "", error.exit_code)


def exit_code(findings: Sequence[Finding]) -> int:
    """The first of 2, 3, 1, 4, 5 that any problem asks for; 0 without one."""
    codes = {finding.code for finding in findings}
    return next((code for code in (2, 3, 1, 4, 5) if code in codes), 0)


def examine(settings: Settings, connect: Callable[[], Connection]) -> Iterator[Finding]:
    """Every finding, as it is found. `connect` opens a connection to the archive."""
    yield from configuration(settings)
    yield from database(settings, connect)
    yield from recorders(settings)
    yield from history(settings)
    yield from disk(settings)


# Each in turn ----------------------------------------------------------------------------------------------------


def configuration(settings: Settings) -> Iterator[Finding]:
    """What only shows when it is used."""
    try:
        Interpreter(settings)
    except UsageError as error:
        yield failed("configuration", "dialect", error)
    if not settings.recorder:
        yield problem("configuration", "recorder", "none is configured", "add a [[recorder]] with name, host, port", 2)
        return
    yield ok("configuration", "recorder", f"{len(settings.recorder)} configured")


def database(settings: Settings, connect: Callable[[], Connection]) -> Iterator[Finding]:
    """Reach, version, schema, roles, clock; and what the stored calls tell of zones and clocks."""
    try:
        with closing(connect()) as connection:
            server = health.server(connection)
            yield from _server(server)
            yield from _clock("database", server.ahead, "this machine", MOST_SKEW)
            yield from _schema(connection)
            require_schema(connection)
            yield from _roles(connection)
            yield from _absurd(connection)
            yield from _stored(connection, [each.name for each in settings.recorder])
    except (DatabaseError, UsageError) as error:
        yield failed("database", "database", error)


def _server(server: health.Server) -> Iterator[Finding]:
    version = f"PostgreSQL {server.version // 10_000}"
    if server.version < OLDEST_SERVER:
        what = f"upgrade it: {OLDEST_SERVER // 10_000} is the oldest that is supported"
        yield problem("database", "version", version, what, 3)
    else:
        yield ok("database", "version", version)


def _schema(connection: Connection) -> Iterator[Finding]:
    found, newest = revision(connection), migrate.head()
    if found == newest:
        yield ok("database", "schema", f"revision {found}")
    elif found is not None and found < newest:
        yield advice("database", "schema", f"revision {found}; this version brings {newest}", "run 'cdr db upgrade'")


def _roles(connection: Connection) -> Iterator[Finding]:
    missing = health.missing_roles(connection, migrate.ROLES)
    if missing:
        what = "for readers of their own, run 'cdr db upgrade' and what it prints for an administrator"
        yield advice("database", "roles", f"not there: {', '.join(missing)}", what)
    else:
        yield ok("database", "roles", "all there")


def _absurd(connection: Connection) -> Iterator[Finding]:
    count = health.absurd_times(connection)
    if count:
        what = "see SELECT call_id, id_time, recorder FROM cdr.call_default; a recorder's clock is, or was, wrong"
        yield problem("database", "default partition", f"{count:,} calls with an absurd time in their id", what, 5)
    else:
        yield ok("database", "default partition", "empty")


def _stored(connection: Connection, names: list[str]) -> Iterator[Finding]:
    for name, (suspect, all_) in sorted(health.suspect_zones(connection, names).items()):
        yield _zone(name, suspect, all_, "calls of the last seven days")
    for name, late in sorted(health.late_starts(connection, names).items()):
        yield from _clock(name, -late, "by the ids of the last day's calls", SKEW)


def _zone(name: str, suspect: int, all_: int, of: str) -> Finding:
    if suspect > MOSTLY * all_:
        what = f"set timezone in recorder[\"{name}\"] to that of its records, then run 'cdr rebuild --recorder {name}'"
        told = f"{suspect:,} of {all_:,} {of} start whole quarters of an hour beside the time in their id"
        return problem("zone", name, told, what, 5)
    return ok("zone", name, f"fits {all_ - suspect:,} of {all_:,} {of}")


def _clock(of: str, ahead: timedelta, beside: str, allowed: timedelta) -> Iterator[Finding]:
    seconds = ahead.total_seconds()
    told = f"{abs(seconds):,.1f} s {'ahead' if seconds > 0 else 'behind'} {beside}"
    if abs(ahead) > allowed:
        yield problem("clock", of, told, "synchronise both clocks (NTP)", 5)
    else:
        yield ok("clock", of, told)


# Recorders -------------------------------------------------------------------------------------------------------


def recorders(settings: Settings) -> Iterator[Finding]:
    """Each is asked for its list, all at once."""
    try:
        interpreter = Interpreter(settings)
    except UsageError:
        return  # said above
    for findings in asyncio.run(_asked(settings, interpreter)):
        yield from findings


async def _asked(settings: Settings, interpreter: Interpreter) -> list[list[Finding]]:
    return await asyncio.gather(*(_ask(settings, interpreter, each) for each in settings.recorder))


async def _ask(settings: Settings, interpreter: Interpreter, recorder: Recorder) -> list[Finding]:
    clock = SystemClock()
    source = interpreter.source(recorder.name)
    scribe = Scribe(recorder.name, Nowhere(clock))
    queries = Queries(recorder, source.dialect, scribe, clock, settings.worker.document_limit)
    try:
        began = clock.elapsed()
        answer = await queries.call_list(uuid4())
        took = clock.elapsed() - began
    except (RecorderError, UsageError) as error:
        return [failed("recorder", recorder.name, error)]
    finally:
        await queries.close()
    if not isinstance(answer, ListAnswer):
        return [_no_list(recorder.name, answer)]
    facts = [read_fact(each, Kind.LIST, clock.now(), source.reading) for each in answer.records]
    listed = ok("recorder", recorder.name, f"lists {len(facts):,} calls, answered within {took:.2f} s")
    return [listed, *_of_listed(recorder.name, facts, clock.now())]


def _no_list(name: str, answer: object) -> Finding:
    if isinstance(answer, Failed):
        told, what = f"it refuses the list (code {answer.code}): {answer.text}", "check its API's settings"
    else:
        told, what = (
            f"its list is not understood: {answer}",
            "compare 'cdr capture' with the dialect in docs/protocol.md",
        )
    return problem("recorder", name, told, what, 4)


def _of_listed(name: str, facts: Sequence[Fact], now: datetime) -> Iterator[Finding]:
    timed = [fact for fact in facts if is_timed(fact.id_time)]
    started = [fact for fact in timed if "start_time" in fact.values]
    if started:
        yield _zone(name, sum("zone_suspect" in fact.quality for fact in started), len(started), "listed calls")
    if timed and (ahead := max(fact.id_time for fact in timed) - now) > SKEW:
        yield from _clock(name, ahead, "by the id of a listed call", SKEW)


# History and disk ------------------------------------------------------------------------------------------------


def history(settings: Settings) -> Iterator[Finding]:
    """One small search, and a look at each folder."""
    if settings.history.http is not None:
        yield from _history_http(settings)
    for root in settings.history.files.roots if settings.history.files else ():
        yield _root(root)
    if settings.history.http is None and settings.history.files is None:
        what = "configure [history.http] or [history.files]: calls within gaps can only come from there"
        yield advice("history", "history", "none is configured", what)


def _history_http(settings: Settings) -> Iterator[Finding]:
    assert settings.history.http is not None
    now = datetime.now(UTC)
    try:
        with HistoryClient(settings.history.http, settings.worker.document_limit) as client:
            rows = len(next(iter(client.search(Interval(now - timedelta(minutes=1), now)))).found.rows)
    except (HistoryError, UsageError) as error:
        yield failed("history", "http", error)
    else:
        yield ok("history", "http", f"answers ({rows:,} rows of the last minute)")


def _root(root: Path) -> Finding:
    try:
        next(root.iterdir(), None)
    except OSError as error:
        what = "is it mounted, and may this user read it? (history.files.roots)"
        return problem("history", str(root), f"cannot be read: {error.strerror}", what, 4)
    return ok("history", str(root), "can be read")


def disk(settings: Settings) -> Iterator[Finding]:
    """Whether `data_dir` can hold a journal, and what lies there."""
    where = settings.worker.data_dir
    for told, what, code in room(where, settings.worker.journal_limit):
        yield problem("disk", str(where), told, what, code) if code else ok("disk", str(where), told)
    dead, damaged = journals(where / "journal")
    if dead:
        what = "start 'cdr worker': it loads them at once; one that runs already does within a minute"
        yield problem("journal", str(where), f"{len(dead)} of processes that are gone: {', '.join(dead)}", what, 5)
    if damaged:
        what = "their gaps are open and shown by 'cdr status'; delete the folders once nobody needs to look at them"
        yield advice("journal", str(where), f"{len(damaged)} set aside as damaged: {', '.join(damaged)}", what)
