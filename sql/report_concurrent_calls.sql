-- report.concurrent_calls(from, to): how many calls went on at once.
--
-- Purpose: to size lines and licences; to see when a recorder is near its limit.
-- Grain:   one row per recorder and minute in which anything went on, for the whole minutes that lie in the time from
--          from_time to to_time or cross its edges. Minutes in which nothing went on have no row.
-- Zone:    minutes are the same in all zones of today; all times are UTC instants.
-- A call goes on from its start until just before its end; an ongoing one until now, and no call beyond now: however long
-- that is, so that every range says the same of a minute. One without an end that is not ongoing, or without a start, is
-- left out, and so is one that began before 2000. Calls are counted, not conversations: 2N copies are calls.
--
-- How: every start is a step up, every end a step down, every minute a step of nothing; between two steps the level stays
-- the same. Each recorder's steps are moved to an era of its own, behind that of the recorder before it, where the level
-- begins and ends at 0: so one sort by time does for all recorders, at a fraction of the cost of one by name and time.
-- It reads cdr.call with the owner's rights, for then the index on the start is enough, and shows nothing personal. Of what
-- began more than 25 hours before from_time that index would show all calls there are: the few that may still go on come
-- from the indexes call_long (ended calls that lasted longer than that) and call_unresolved (ongoing ones).

CREATE OR REPLACE FUNCTION report.concurrent_calls(from_time timestamptz, to_time timestamptz)
RETURNS TABLE (recorder text, minute timestamptz, peak bigint, mean numeric)
LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET work_mem = '64MB'
BEGIN ATOMIC
WITH asked AS MATERIALIZED (
    SELECT begins, ends, greatest(begins - interval '25 hours', '2000-01-01 00:00+00') AS near, extract(epoch FROM ends - begins)::bigint / 3600 + 1 AS era
    FROM (
        SELECT greatest(date_trunc('minute', from_time), '2000-01-01 00:00+00') AS begins,
            date_trunc('minute', least(to_time, now()) + interval '59.999999 seconds') AS ends
    ) whole
), known AS (
    SELECT c.recorder, c.start_time, c.end_time
    FROM cdr.call c
    WHERE c.start_time >= (SELECT near FROM asked) AND c.start_time < (SELECT ends FROM asked)
        AND (c.end_time IS NOT NULL OR c.state = 'ongoing')
    UNION ALL
    SELECT c.recorder, c.start_time, c.end_time
    FROM cdr.call c
    WHERE c.duration > interval '25 hours' AND c.end_time > (SELECT begins FROM asked)
        AND c.start_time >= '2000-01-01 00:00+00' AND c.start_time < (SELECT near FROM asked)
    UNION ALL
    SELECT c.recorder, c.start_time, c.end_time
    FROM cdr.call c
    -- That it is not complete says nothing new: the planner then expects few of them, and does not read all of a month.
    WHERE c.state = 'ongoing' AND c.state <> 'complete' AND c.end_time IS NULL
        AND c.start_time >= '2000-01-01 00:00+00' AND c.start_time < (SELECT near FROM asked)
), chosen AS (
    SELECT k.recorder, greatest(k.start_time, (SELECT begins FROM asked)) AS begins,
        least(k.end_time, now(), (SELECT ends FROM asked)) AS ends
    FROM known k
    WHERE least(k.end_time, now()) > greatest(k.start_time, (SELECT begins FROM asked))
), recorders AS MATERIALIZED (
    SELECT array_agg(r.recorder) AS names, min(r.begins) AS begins, max(r.ends) AS ends
    FROM (SELECT c.recorder, min(c.begins) AS begins, max(c.ends) AS ends FROM chosen c GROUP BY c.recorder) r
), numbered AS (
    SELECT c.begins, c.ends, make_interval(hours => (
        (array_position((SELECT names FROM recorders), c.recorder) - 1) * (SELECT era FROM asked))::integer) AS era
    FROM chosen c
), steps AS (
    SELECT n.begins + n.era AS at, 1 AS step FROM numbered n
    UNION ALL
    SELECT n.ends + n.era, -1 FROM numbered n
    UNION ALL
    SELECT tick + make_interval(hours => (number * a.era)::integer), 0
    FROM asked a, recorders r, generate_series(0, cardinality(r.names) - 1) number,
        generate_series(date_trunc('minute', r.begins), r.ends, interval '1 minute') tick
), levels AS (
    -- Of several steps at the same moment only the level after the last of them lasts: a call that ends as another begins
    -- is not concurrent with it.
    SELECT s.at, sum(s.step) OVER along AS level, lead(s.at) OVER along AS until
    FROM steps s
    WINDOW along AS (ORDER BY s.at ROWS UNBOUNDED PRECEDING)
), minutes AS (
    SELECT date_trunc('minute', l.at) AS moved, max(l.level) AS peak,
        sum(l.level * date_part('epoch', l.until - l.at)) AS seconds
    FROM levels l
    WHERE l.level > 0 AND l.until > l.at
    GROUP BY date_trunc('minute', l.at)
), placed AS (
    SELECT m.moved, m.peak, m.seconds, a.era,
        extract(epoch FROM m.moved - a.begins)::bigint / 3600 / a.era AS number
    FROM minutes m, asked a
)
SELECT r.names[p.number + 1], p.moved - make_interval(hours => (p.number * p.era)::integer), p.peak,
    round(round(p.seconds::numeric, 6) / 60, 4)
FROM placed p, recorders r;
END;
COMMENT ON FUNCTION report.concurrent_calls(timestamptz, timestamptz) IS
    'Calls that went on at once, from from_time to to_time: recorder; minute (its begin, a UTC instant); peak, the most at any one moment; mean over the whole minute, to four digits. Minutes in which nothing went on have no row. An ongoing call lasts until now; one without an end that is not ongoing, or without a start, is left out, and so is one that began before 2000';
