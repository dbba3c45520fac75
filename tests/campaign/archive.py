"""What the database holds at the end of a campaign, as plain values: all that the oracle may look at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from support.merge_oracle import Kept

from etl.calls import coverage
from etl.calls.coverage import SessionState
from etl.calls.gaps import Gap
from etl.fields import FIELDS
from etl.model import Fact, Kind
from etl.store.database import Connection

_NAMES = [field.name for field in FIELDS]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row of quarantine."""

    recorder: str | None
    observed_at: datetime
    reason: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Archive:
    """Rows of `cdr.call` by call id, the facts of each call by kind, and sessions and gaps by recorder."""

    calls: Mapping[str, Mapping[str, Any]]
    facts: Mapping[str, Mapping[Kind, Kept]]
    gaps: Mapping[str, list[Gap]]
    sessions: Mapping[str, list[SessionState]]
    quarantine: tuple[Rejected, ...]


def read(connection: Connection) -> Archive:
    """Everything."""
    facts: dict[str, dict[Kind, Kept]] = defaultdict(dict)
    for row in _rows(connection, "SELECT * FROM cdr.fact"):
        facts[row["call_id"]][Kind(row["kind"])] = Kept(_fact(row), row["first_observed_at"])
    gaps: dict[str, list[Gap]] = defaultdict(list)
    for row in _rows(connection, "SELECT * FROM cdr.gap ORDER BY recorder, from_time"):
        gaps[row["recorder"]].append(Gap(row["from_time"], row["to_time"], row["reason"], frozenset(row["extensions"])))
    sessions: dict[str, list[SessionState]] = defaultdict(list)
    for row in _rows(connection, "SELECT recorder, fold FROM cdr.session"):
        sessions[row["recorder"]].append(coverage.load(row["fold"]))
    quarantined = _rows(connection, "SELECT recorder, observed_at, reason, body FROM cdr.quarantine")
    calls = {row["call_id"]: row for row in _rows(connection, "SELECT * FROM cdr.call")}
    return Archive(calls, facts, gaps, sessions, tuple(Rejected(**row) for row in quarantined))


GapStates = Mapping[tuple[str, datetime], str]
"""State of each gap that has ended, by recorder and beginning."""


def gap_states(connection: Connection, until: datetime) -> GapStates:
    """As of now, of the gaps that had ended by then."""
    rows = _rows(connection, "SELECT recorder, from_time, to_time, state FROM cdr.gap WHERE to_time IS NOT NULL")
    return {(row["recorder"], row["from_time"]): row["state"] for row in rows if row["to_time"] <= until}


def gaps_since(connection: Connection, moment: datetime) -> int:
    """How many gaps there are that had not ended by then."""
    ends = [row["to_time"] for row in _rows(connection, "SELECT to_time FROM cdr.gap")]
    return sum(end is None or end > moment for end in ends)


def first_subscriptions(connection: Connection) -> Mapping[str, datetime]:
    """When each recorder's time begins."""
    rows = _rows(connection, "SELECT recorder, min(subscribed_at) AS at FROM cdr.session GROUP BY recorder")
    return {row["recorder"]: row["at"] for row in rows if row["at"] is not None}


def findings(connection: Connection) -> tuple[str, ...]:
    """What the runs of `cdr verify` found, each once, in words."""
    rows = _rows(connection, "SELECT DISTINCT call_id, kind, fields FROM cdr.verify_finding ORDER BY 1, 2")
    return tuple(f"{row['call_id']} {row['kind']} {' '.join(row['fields'])}".strip() for row in rows)


def _rows(connection: Connection, query: str) -> list[dict[str, Any]]:
    with connection.transaction():
        cursor = connection.execute(query.encode())
        columns = [column.name for column in cursor.description or ()]
        return [dict(zip(columns, row, strict=True)) for row in cursor]


def _fact(row: Mapping[str, Any]) -> Fact:
    return Fact(
        call_id=row["call_id"],
        id_time=row["id_time"],
        kind=Kind(row["kind"]),
        observed_at=row["observed_at"],
        recorder=row["recorder"],
        located=row["located"],
        digest=row["digest"],
        element=b"",
        values={name: row[name] for name in _NAMES if row[name] is not None},
        attributes=row["attributes"],
        quality=tuple(row["quality"]),
    )
