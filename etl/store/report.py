"""What `cdr report` shows, read from the views of schema `report` only: the rights of a reader are enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import psycopg

from etl.errors import UsageError
from etl.model import Interval
from etl.report.rows import (
    BusyHour,
    CauseCount,
    Conversations,
    Coverage,
    DayVolume,
    ExtensionUse,
    Findings,
    Gap,
    HourVolume,
    Peak,
    Pending,
    Unresolved,
)
from etl.store.amiss import OVERDUE
from etl.store.database import Connection, name_of
from etl.store.errors import translate

_DAYS = """
SELECT recorder, day, calls, complete, unresolved, talk_time, longest
FROM report.daily_volume WHERE day >= %(first)s AND day <= %(last)s ORDER BY day, recorder
"""

_CALLS = """
calls AS (
    SELECT start_time AS counted_at, cause FROM report.calls
    WHERE start_time >= %(from)s AND start_time < %(to)s
    UNION ALL
    SELECT first_seen_at, cause FROM report.calls
    WHERE start_time IS NULL AND first_seen_at >= %(from)s AND first_seen_at < %(to)s
)
"""
"""The calls of the time, as the volumes count them: by their start; without one, by when they were first seen."""

_HOURS = f"WITH {_CALLS} SELECT date_trunc('hour', counted_at), count(*) FROM calls GROUP BY 1 ORDER BY 1"
"""Clock hours of the session's zone: those of report.hourly_volume are of UTC, and not all zones share them."""

_CAUSES = f"WITH {_CALLS} SELECT cause, count(*) FROM calls GROUP BY 1 ORDER BY 2 DESC, 1"

_BUSY = """
SELECT recorder, day, hour, calls, erlangs
FROM report.busy_hour WHERE day >= %(first)s AND day <= %(last)s ORDER BY day, recorder
"""

_PEAKS = """
SELECT recorder, date_trunc('hour', minute), max(peak)
FROM report.concurrent_calls(%(from)s, %(to)s) GROUP BY 1, 2 ORDER BY 2, 1
"""

_EXTENSIONS = """
SELECT extension, sum(calls)::bigint, sum(complete)::bigint, sum(talk_time), max(longest), max(last_call)
FROM report.extension_usage WHERE day >= %(first)s AND day <= %(last)s GROUP BY 1 ORDER BY 2 DESC, 1
"""

_CONVERSATIONS = """
SELECT count(*), coalesce(sum(duration), interval '0') FROM report.conversations_between(%(from)s, %(to)s)
"""

_UNRESOLVED = """
SELECT CASE WHEN unlisted THEN 'unlisted' ELSE state END, accepted, count(*),
    count(*) FILTER (WHERE unlisted OR state = 'lost' OR (state = 'ended' AND since < %(late)s))
FROM (
    SELECT state, accepted, since, unlisted FROM report.unresolved_calls
    WHERE start_time >= %(from)s AND start_time < %(to)s
    UNION ALL
    SELECT state, accepted, since, unlisted FROM report.unresolved_calls
    WHERE start_time IS NULL AND call_id IN (
        SELECT call_id FROM report.calls
        WHERE start_time IS NULL AND first_seen_at >= %(from)s AND first_seen_at < %(to)s)
) u
GROUP BY 1, 2 ORDER BY 1, 2
"""

_COVERAGE = """
SELECT recorder, min(hour), (array_agg(covered ORDER BY hour))[1], sum(covered), sum(calls)::bigint,
    sum(recovered)::bigint, sum(unresolved)::bigint, sum(quarantined)::bigint,
    max(hour) FILTER (WHERE expired) + interval '1 hour'
FROM report.completeness_between(%(from)s, %(to)s) GROUP BY 1 ORDER BY 1
"""

_GAPS = """
SELECT id, recorder, from_time, to_time, reason, state, calls_recovered
FROM report.gaps WHERE from_time < %(to)s AND (to_time IS NULL OR to_time > %(from)s) ORDER BY from_time, recorder
"""

_PENDING = """
SELECT recorder, from_time, to_time
FROM report.pending WHERE from_time < %(to)s AND (to_time IS NULL OR to_time > %(from)s) ORDER BY recorder, from_time
"""


@dataclass(frozen=True, slots=True)
class Looked:
    """What the archive shows, and whether something of it is missing without being accepted: open gaps, calls that
    are lost, calls that ended more than five minutes ago without a record, calls that go on with us though the last
    good list lacked them. Not time that is pending: it may turn out to be covered."""

    findings: Findings
    amiss: bool


def look(connection: Connection, span: Interval, zone: ZoneInfo, now: datetime) -> Looked:
    """Read everything of `span`, which begins and ends at midnight of `zone`, in one snapshot.

    Raises UsageError for a zone that the database does not know, `SchemaMismatch` where the views are missing.
    """
    with translate(name_of(connection)), connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        _set_zone(connection, zone)
        return _Look(connection, span, zone, now).looked()


def _set_zone(connection: Connection, zone: ZoneInfo) -> None:
    try:
        connection.execute("SELECT set_config('TimeZone', %s, true)", [zone.key])
    except psycopg.errors.InvalidParameterValue:
        raise UsageError(f'the database does not know the zone "{zone.key}": choose another --timezone') from None


class _Look:
    """The queries of one report."""

    def __init__(self, connection: Connection, span: Interval, zone: ZoneInfo, now: datetime) -> None:
        self._connection = connection
        self._span, self._zone, self._now = span, zone, now
        self._values: Mapping[str, object] = {
            "from": span.start,
            "to": span.end,
            "first": span.start.astimezone(zone).date(),
            "last": (span.end - timedelta(microseconds=1)).astimezone(zone).date(),
            "late": now - OVERDUE,
        }

    def looked(self) -> Looked:
        unresolved = self._rows(_UNRESOLVED)
        gaps = tuple(Gap(*row) for row in self._rows(_GAPS))
        findings = Findings(
            span=self._span,
            zone=self._zone,
            now=self._now,
            days=tuple(DayVolume(*row) for row in self._rows(_DAYS)),
            hours=tuple(HourVolume(*row) for row in self._rows(_HOURS)),
            busy=tuple(BusyHour(*row) for row in self._rows(_BUSY)),
            peaks=tuple(Peak(*row) for row in self._rows(_PEAKS)),
            extensions=tuple(ExtensionUse(*row) for row in self._rows(_EXTENSIONS)),
            causes=tuple(CauseCount(*row) for row in self._rows(_CAUSES)),
            conversations=Conversations(*self._rows(_CONVERSATIONS)[0]),
            unresolved=tuple(Unresolved(*row[:3]) for row in unresolved),
            coverage=tuple(Coverage(*row) for row in self._rows(_COVERAGE)),
            gaps=gaps,
            pending=tuple(Pending(*row) for row in self._rows(_PENDING)),
        )
        missing = any(overdue and not accepted for _, accepted, _, overdue in unresolved)
        return Looked(findings, missing or any(gap.state == "open" for gap in gaps))

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(query.encode(), self._values).fetchall()
