-- report.extension_usage: how much each extension was on the phone.
--
-- Purpose: top extensions, and those that fell silent.
-- Grain:   one row per recorder, extension and day on which a call of it started (was first seen, where no start is
--          known). Calls of no known extension are counted under null: the sum over a day is that of report.daily_volume.
-- Zone:    calendar days of the session's TimeZone (SET TIME ZONE).
-- Masks:   the extension, as in report.calls. Rows are grouped by the pseudonym in the end: grouped by the extension
--          they would come in its order, which tells it. Grouped by it first, so that it is masked once, not per call.

CREATE OR REPLACE VIEW report.extension_usage AS
SELECT
    v.recorder,
    v.extension,
    d.day,
    v.calls,
    v.complete,
    v.talk_time,
    v.longest,
    v.first_call,
    v.last_call
FROM report.days d
CROSS JOIN (
    SELECT
        (SELECT has_table_privilege('cdr.call'::regclass, 'SELECT')
            OR coalesce(pg_has_role(to_regrole('cdr_investigator'), 'USAGE'), false)) AS off,
        (SELECT k.secret FROM cdr.mask_key k) AS key
) mask
CROSS JOIN LATERAL (
    SELECT
        u.recorder,
        u.extension,
        sum(u.calls)::bigint AS calls,
        sum(u.complete)::bigint AS complete,
        sum(u.talk_time) AS talk_time,
        max(u.longest) AS longest,
        min(u.first_call) AS first_call,
        max(u.last_call) AS last_call
    FROM (
        SELECT
            c.recorder,
            CASE WHEN mask.off OR c.recorded_extension = '' THEN c.recorded_extension
                ELSE '#' || encode(substr(sha256(mask.key || convert_to(c.recorded_extension, 'UTF8')), 1, 8), 'hex') END AS extension,
            count(*) AS calls,
            count(*) FILTER (WHERE c.state = 'complete') AS complete,
            coalesce(sum(c.duration), interval '0') AS talk_time,
            max(c.duration) AS longest,
            min(c.counted_at) AS first_call,
            max(c.counted_at) AS last_call
        FROM cdr.call_counted c
        WHERE c.counted_at >= d.begins AND c.counted_at < d.ends
        GROUP BY c.recorder, c.recorded_extension
    ) u
    GROUP BY u.recorder, u.extension
) v;
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
