"""What reconciliation needs of the database: its lock, what is stored, and a record of each run."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID
from zlib import decompress

from etl.calls.ids import id_time
from etl.calls.reconcile import Action, Stored
from etl.model import FINISHED, Fact, Kind, State
from etl.store import gate
from etl.store.amiss import NOTHING, Amiss, amiss
from etl.store.database import Connection, Cursor, name_of
from etl.store.errors import translate

_KEY = "hashtextextended('cdr.reconcile.' || %s, 0)"


def lock(connection: Connection, recorder: str) -> bool:
    """Take the recorder's lock for this connection; False where another run has it. Ends with the connection."""
    with translate(name_of(connection)), connection.transaction():
        row = connection.execute(f"SELECT pg_try_advisory_lock({_KEY})", [recorder]).fetchone()
    return row == (True,)


def unlock(connection: Connection, recorder: str) -> None:
    """Give the recorder's lock back."""
    with translate(name_of(connection)), connection.transaction():
        connection.execute(f"SELECT pg_advisory_unlock({_KEY})", [recorder])


_ENDS = ", ".join(f"'{kind}'" for kind in sorted({Kind.END, *FINISHED}))

_END_SEEN = f"""
LEFT JOIN LATERAL (
    SELECT min(f.first_observed_at) AS at FROM cdr.fact f
    WHERE f.call_id = c.call_id AND f.id_time = c.id_time AND (f.kind IN ({_ENDS}) OR f.end_time IS NOT NULL)
) e ON c.state <> '{State.ONGOING}'
"""

_UNRESOLVED = f"""
SELECT c.call_id, c.state, c.first_seen_at, e.at, c.source = '{Kind.LIST}' FROM cdr.call c {_END_SEEN}
WHERE c.recorder = %s AND c.state <> '{State.COMPLETE}'
"""

_LISTED = f"""
SELECT c.call_id, c.state, c.first_seen_at, e.at, c.source = '{Kind.LIST}'
FROM unnest(%s::text[], %s::timestamptz[]) k (call_id, id_time)
CROSS JOIN LATERAL (
    SELECT * FROM cdr.call WHERE call_id = k.call_id AND id_time = k.id_time OFFSET 0
) c {_END_SEEN}
"""


def stored(connection: Connection, recorder: str, listed: Collection[str]) -> list[Stored]:
    """Every call of the recorder that is not complete, and every listed call that is stored at all.

    Costs what is open and what differs: of the listed calls only those are looked up one by one that are not ongoing.
    """
    with translate(name_of(connection)), connection.transaction():
        found = {row[0]: _stored(row) for row in connection.execute(_UNRESOLVED, [recorder])}
        others = sorted(set(listed) - found.keys())
        if others:
            rows = connection.execute(_LISTED, [others, [id_time(call_id) for call_id in others]])
            found |= {row[0]: _stored(row) for row in rows}
    return list(found.values())


def _stored(row: tuple[str, str, datetime, datetime | None, bool]) -> Stored:
    return Stored(row[0], State(row[1]), *row[2:])


def lost(connection: Connection, recorder: str) -> set[str]:
    """The ids of the recorder's calls that are `lost` as of now."""
    query = f"SELECT call_id FROM cdr.call WHERE recorder = %s AND state = '{State.LOST}'"
    with translate(name_of(connection)), connection.transaction():
        return {row[0] for row in connection.execute(query, [recorder])}


PORTION = 5_000
"""Calls looked up by one statement: a list of them takes memory on both sides."""

_SIGHTED = f"""
SELECT s.number
FROM unnest(%s::text[], %s::timestamptz[], %s::bytea[]) WITH ORDINALITY s (call_id, id_time, digest, number)
CROSS JOIN LATERAL (
    SELECT FROM cdr.fact f JOIN cdr.call c ON c.call_id = f.call_id AND c.id_time = f.id_time
    WHERE f.call_id = s.call_id AND f.id_time = s.id_time AND f.kind = '{Kind.LIST}' AND f.digest = s.digest
      AND c.state = '{State.ONGOING}'
    OFFSET 0
) known
"""


