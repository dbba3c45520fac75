-- report.concurrent_calls(from, to): how many calls went on at once.
--
-- Purpose: to size lines and licences; to see when a recorder is near its limit.
-- Grain:   one row per recorder and minute in which anything went on, for the whole minutes that lie in the time from
--          from_time to to_time or cross its edges. Minutes in which nothing went on have no row.
-- Zone:    minutes are the same in all zones of today; all times are UTC instants.
-- A call goes on from its start until just before its end; an ongoing one until now. One without an end that is not
-- ongoing, or without a start, is left out, and so is one that began more than 25 hours before from_time. Calls are
-- counted, not conversations: 2N copies are calls.

CREATE OR REPLACE FUNCTION report.concurrent_calls(from_time timestamptz, to_time timestamptz)
RETURNS TABLE (recorder text, minute timestamptz, peak bigint, mean numeric)
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
WITH asked AS (
    SELECT date_trunc('minute', from_time) AS begins,
        date_trunc('minute', to_time) + CASE WHEN to_time > date_trunc('minute', to_time)
            THEN interval '1 minute' ELSE interval '0' END AS ends
), chosen AS MATERIALIZED (
    SELECT c.recorder, greatest(c.start_time, a.begins) AS begins, least(coalesce(c.end_time, now()), a.ends) AS ends
    FROM asked a JOIN report.calls c
        ON c.start_time >= a.begins - interval '25 hours' AND c.start_time < a.ends
    WHERE (c.end_time IS NOT NULL OR c.state = 'ongoing')
        AND coalesce(c.end_time, now()) > greatest(c.start_time, a.begins)
), steps AS (
    SELECT c.recorder, c.begins AS at, 1 AS step FROM chosen c
    UNION ALL
    SELECT c.recorder, c.ends, -1 FROM chosen c
), levels AS (
    -- How many go on from each moment at which that changes until the next.
    SELECT s.recorder, s.at,
        (sum(sum(s.step)) OVER (PARTITION BY s.recorder ORDER BY s.at))::bigint AS level,
        lead(s.at) OVER (PARTITION BY s.recorder ORDER BY s.at) AS until
    FROM steps s
    GROUP BY s.recorder, s.at
)
SELECT l.recorder, m.minute, max(l.level),
    round(extract(epoch FROM
        sum(l.level * (least(l.until, m.minute + interval '1 minute') - greatest(l.at, m.minute)))) / 60, 4)
FROM levels l
CROSS JOIN LATERAL generate_series(date_trunc('minute', l.at), l.until, interval '1 minute') m (minute)
WHERE l.level > 0 AND m.minute < l.until
GROUP BY l.recorder, m.minute;
END;
COMMENT ON FUNCTION report.concurrent_calls(timestamptz, timestamptz) IS
    'Calls that went on at once, from from_time to to_time: recorder; minute (its begin, a UTC instant); peak, the most at any one moment; mean over the whole minute, to four digits. Minutes in which nothing went on have no row. An ongoing call lasts until now; one without an end that is not ongoing, or without a start, is left out, and so is one that began more than 25 hours before from_time';
