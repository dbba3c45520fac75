"""A year of calls, made in SQL: five recorders, 2,000 extensions, quiet nights and weekends, copies, unresolved calls.

Rows lie as a live line would have left them, in the order of time. They are made in tables of their own, which become
partitions when they are full: their indexes are then built once, and not row by row.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from threading import Lock

import psycopg
from psycopg import sql

RECORDERS = 5
EXTENSIONS = 2_000
MONTHS = 12

_CALLS = """
INSERT INTO cdr.{table} (
    call_id, id_time, recorder, state, source, start_time, end_time, recorder_duration,
    source_caller_id, source_name, source_ip, source_eth, source_device,
    destination_caller_id, destination_name, destination_ip, destination_device,
    cause_id, direction_id, audio_codec_id, signaling_id, recorder_service_id, manual,
    native_id, native_call_id, platform_call_id, modality_id, location, owner_eid, location_eid, cisco_guid,
    recorded_extension, dialed_extension, ondemand, conference, secondary, do_not_delete,
    attributes, quality, first_seen_at, recorded_at)
WITH hours AS (
    -- How busy each hour is: a curve over the day, and little at weekends.
    SELECT hour, CASE WHEN extract(isodow FROM hour) < 6 THEN 1 ELSE 0.15 END
        * ('{{1,1,1,1,1,2,8,25,60,90,100,95,70,80,95,95,85,60,30,15,8,4,2,1}}'::int[])
            [extract(hour FROM hour AT TIME ZONE 'UTC')::int + 1] AS weight
    FROM generate_series({first}::timestamptz, {last}::timestamptz - interval '1 hour', interval '1 hour') hour
), drawn AS MATERIALIZED (
    SELECT row_number() OVER () AS number,
        hour + random() * interval '1 hour' AS began,
        -ln(1 - random()) * 180 AS seconds,
        floor({extensions} * random() * random())::int AS extension,
        floor(1e7 * random() * random())::int AS other,
        random() AS luck, random() AS copied, random() AS cause
    FROM (SELECT hour, generate_series(1, round({calls} * weight / sum(weight) OVER ())::int) FROM hours) wanted
), told AS (
    SELECT *,
        began + copy * random() * interval '1 second' AS start_time,
        'ny-' || (extension + copy) % {recorders} + 1 AS recorder,
        CASE WHEN luck < 0.008 THEN 'lost' WHEN luck < 0.01 THEN 'ended' ELSE 'complete' END AS state,
        luck < 0.01 AS endless, luck > 0.98 AS recovered,
        md5({first}::text || number) AS noise
    FROM drawn CROSS JOIN LATERAL generate_series(0, (copied < 0.03)::int) copy
), timed AS (
    SELECT *, start_time - interval '1 second' AS id_time,
        start_time + make_interval(secs => round(seconds::numeric)::double precision) AS end_time,
        lpad(to_hex((extract(epoch FROM start_time - interval '1 second') * 10000000)::bigint + 122192928000000000),
            15, '0') AS ticks
    FROM told
)
SELECT
    right(ticks, 8) || '-' || substr(ticks, 4, 4) || '-1' || left(ticks, 3) || '-8000-'
        || copy || lpad(to_hex(number), 11, '0'),
    greatest(id_time, {first}), recorder, state,
    CASE WHEN recovered THEN 'http' WHEN state = 'complete' THEN 'detail' WHEN state = 'ended' THEN 'end'
        ELSE 'absent' END,
    CASE WHEN luck >= 0.0001 THEN start_time END,
    CASE WHEN NOT endless THEN end_time END,
    CASE WHEN NOT endless THEN end_time - start_time END,
    (10000 + extension)::text, 'Employee ' || extension,
    '10.1.' || extension / 250 || '.' || extension % 250 + 1, upper(left(noise, 12)), 'SEP' || upper(left(noise, 12)),
    '+1212' || lpad(other::text, 7, '0'), CASE WHEN other % 3 = 0 THEN 'Customer ' || other END,
    '10.2.' || other % 200 || '.' || other % 250, 'Trunk ' || other % 20,
    CASE WHEN cause < 0.6 THEN 0 WHEN cause < 0.75 THEN 1 WHEN cause < 0.9 THEN 2 WHEN cause < 0.95 THEN 5
        WHEN cause < 0.99 THEN 4 ELSE 99 END,
    other % 4, (ARRAY[2, 4, 6, 11])[other % 4 + 1], 2, 1, 0,
    noise || '|' || extension, noise, noise, CASE WHEN other % 20 = 0 THEN 'video' ELSE 'voice' END,
    'RECORDER-' || recorder, '0001', '0001', upper(md5(noise)),
    (10000 + extension)::text, CASE WHEN other % 5 = 0 THEN (10000 + other % 2000)::text END,
    false, false, copy = 1, false,
    jsonb_build_object('EncryptionKey', left(noise, 8), 'PbxName', 'pbx-' || other % 4, 'MediaLength', seconds::int),
    '{{}}', start_time + interval '0.3 seconds', end_time + interval '2 seconds'
FROM timed
"""

_FACTS = """
INSERT INTO cdr.{table} (call_id, id_time, kind, observed_at, first_observed_at, recorder, digest, start_time, end_time,
    source_caller_id, destination_caller_id, recorded_extension, attributes, element)
