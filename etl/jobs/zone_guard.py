"""Keeps records out of the archive that were read in a wrong zone: a backfill must never damage better data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta

from etl.calls.ids import is_timed
from etl.errors import WrongZone
from etl.ingest.history import Told
from etl.model import Fact
from etl.store import history_reads
from etl.store.database import Connection

SUSPECTS = 3
"""So many rows must speak against a zone."""
_QUARTER = timedelta(minutes=15)


class ZoneGuard:
    """Judges the zone of some records; `key` names its setting, `outcome` says what becomes of them.

    The time inside an id is UTC, so rows that all miss it by the same quarters of an hour tell of a wrong setting.
    """

    def __init__(self, key: str, outcome: str = "None of these rows was stored.") -> None:
        self._key = key
        self._outcome = outcome
        self._timed = 0
        self._offsets: Counter[timedelta] = Counter()

    def see(self, facts: Iterable[Fact]) -> None:
        for fact in facts:
            start = fact.values.get("start_time")
            if isinstance(start, datetime) and is_timed(fact.id_time):
                self._timed += 1
                if "zone_suspect" in fact.quality:
                    self._offsets[round((start - fact.id_time) / _QUARTER) * _QUARTER] += 1

    @property
    def doubtful(self) -> bool:
        """Whether most rows speak against the zone, however few they are."""
        return 2 * self._offsets.total() > self._timed

    def check(self) -> None:
        """Raise WrongZone if most rows speak against the zone, and not just one or two."""
        suspects = self._offsets.total()
        if self.doubtful and suspects >= SUSPECTS:
            offset = self._offsets.most_common(1)[0][0]
            hours = f"{abs(offset) / timedelta(hours=1):g} hours {'later' if offset > timedelta(0) else 'earlier'}"
            raise WrongZone(
                f"{suspects} of {self._timed} rows of the history start {hours} than the time in their ids says, so"
                f" {self._key} is not the zone of its times: set it right and run this again. {self._outcome}"
            )


def withhold(connection: Connection, told: Told) -> int:
    """Where too few rows are doubtful to condemn a zone, take out those that would damage what is better known; how
    many there were."""
    before = len(told.read)
    better = history_reads.undoubted(connection, {_key(fact) for fact in told.read if "zone_suspect" in fact.quality})
    for facts in (told.facts, told.strangers):
        facts[:] = [fact for fact in facts if "zone_suspect" not in fact.quality or fact.call_id not in better]
    return before - len(told.read)


def _key(fact: Fact) -> tuple[str, datetime]:
    return fact.call_id, fact.id_time
