"""A real PostgreSQL beside the archive in memory: whatever is asked or written goes to both, and they must agree."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from random import Random
from typing import Any

from explore.archive import Archive, Connected
from support.merge_oracle import Row, merge

from etl.calls import gaps as pure
from etl.fields import FIELDS
from etl.model import Kind, State
from etl.store import database, pending, reconcile, recorders, sessions
from etl.store.database import Connection
from etl.store.write import Batch, Writer

_MARGIN = timedelta(seconds=1)
_NAMES = [each.name for each in FIELDS]
_COLUMNS = ", ".join(["call_id", "id_time", "recorder", "state", "source", *_NAMES, "attributes", "quality"])

_WHERE: dict[str, Callable[..., Any]] = {
    "load_sessions": sessions.load_sessions,
    "sessions_after": sessions.sessions_after,
    "hold_owner_lock": sessions.hold_owner_lock,
    "ownerless": sessions.ownerless,
    "close_session": sessions.close_session,
    "withdraw_repeated": sessions.withdraw_repeated,
    "lock": reconcile.lock,
    "unlock": reconcile.unlock,
    "begin": reconcile.begin,
    "finish": reconcile.finish,
    "add_actions": reconcile.add_actions,
    "stored": lambda *args: sorted(reconcile.stored(*args), key=lambda each: each.call_id),
    "lost": reconcile.lost,
    "owed": pending.owed,
    "register": recorders.register,
}


class Mirror:
    """The same archive in a database of its own, which must be empty at first."""

    def __init__(self, archive: Archive, url: str) -> None:
        self._archive = archive
        self._url = url
        self._admin = database.connect(url, application="explore")
        empty(self._admin)
        archive.mirror = self

    def close(self) -> None:
        self._admin.close()

    def connect(self, connected: Connected) -> None:
        connected.real = database.connect(self._url, application="explored")

    def disconnect(self, connected: Connected) -> None:
        """The server notices a moment later; here it does so at once."""
        pid = connected.real.info.backend_pid
        connected.real.close()
        while self._rows("SELECT FROM pg_stat_activity WHERE pid = %s", pid):
            time.sleep(0.002)

    def writer(self, connected: Connected, margin: timedelta) -> Writer:
        return Writer(connected.real, margin=margin, now=connected.process.now)

    def do(self, connected: Connected, name: str, *args: Any) -> None:
        _WHERE[name](connected.real, *args)
        if name in ("close_session", "withdraw_repeated"):
            self._compare_gaps()

    def ask(self, connected: Connected, name: str, answer: Any, *args: Any) -> None:
        self.same(name, answer, _WHERE[name](connected.real, *args))

    def same(self, what: str, ours: Any, theirs: Any) -> None:
        if ours != theirs:
            self._archive.world.complain(f"PostgreSQL says otherwise about {what}: {theirs}, not {ours}")

    def compare(self, archive: Archive, changed: Collection[str], recorders: Collection[str]) -> None:
        """After a commit: the rows that changed, the sessions, and the gaps, kept up to date there bit by bit."""
        query = f"SELECT {_COLUMNS}, first_seen_at FROM cdr.call WHERE call_id = ANY(%s) ORDER BY call_id"
        rows = [_row(row) for row in self._rows(query, list(changed))]
        self.same("rows", [archive.row(call_id) for call_id in sorted(changed)], rows)
        if recorders:
            self._compare_gaps()

    def compare_ties(self) -> None:
        """G2 where times do not tell: all facts again, in another order, as if received in whole minutes. Two workers
        hear the same microsecond too seldom to wait for; of equal times the digest decides, not who came first."""
        facts = [replace(fact, observed_at=_minute(fact.observed_at)) for fact in chain(*self._archive.facts.values())]
        Random(len(facts)).shuffle(facts)
        empty(self._admin)
        with database.connect(self._url, application="explored") as connection:
            writer = Writer(connection, margin=_MARGIN, now=lambda: datetime.now(UTC))
            for first in range(0, len(facts), 3):
                writer.write(Batch(facts=facts[first : first + 3]))
        for call_id in sorted(self._archive.facts):
            ours = merge(fact for fact in facts if fact.call_id == call_id)
            query = f"SELECT {_COLUMNS}, first_seen_at FROM cdr.call WHERE call_id = %s"
            (theirs,) = map(_row, self._rows(query, call_id))
            differing = [each.name for each in fields(Row) if getattr(ours, each.name) != getattr(theirs, each.name)]
            told = f"PostgreSQL shows other {differing} of call {int(call_id[:8], 16)} when all times are equal"
            if differing:
                self._archive.world.complain(told)

    def _compare_gaps(self) -> None:
        spans = [pure.session_span(state, _MARGIN) for state in self._archive.sessions.values()]
        found = pure.gaps(each for each in spans if each is not None)
        ours = [(gap.start, gap.end, gap.reason, sorted(gap.extensions)) for gap in found]
        query = "SELECT from_time, to_time, reason, extensions FROM cdr.gap ORDER BY from_time"
        self.same(
            "gaps", ours, [(start, end, reason, list(filter_)) for start, end, reason, filter_ in self._rows(query)]
        )

    def _rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._admin.transaction():
            return self._admin.execute(query.encode(), values or None).fetchall()


def empty(connection: Connection) -> None:
    """Forget what the last world has left."""
    tables = "call, fact, session, gap, checkpoint, quarantine, reconcile_run, reconcile_action, recorder"
    with connection.transaction():
        connection.execute("TRUNCATE " + ", ".join(f"cdr.{each.strip()}" for each in tables.split(",")) + " CASCADE")


def _minute(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


def _row(row: tuple[Any, ...]) -> Row:
    call_id, id_time, recorder, state, source, *values, attributes, quality, first_seen_at = row
    shown = dict(zip(_NAMES, values, strict=True))
    return Row(call_id, id_time, recorder, State(state), Kind(source), shown, attributes, tuple(quality), first_seen_at)
