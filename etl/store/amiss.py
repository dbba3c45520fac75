"""What is missing and not accepted: the one definition behind exit code 5 (section 3 of the contract)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from etl.model import Kind, State
from etl.store.database import Connection, name_of
from etl.store.errors import translate

OVERDUE = timedelta(minutes=5)
"""How long the record of a call that has ended may take."""


@dataclass(frozen=True, slots=True)
class Amiss:
    """What is missing at a recorder and not accepted; false where nothing is."""

    lost: int = 0
    overdue: int = 0
    """Calls whose end was first heard of over five minutes ago, without a record."""
    unlisted: int = 0
    """Calls that are ongoing with us, yet were absent from the last good list."""
    gaps: int = 0
    """Open gaps."""

    def __bool__(self) -> bool:
        return any((self.lost, self.overdue, self.unlisted, self.gaps))


NOTHING = Amiss()


_CALLS = f"""
SELECT c.recorder,
    count(*) FILTER (WHERE c.state = '{State.LOST}'),
    count(*) FILTER (WHERE c.state = '{State.ENDED}' AND EXISTS (
        SELECT FROM cdr.fact f WHERE f.call_id = c.call_id AND f.id_time = c.id_time
          AND (f.kind = '{Kind.END}' OR f.end_time IS NOT NULL) AND f.first_observed_at < %(late)s)),
    0
FROM cdr.call c
WHERE c.state IN ('{State.LOST}', '{State.ENDED}')
  AND NOT EXISTS (SELECT FROM cdr.call_acceptance a WHERE a.call_id = c.call_id)
GROUP BY c.recorder
"""

UNLISTED = """
FROM cdr.unlisted_call c WHERE NOT EXISTS (SELECT FROM cdr.call_acceptance a WHERE a.call_id = c.call_id)
"""
"""Calls `c` that are ongoing yet absent from the last good list, and not accepted, as the end of a query."""

_UNLISTED = f"SELECT c.recorder, 0, 0, count(*) {UNLISTED} GROUP BY c.recorder"

_GAPS = "SELECT recorder, count(*) FROM cdr.gap WHERE state = 'open' GROUP BY recorder"


def amiss(connection: Connection, now: datetime) -> Mapping[str | None, Amiss]:
    """What is amiss as of `now`, by recorder; None is for calls that no recorder is known for."""
    found: dict[str | None, Amiss] = {}
    with translate(name_of(connection)), connection.transaction():
        calls = connection.execute(f"{_CALLS} UNION ALL {_UNLISTED}", {"late": now - OVERDUE}).fetchall()
        gaps = connection.execute(_GAPS).fetchall()
    for recorder, lost, overdue, unlisted in calls:
        old = found.get(recorder, NOTHING)
        found[recorder] = Amiss(old.lost + lost, old.overdue + overdue, old.unlisted + unlisted)
    for recorder, count in gaps:
        old = found.get(recorder, NOTHING)
        found[recorder] = Amiss(old.lost, old.overdue, old.unlisted, count)
    return found
