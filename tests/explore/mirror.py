"""A real PostgreSQL beside the archive in memory: whatever is asked or written goes to both, and they must agree."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Any

from explore.archive import Archive, Connected
from support.merge_oracle import Row

from etl.calls import gaps as pure
from etl.fields import FIELDS
from etl.model import Kind, State
from etl.store import database, pending, reconcile, recorders, sessions
from etl.store.database import Connection
from etl.store.write import Writer

_MARGIN = timedelta(seconds=1)
_NAMES = [each.name for each in FIELDS]
_COLUMNS = ", ".join(["call_id", "id_time", "recorder", "state", "source", *_NAMES, "attributes", "quality"])

_WHERE: dict[str, Callable[..., Any]] = {
    "load_sessions": sessions.load_sessions,
    "sessions_after": sessions.sessions_after,
    "hold_owner_lock": sessions.hold_owner_lock,
    "ownerless": sessions.ownerless,
    "close_session": sessions.close_session,
    "withdraw_future": sessions.withdraw_future,
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
        if name in ("close_session", "withdraw_future"):
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


def _row(row: tuple[Any, ...]) -> Row:
    call_id, id_time, recorder, state, source, *values, attributes, quality, first_seen_at = row
    shown = dict(zip(_NAMES, values, strict=True))
    return Row(call_id, id_time, recorder, State(state), Kind(source), shown, attributes, tuple(quality), first_seen_at)