SELECT call_id, id_time, kind, at, at, CASE WHEN kind <> 'http' THEN recorder END, decode(md5(call_id || kind), 'hex'),
    start_time, CASE WHEN kind <> 'start' THEN end_time END,
    source_caller_id, destination_caller_id, recorded_extension,
    CASE WHEN kind IN ('detail', 'http') THEN attributes ELSE '{{}}' END,
    decode(repeat(md5(call_id || kind), CASE WHEN kind IN ('detail', 'http') THEN 25 ELSE 10 END), 'hex')
FROM cdr.{calls} CROSS JOIN LATERAL (VALUES
    ('start', source <> 'http', first_seen_at),
    ('end', source NOT IN ('http', 'absent'), recorded_at - interval '1.8 seconds'),
    (source, source IN ('detail', 'http', 'absent'), recorded_at)
) known (kind, there, at)
WHERE there
"""

_SESSIONS = """
INSERT INTO cdr.session (id, recorder, worker, opened_at, subscribed_at, closed_at, reason, coverage, fold)
SELECT gen_random_uuid(), 'ny-' || n % {recorders} + 1, 'generated', at, at, at + interval '23 hours 59 minutes',
    'drop', tstzmultirange(tstzrange(at, at + interval '23 hours 59 minutes')), '{{}}'
FROM generate_series(1, {recorders}) n, generate_series({first}::timestamptz, {last}::timestamptz, interval '1 day') at
"""

_GAPS = """
INSERT INTO cdr.gap (recorder, from_time, to_time, reason)
SELECT recorder, closed_at, closed_at + interval '1 minute', 'drop' FROM cdr.session
"""


@dataclass(frozen=True, slots=True)
class Year:
    """Twelve whole months of calls, the last one before the current; the `asked` one has facts too."""

    url: str
    calls: int

    @property
    def months(self) -> list[date]:
        """First days, in order."""
        today = datetime.now(UTC)
        numbers = (today.year * 12 + today.month - 1 - back for back in range(MONTHS, 0, -1))
        return [date(number // 12, number % 12 + 1, 1) for number in numbers]

    @property
    def asked(self) -> date:
        """The month that questions are about."""
        return self.months[MONTHS // 2]

    def fill(self) -> None:
        """Make it all, two months at a time."""
        lock = Lock()
        with ThreadPoolExecutor(2) as threads:
            for _ in threads.map(lambda month: self._fill(month, lock), self.months):
                pass
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(self._worded(_SESSIONS, self.months[0], until=after(self.months[-1])))
            connection.execute(_GAPS)
            connection.execute("VACUUM (ANALYZE, PARALLEL 2) cdr.call")
            connection.execute("VACUUM (ANALYZE, PARALLEL 2) cdr.fact")
            connection.execute("ANALYZE cdr.session, cdr.gap")
            connection.execute("CHECKPOINT")

    def _fill(self, month: date, lock: Lock) -> None:
        with psycopg.connect(self.url, options="-c TimeZone=UTC -c search_path=pg_catalog") as connection:
            # Made and filled in one transaction, a table needs no log of its rows.
            self._make(connection, "call", month, _CALLS)
            if month == self.asked:
                self._make(connection, "fact", month, _FACTS)
            connection.commit()
            with lock:
                self._attach(connection, "call", month)
                if month == self.asked:
                    self._attach(connection, "fact", month)
                connection.commit()
        print(f"  {month:%Y-%m} is there", file=sys.stderr)

    def _make(self, connection: psycopg.Connection, table: str, month: date, statement: str) -> None:
        name = _name(table, month)
        like = "CREATE TABLE cdr.{} (LIKE cdr.{} INCLUDING ALL EXCLUDING INDEXES)"
        connection.execute(sql.SQL(like).format(name, sql.Identifier(table)))
        connection.execute("SELECT setseed(%s)", [month.month / 100])
        connection.execute(self._worded(statement, month, table))

    def _attach(self, connection: psycopg.Connection, table: str, month: date) -> None:
        attach = "ALTER TABLE cdr.{} ATTACH PARTITION cdr.{} FOR VALUES FROM ({}) TO ({})"
        ends = _midnight(month), _midnight(after(month))
        connection.execute(sql.SQL(attach).format(sql.Identifier(table), _name(table, month), *ends))

    def _worded(self, statement: str, month: date, table: str = "call", until: date | None = None) -> sql.Composed:
        return sql.SQL(statement).format(
            table=_name(table, month),
            calls=_name("call", month) if table == "fact" else sql.Literal(round(self.calls / MONTHS / 1.03)),
            first=_midnight(month),
            last=_midnight(until or after(month)),
            extensions=sql.Literal(EXTENSIONS),
            recorders=sql.Literal(RECORDERS),
        )


def _name(table: str, month: date) -> sql.Identifier:
    return sql.Identifier(f"{table}_{month:%Y_%m}")


def after(month: date) -> date:
    """The first day of the month behind."""
    return (month + timedelta(days=31)).replace(day=1)


def _midnight(month: date) -> sql.Literal:
    return sql.Literal(f"{month} 00:00+00")