def news(cursor: Cursor, sightings: Sequence[Fact], at_hand: Collection[tuple[str, datetime]]) -> list[Fact]:
    """The sightings of a run's list that are facts: all but those of calls that are ongoing and equally listed before.

    Only under the recorder's lock: an absence that another run finds at the same time must not win over a sighting
    that was left out. For the same reason nothing is left out of calls of which other facts are `at_hand`.
    """
    found: list[Fact] = []
    for first in range(0, len(sightings), PORTION):
        portion = sightings[first : first + PORTION]
        ids, times, digests = zip(*((fact.call_id, fact.id_time, fact.digest) for fact in portion), strict=True)
        known = {row[0] for row in cursor.execute(_SIGHTED, [list(ids), list(times), list(digests)])}
        found += [
            fact
            for number, fact in enumerate(portion, 1)
            if number not in known or (fact.call_id, fact.id_time) in at_hand
        ]
    return found


@dataclass(frozen=True, slots=True)
class Run:
    """A run that has begun."""

    id: UUID
    recorder: str
    trigger: str


def begin(connection: Connection, run: Run) -> None:
    """Note that a run has begun."""
    with translate(name_of(connection)), connection.transaction():
        connection.execute(
            "INSERT INTO cdr.reconcile_run (id, recorder, trigger) VALUES (%s, %s, %s)",
            [run.id, run.recorder, run.trigger],
        )


def add_actions(
    connection: Connection,
    run: Run,
    actions: Iterable[Action],
    outcomes: Mapping[str, str],
    lists: Sequence[bytes] = (),
) -> None:
    """Store what the run does, with the `lists` that prove its absences, as received (zlib).

    Lists that show an erased call are not kept.
    """
    with translate(name_of(connection)), connection.transaction(), connection.cursor() as cursor:
        shown = gate.any_erased(cursor) and any(gate.names_erased(cursor, decompress(each)) for each in lists)
        first, second, *_ = (None, None) if shown else (*lists, None, None)
        cursor.execute(
            "UPDATE cdr.reconcile_run SET first_list = %s, second_list = %s WHERE id = %s", [first, second, run.id]
        )
        statement = "COPY cdr.reconcile_action (run, position, act, rule, call_id, told, outcome) FROM STDIN"
        with cursor.copy(statement) as copy:
            for number, action in enumerate(actions):
                outcome = outcomes.get(action.call_id) if action.act == "ask" else None
                copy.write_row((run.id, number, action.act, action.rule, action.call_id, action.told, outcome))


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended: when the first list was asked for, and how many calls it had; `told`: why it failed."""

    asked_at: datetime | None
    listed: int | None
    told: str | None = None


_FINISH = """
UPDATE cdr.reconcile_run SET finished_at = clock_timestamp(), result = %s, asked_at = %s, listed = %s, told = %s
WHERE id = %s
"""


def finish(connection: Connection, run: Run, result: Result) -> None:
    """Note how a run ended."""
    word = "done" if result.told is None else "failed"
    values = [word, result.asked_at, result.listed, result.told, run.id]
    with translate(name_of(connection)), connection.transaction():
        connection.execute(_FINISH, values)


def last_success(connection: Connection, recorder: str) -> datetime | None:
    """When the last good run of a recorder ended, by whichever worker."""
    query = "SELECT max(finished_at) FROM cdr.reconcile_run WHERE recorder = %s AND result = 'done'"
    with translate(name_of(connection)), connection.transaction():
        row = connection.execute(query, [recorder]).fetchone()
    return row[0] if row else None


def unresolved(connection: Connection, recorder: str, now: datetime) -> Amiss:
    """What is amiss at a recorder and not accepted."""
    return amiss(connection, now).get(recorder, NOTHING)
