-- report.completeness: how whole the archive is, per recorder and hour.
--
-- Purpose: to see at a glance which hours can be trusted, and which of them something is missing from.
-- Grain:   one row per recorder and hour, from the hour of its first subscription to now, or to where it was retired.
--          A recorder that never subscribed has none.
-- Zone:    hours are hours of UTC, so no clock change makes one of them longer, shorter or double.
-- A call belongs to the hour in which it started (first seen, where no start is known), however long it lasts.
-- A large archive is better asked for the time that is wanted: report.completeness_between(from, to).

-- It reads tables that readers may not, with the owner's rights, and shows nothing personal.

-- What an earlier version made has one column less, and cannot be replaced.
DO $$
BEGIN
    IF EXISTS (
        SELECT FROM pg_proc
        WHERE oid = to_regprocedure('report.completeness_between(timestamptz, timestamptz)')
            AND NOT 'length' = ANY (proargnames)
    ) THEN
        DROP VIEW IF EXISTS report.completeness;
        DROP FUNCTION report.completeness_between(timestamptz, timestamptz);
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION report.completeness_between(from_time timestamptz, to_time timestamptz)
RETURNS TABLE (
    recorder text, hour timestamptz, covered_share numeric, covered interval, calls bigint, recovered bigint,
    unresolved bigint, quarantined bigint, expired boolean, length interval
)
LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET work_mem = '64MB'
BEGIN ATOMIC
WITH timeline AS MATERIALIZED (
    -- The time of each recorder that is asked for, as far as it has any there.
    SELECT t.recorder, t.began, t.ended
    FROM (
        SELECT s.recorder, greatest(min(s.subscribed_at), from_time) AS began,
            least(coalesce(min(r.retired_at), now()), now(), to_time) AS ended
        FROM cdr.session s LEFT JOIN cdr.recorder r ON r.name = s.recorder
        WHERE s.subscribed_at IS NOT NULL
        GROUP BY s.recorder
    ) t
    WHERE t.began < t.ended
), hours AS (
    SELECT t.recorder, h AS hour, least(h + interval '1 hour', t.ended) - greatest(h, t.began) AS length
    FROM timeline t, generate_series(date_trunc('hour', t.began, 'UTC'), t.ended, interval '1 hour') h
    WHERE h < t.ended
), missing AS (
    -- A session with a narrower filter than the one in force covers nothing: its time lies in a gap.
    SELECT g.recorder, range_agg(tstzrange(g.from_time, g.to_time)) AS spans FROM cdr.gap g GROUP BY g.recorder
), spans AS (
    SELECT s.recorder, unnest(
        range_agg(s.coverage) * tstzmultirange(tstzrange(min(t.began), min(t.ended)))
        - coalesce((SELECT m.spans FROM missing m WHERE m.recorder = s.recorder), '{}')) AS span
    FROM cdr.session s JOIN timeline t ON t.recorder = s.recorder
    GROUP BY s.recorder
), coverage AS (
    SELECT s.recorder, h AS hour,
        sum(extract(epoch FROM least(h + interval '1 hour', upper(s.span)) - greatest(h, lower(s.span)))) AS seconds
    FROM spans s,
        generate_series(date_trunc('hour', lower(s.span), 'UTC'), upper(s.span), interval '1 hour') h
    WHERE h < upper(s.span)
    GROUP BY s.recorder, h
), counted AS (
    SELECT c.recorder, date_bin('1 hour', c.counted_at, '2000-01-01 00:00+00') AS hour, count(*) AS calls,
        count(*) FILTER (WHERE c.state <> 'complete') AS unresolved
    FROM cdr.call_counted c
    WHERE c.counted_at >= from_time AND c.counted_at < to_time
    GROUP BY 1, 2
), unheard AS (
    -- Calls whose start was not heard. Where the id tells a time near the one that is asked for, as nearly always, one
    -- join with the facts of these months finds them; the facts of other ids are looked up one by one.
    SELECT c.call_id, c.id_time, c.recorder, c.counted_at
    FROM cdr.call_counted c
    WHERE c.counted_at >= from_time AND c.counted_at < to_time
        AND c.id_time >= from_time - interval '1 day' AND c.id_time < to_time + interval '1 day'
        AND NOT EXISTS (
            SELECT FROM cdr.fact f
            WHERE f.call_id = c.call_id AND f.id_time = c.id_time AND f.kind = 'start'
                AND f.id_time >= from_time - interval '1 day' AND f.id_time < to_time + interval '1 day')
    UNION ALL
    SELECT c.call_id, c.id_time, c.recorder, c.counted_at
    FROM cdr.call_counted c
    WHERE c.counted_at >= from_time AND c.counted_at < to_time
        AND (c.id_time < from_time - interval '1 day' OR c.id_time >= to_time + interval '1 day')
        AND NOT EXISTS (
            SELECT FROM cdr.fact f
            WHERE f.call_id = c.call_id AND f.id_time = c.id_time AND f.kind = 'start' OFFSET 0)
), shown AS (
    -- Of these, calls that a list or the history showed first.
    SELECT u.recorder, date_bin('1 hour', u.counted_at, '2000-01-01 00:00+00') AS hour, count(*) AS recovered
    FROM unheard u
    JOIN timeline t ON t.recorder = u.recorder
    CROSS JOIN LATERAL (
        SELECT min(f.first_observed_at) FILTER (WHERE f.kind IN ('list', 'http', 'file')) <= min(f.first_observed_at)
            AS first
        FROM cdr.fact f WHERE f.call_id = u.call_id AND f.id_time = u.id_time
    ) found
    WHERE found.first AND u.counted_at >= t.began - interval '1 hour' AND u.counted_at < t.ended
    GROUP BY 1, 2
), refused AS (
    SELECT q.recorder, date_trunc('hour', q.observed_at, 'UTC') AS hour, count(*) AS quarantined
    FROM cdr.quarantine q
    WHERE q.state <> 'retried' AND q.recorder IS NOT NULL
        AND q.observed_at >= from_time AND q.observed_at < to_time
    GROUP BY 1, 2
)
SELECT h.recorder, h.hour,
    least(
        trunc(coalesce(v.seconds, 0) / extract(epoch FROM h.length), 4),
        CASE WHEN coalesce(w.recovered, 0) + coalesce(c.unresolved, 0) + coalesce(r.quarantined, 0) > 0
            THEN 0.9999 ELSE 1 END),
    make_interval(secs => coalesce(v.seconds, 0)::double precision),
    coalesce(c.calls, 0), coalesce(w.recovered, 0), coalesce(c.unresolved, 0), coalesce(r.quarantined, 0),
    coalesce(h.hour < (SELECT e.before FROM cdr.expiry e), false),
    h.length
