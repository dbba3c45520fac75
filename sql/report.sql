-- Schema report: what people read. Its views and functions stand in the files that are named like them.
--
-- The files of this folder are applied in the order of their names, in one transaction, when one of them has changed.
-- They replace what is there, so that grants, and the views that readers built on these, stay. Hence: columns are added
-- at the end, and keep their types.
--
-- Helpers first: the days and the hours in which calls may have started. What is counted per day or hour walks
-- along them and looks up each day's calls by the index on their start. So a condition on day or hour decides what is
-- read at all, and a month costs a month.

-- Whoever owns the schema may go on with it, also without the right to make one.
DO $$
BEGIN
    IF to_regnamespace('report') IS NULL THEN
        CREATE SCHEMA report;
    END IF;
END
$$;
COMMENT ON SCHEMA report IS 'Views of the archive for people: readable names, one row per what the view says. Times are UTC instants';

-- cdr.call_counted: calls by the time at which volumes count them.
--
-- Purpose: one place that says when a call counts. Inside of cdr: for the views of report, not for readers.
-- Grain:   one row per call.
CREATE OR REPLACE VIEW cdr.call_counted AS
SELECT c.start_time AS counted_at, c.recorder, c.state, c.end_time - c.start_time AS duration, c.recorded_extension,
    c.call_id, c.id_time, c.end_time
FROM cdr.call c WHERE c.start_time IS NOT NULL
UNION ALL
SELECT c.first_seen_at, c.recorder, c.state, NULL, c.recorded_extension, c.call_id, c.id_time, NULL
FROM cdr.call c WHERE c.start_time IS NULL;
COMMENT ON VIEW cdr.call_counted IS 'Calls by the time at which volumes count them. Grain: one row per call';
COMMENT ON COLUMN cdr.call_counted.counted_at IS 'Start of the call; where none is known, when it was first seen';
COMMENT ON COLUMN cdr.call_counted.recorder IS 'Its recorder';
COMMENT ON COLUMN cdr.call_counted.state IS 'complete, lost, ended or ongoing';
COMMENT ON COLUMN cdr.call_counted.duration IS 'Duration; null while start or end is unknown';
COMMENT ON COLUMN cdr.call_counted.recorded_extension IS 'Extension for which the call was recorded, not masked';
COMMENT ON COLUMN cdr.call_counted.call_id IS 'Id of the call';
COMMENT ON COLUMN cdr.call_counted.id_time IS 'UTC time inside the id, as in cdr.call';
COMMENT ON COLUMN cdr.call_counted.end_time IS
    'End of the call; null while start or end is unknown. counted_at + duration is another time: a duration has days, and one by the clock of a session can have 23 or 25 hours';

-- report.day_begins(day): the first moment of a day.
--
-- Purpose: day::timestamptz is wrong where midnight comes twice, as in the Azores or in Havana, where the clock goes back
--          from 1:00 to 0:00: PostgreSQL takes the second midnight.
-- Zone:    days of the session's TimeZone.
-- How:     by what the clock shows just before that midnight. As a rule it is the evening before. Where it is the day
--          itself already, the clock went back over midnight, by just the time that it shows.
CREATE OR REPLACE FUNCTION report.day_begins(day date) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
RETURN day::timestamptz - greatest(interval '0',
    (day::timestamptz - interval '1 microsecond')::timestamp - day::timestamp + interval '1 microsecond');
COMMENT ON FUNCTION report.day_begins(date) IS
    'First moment of a calendar day of the session''s TimeZone (UTC instant); where midnight comes twice, the first one';

-- report.days: the calendar days of the archive.
--
-- Purpose: days to walk along, gapless: those without a call too.
-- Grain:   one row per day, from the first start of a call to the last. Starts before 2000, and of the future, are not
--          credible; each has its own day and none around it, and so has a call without a start (when it was first seen).
-- Zone:    days of the session's TimeZone.
CREATE OR REPLACE VIEW report.days AS
SELECT d.day, edges.begins, edges.ends
FROM (
    SELECT s.day::date AS day
    FROM (
        SELECT min(c.start_time) AS earliest, max(c.start_time) AS latest
        FROM cdr.call c
        WHERE c.start_time >= '2000-01-01 00:00+00' AND c.start_time < now() + interval '1 day'
    ) known, generate_series(known.earliest::date::timestamp, known.latest::date::timestamp, interval '1 day') s (day)
    UNION
    SELECT c.start_time::date
    FROM cdr.call c
    WHERE c.start_time < '2000-01-01 00:00+00' OR c.start_time >= now() + interval '1 day'
    UNION
    SELECT c.first_seen_at::date
    FROM cdr.call c
    WHERE c.start_time IS NULL
) d
-- OFFSET 0: they are worked out once a day. Otherwise it would be done for each call that is compared with them.
CROSS JOIN LATERAL (SELECT report.day_begins(d.day) AS begins, report.day_begins(d.day + 1) AS ends OFFSET 0) edges;
COMMENT ON VIEW report.days IS
    'Calendar days of the archive in the session''s TimeZone. Grain: one row per day from the first start of a call to the last, days without a call too';
COMMENT ON COLUMN report.days.day IS 'The day, in the session''s TimeZone';
COMMENT ON COLUMN report.days.begins IS 'Its first moment (UTC instant)';
COMMENT ON COLUMN report.days.ends IS 'The first moment of the next day (UTC instant): 23, 24 or 25 hours later';

-- report.hours: the hours of the archive, as report.days its days.
--
-- Grain:   one row per hour.
-- Zone:    hours of UTC.
CREATE OR REPLACE VIEW report.hours AS
SELECT h.hour, h.hour + interval '1 hour' AS ends
FROM (
    SELECT s.hour
    FROM (
        SELECT min(c.start_time) AS earliest, max(c.start_time) AS latest
        FROM cdr.call c
        WHERE c.start_time >= '2000-01-01 00:00+00' AND c.start_time < now() + interval '1 day'
    ) known, generate_series(date_trunc('hour', known.earliest, 'UTC'), known.latest, interval '1 hour') s (hour)
    UNION
    SELECT date_trunc('hour', c.start_time, 'UTC')
    FROM cdr.call c
    WHERE c.start_time < '2000-01-01 00:00+00' OR c.start_time >= now() + interval '1 day'
    UNION
    SELECT date_trunc('hour', c.first_seen_at, 'UTC')
    FROM cdr.call c
    WHERE c.start_time IS NULL
) h;
COMMENT ON VIEW report.hours IS
    'Hours of UTC of the archive. Grain: one row per hour from the first start of a call to the last, hours without a call too';
COMMENT ON COLUMN report.hours.hour IS 'Begin of the hour (UTC instant; hours of UTC)';
COMMENT ON COLUMN report.hours.ends IS 'Begin of the next hour (UTC instant)';
