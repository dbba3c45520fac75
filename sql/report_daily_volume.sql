-- report.daily_volume: how many calls per recorder and day.
--
-- Purpose: volumes over weeks and months.
-- Grain:   one row per recorder and day on which a call started (was first seen, where no start is known). Days without
--          one have no row: LEFT JOIN report.days for a gapless series.
-- Zone:    calendar days of the session's TimeZone (SET TIME ZONE), 23 or 25 hours long where a clock is set.
-- Calls are counted, not conversations: 2N copies are calls. A call counts as a whole on the day of its start, across
-- midnight too.

CREATE OR REPLACE VIEW report.daily_volume AS
SELECT v.recorder, d.day, v.calls, v.complete, v.unresolved, v.talk_time, v.mean_duration, v.longest
FROM report.days d
CROSS JOIN LATERAL (
    SELECT
        c.recorder,
        count(*) AS calls,
        count(*) FILTER (WHERE c.state = 'complete') AS complete,
        count(*) FILTER (WHERE c.state <> 'complete') AS unresolved,
        coalesce(sum(c.duration), interval '0') AS talk_time,
        avg(c.duration) AS mean_duration,
        max(c.duration) AS longest
    FROM cdr.call_counted c
    WHERE c.counted_at >= d.begins AND c.counted_at < d.ends
    GROUP BY c.recorder
) v;
COMMENT ON VIEW report.daily_volume IS
    'Calls per recorder and day. Grain: one row per recorder and calendar day of the session''s TimeZone on which a call started; days without one have none. Calls, not conversations';
COMMENT ON COLUMN report.daily_volume.recorder IS 'The recorder';
COMMENT ON COLUMN report.daily_volume.day IS 'The day, in the session''s TimeZone';
COMMENT ON COLUMN report.daily_volume.calls IS 'Calls that started on the day (were first seen, where no start is known), in any state';
COMMENT ON COLUMN report.daily_volume.complete IS 'Of these, calls with a finished record';
COMMENT ON COLUMN report.daily_volume.unresolved IS 'Of these, calls that are not complete; those that go on at the moment too';
COMMENT ON COLUMN report.daily_volume.talk_time IS 'Sum of their durations, as far as start and end are known, wherever they end';
COMMENT ON COLUMN report.daily_volume.mean_duration IS 'Mean of the durations that are known; null where none is';
COMMENT ON COLUMN report.daily_volume.longest IS 'Longest duration that is known; null where none is';