FROM hours h
LEFT JOIN coverage v ON v.recorder = h.recorder AND v.hour = h.hour
LEFT JOIN counted c ON c.recorder = h.recorder AND c.hour = h.hour
LEFT JOIN shown w ON w.recorder = h.recorder AND w.hour = h.hour
LEFT JOIN refused r ON r.recorder = h.recorder AND r.hour = h.hour;
END;
COMMENT ON FUNCTION report.completeness_between(timestamptz, timestamptz) IS
    'report.completeness for the time from from_time to to_time: the hours in between, the first and the last cut off there: their length says how much of them is counted';

CREATE OR REPLACE VIEW report.completeness AS
SELECT * FROM report.completeness_between('-infinity', 'infinity');
COMMENT ON VIEW report.completeness IS
    'How whole the archive is. Grain: one row per recorder and hour of UTC, from its first subscription to now or its retirement';
COMMENT ON COLUMN report.completeness.recorder IS 'The recorder';
COMMENT ON COLUMN report.completeness.hour IS 'Begin of the hour (UTC instant; hours of UTC)';
COMMENT ON COLUMN report.completeness.covered_share IS
    'Share of the hour (as far as it belongs to the recorder''s time, and has passed) that sessions covered, from 0 to 1, rounded down; below 1 wherever recovered, unresolved or quarantined is not 0. What is pending is not covered yet; a gap stays uncovered when it is filled or accepted';
COMMENT ON COLUMN report.completeness.covered IS 'How much of the hour sessions covered';
COMMENT ON COLUMN report.completeness.calls IS 'Calls that started in the hour (were first seen, where no start is known), in any state';
COMMENT ON COLUMN report.completeness.recovered IS 'Of these, calls whose start was missed: a list of calls or the history showed them first';
COMMENT ON COLUMN report.completeness.unresolved IS 'Of these, calls that are not complete, accepted or not; those that go on at the moment too';
COMMENT ON COLUMN report.completeness.quarantined IS
    'Messages received in the hour that could not be understood, but for those that a retry has understood since';
COMMENT ON COLUMN report.completeness.expired IS
    'Whether calls of the hour, or of a part of it, were deleted by age: covered_share says who listened then, the counts only what is left';
COMMENT ON COLUMN report.completeness.length IS
    'How much of the hour belongs to the recorder''s time, and has passed: what covered_share is a share of. As a rule 01:00:00';
