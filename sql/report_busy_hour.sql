-- report.busy_hour: the hour of each day with the most traffic.
--
-- Purpose: to size lines and licences.
-- Grain:   one row per recorder and day on which calls started or went on; of hours with equal traffic the earliest.
-- Zone:    calendar days and clock hours of the session's TimeZone (SET TIME ZONE). Where a clock is set back, the hour
--          that comes twice is two hours.
-- Traffic is measured in erlangs: seconds of calls inside of the hour / 3600. A call across hours counts in each for its
-- part, on the day of its start and the next one; what lies later is left out. A call without an end has no known
-- length: it counts for nothing but `calls`. Calls are counted, not conversations: 2N copies are calls.

CREATE OR REPLACE VIEW report.busy_hour AS
SELECT v.recorder, d.day, v.hour, v.calls, v.erlangs
FROM (
    -- The last calls of all may go on into a day on which none starts any more.
    SELECT known.day, edges.before, edges.begins, edges.ends
    FROM (SELECT day FROM report.days UNION SELECT day + 1 FROM report.days) known
    CROSS JOIN LATERAL (
        SELECT report.day_begins(known.day - 1) AS before, report.day_begins(known.day) AS begins,
            report.day_begins(known.day + 1) AS ends
        OFFSET 0  -- once a day, as in report.days
    ) edges
) d
CROSS JOIN LATERAL (
    SELECT DISTINCT ON (p.recorder)
        p.recorder,
        p.hour,
        sum(p.started)::bigint AS calls,
        round(extract(epoch FROM coalesce(sum(p.talk_time), interval '0')) / 3600, 4) AS erlangs
    FROM (
        -- The hour in which a call starts.
        SELECT
            c.recorder,
            date_trunc('hour', c.counted_at) AS hour,
            1 AS started,
            CASE WHEN c.duration IS NOT NULL THEN
                least(c.duration, date_trunc('hour', c.counted_at) + interval '1 hour' - c.counted_at) END AS talk_time
        FROM cdr.call_counted c
        WHERE c.counted_at >= d.begins AND c.counted_at < d.ends
        UNION ALL
        -- The further hours of those that go on beyond it, today or since yesterday.
        SELECT c.recorder, later.hour, 0, least(c.end_time, later.hour + interval '1 hour') - later.hour
        FROM cdr.call_counted c
        CROSS JOIN LATERAL generate_series(
            greatest(date_trunc('hour', c.counted_at) + interval '1 hour', d.begins),
            least(c.end_time, d.ends), interval '1 hour') later (hour)
        WHERE c.counted_at >= d.before AND c.counted_at < d.ends
            AND c.end_time > greatest(date_trunc('hour', c.counted_at) + interval '1 hour', d.begins)
            AND later.hour < least(c.end_time, d.ends)
    ) p
    GROUP BY p.recorder, p.hour
    ORDER BY p.recorder, coalesce(sum(p.talk_time), interval '0') DESC, p.hour
) v;
COMMENT ON VIEW report.busy_hour IS
    'The hour with the most traffic. Grain: one row per recorder and calendar day of the session''s TimeZone. A call counts in each hour for its part, on the day of its start and the next one';
COMMENT ON COLUMN report.busy_hour.recorder IS 'The recorder';
COMMENT ON COLUMN report.busy_hour.day IS 'The day, in the session''s TimeZone';
COMMENT ON COLUMN report.busy_hour.hour IS 'Begin of the clock hour with the most traffic, the earliest of equal ones (UTC instant; hours of the session''s TimeZone)';
COMMENT ON COLUMN report.busy_hour.calls IS 'Calls that started in this hour (were first seen, where no start is known), in any state';
COMMENT ON COLUMN report.busy_hour.erlangs IS 'Seconds of calls inside of the hour / 3600, to four digits; calls without an end count for nothing';
