-- report.extension_usage: how much each extension was on the phone.
--
-- Purpose: top extensions, and those that fell silent.
-- Grain:   one row per recorder, extension and day on which a call of it started (was first seen, where no start is
--          known). Calls of no known extension are counted under null: the sum over a day is that of report.daily_volume.
-- Zone:    calendar days of the session's TimeZone (SET TIME ZONE).
-- Masks:   the extension, as in report.calls.

CREATE OR REPLACE VIEW report.extension_usage AS
SELECT
    v.recorder,
    CASE WHEN mask.off OR v.recorded_extension = '' THEN v.recorded_extension
        ELSE '#' || left(encode(sha256(mask.key || convert_to(v.recorded_extension, 'UTF8')), 'hex'), 16) END AS extension,
    d.day,
    v.calls,
    v.complete,
    v.talk_time,
    v.longest,
    v.first_call,
    v.last_call
FROM report.days d
CROSS JOIN LATERAL (
    SELECT
        c.recorder,
        c.recorded_extension,
        count(*) AS calls,
        count(*) FILTER (WHERE c.state = 'complete') AS complete,
        coalesce(sum(c.duration), interval '0') AS talk_time,
        max(c.duration) AS longest,
        min(c.counted_at) AS first_call,
        max(c.counted_at) AS last_call
    FROM cdr.call_counted c
    WHERE c.counted_at >= d.begins AND c.counted_at < d.ends
    GROUP BY c.recorder, c.recorded_extension
) v
CROSS JOIN (
    SELECT
        (SELECT has_table_privilege('cdr.call'::regclass, 'SELECT')
            OR coalesce(pg_has_role(to_regrole('cdr_investigator'), 'USAGE'), false)) AS off,
        (SELECT k.secret FROM cdr.mask_key k) AS key
) mask;
COMMENT ON VIEW report.extension_usage IS
    'Calls per recorder, extension and day. Grain: one row per recorder, recorded extension (null: none is known) and calendar day of the session''s TimeZone on which a call of it started';
COMMENT ON COLUMN report.extension_usage.recorder IS 'The recorder';
COMMENT ON COLUMN report.extension_usage.extension IS 'Extension for which the calls were recorded, masked as in report.calls; null where none is known';
COMMENT ON COLUMN report.extension_usage.day IS 'The day, in the session''s TimeZone';
COMMENT ON COLUMN report.extension_usage.calls IS 'Calls that started on the day (were first seen, where no start is known), in any state';
COMMENT ON COLUMN report.extension_usage.complete IS 'Of these, calls with a finished record';
COMMENT ON COLUMN report.extension_usage.talk_time IS 'Sum of their durations, as far as start and end are known, wherever they end';
COMMENT ON COLUMN report.extension_usage.longest IS 'Longest duration that is known; null where none is';
COMMENT ON COLUMN report.extension_usage.first_call IS 'Start of the first of them (UTC instant)';
COMMENT ON COLUMN report.extension_usage.last_call IS 'Start of the last of them (UTC instant)';
