-- report.hourly_volume: how many calls per recorder and hour.
--
-- Purpose: volumes over the day, heat maps, comparison of recorders.
-- Grain:   one row per recorder and hour in which a call started (was first seen, where no start is known). Hours
--          without one have no row: LEFT JOIN report.hours for a gapless series.
-- Zone:    hours of UTC, so no clock change makes one of them longer, shorter or double.
-- Calls are counted, not conversations: 2N copies are calls. A call counts as a whole in the hour of its start, however
-- long it lasts.

CREATE OR REPLACE VIEW report.hourly_volume AS
SELECT v.recorder, h.hour, v.calls, v.complete, v.unresolved, v.talk_time, v.mean_duration
FROM report.hours h
CROSS JOIN LATERAL (
    SELECT
        c.recorder,
        count(*) AS calls,
        count(*) FILTER (WHERE c.state = 'complete') AS complete,
        count(*) FILTER (WHERE c.state <> 'complete') AS unresolved,
        coalesce(sum(c.duration), interval '0') AS talk_time,
        avg(c.duration) AS mean_duration
    FROM cdr.call_counted c
    WHERE c.counted_at >= h.hour AND c.counted_at < h.ends
    GROUP BY c.recorder
) v;
COMMENT ON VIEW report.hourly_volume IS
    'Calls per recorder and hour. Grain: one row per recorder and hour of UTC in which a call started; hours without one have none. Calls, not conversations';
COMMENT ON COLUMN report.hourly_volume.recorder IS 'The recorder';
COMMENT ON COLUMN report.hourly_volume.hour IS 'Begin of the hour (UTC instant; hours of UTC)';
COMMENT ON COLUMN report.hourly_volume.calls IS 'Calls that started in the hour (were first seen, where no start is known), in any state';
COMMENT ON COLUMN report.hourly_volume.complete IS 'Of these, calls with a finished record';
COMMENT ON COLUMN report.hourly_volume.unresolved IS 'Of these, calls that are not complete; those that go on at the moment too';
COMMENT ON COLUMN report.hourly_volume.talk_time IS 'Sum of their durations, as far as start and end are known, wherever they end';
COMMENT ON COLUMN report.hourly_volume.mean_duration IS 'Mean of the durations that are known; null where none is';
