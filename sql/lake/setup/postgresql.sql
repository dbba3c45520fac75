-- The relation `calls` of the questions in PostgreSQL: report.calls, in the shape of an export.
-- In cdr db sql: \i :lake/setup/postgresql.sql and then any question (\i :lake/02_busy_hour.sql), as cdr_analyst or
-- cdr_investigator.

SET TIME ZONE 'UTC';
CREATE OR REPLACE TEMPORARY VIEW calls AS
SELECT
    c.*,
    extract(epoch FROM c.duration)::double precision AS duration_seconds,
    extract(epoch FROM c.recorder_duration)::double precision AS recorder_duration_seconds,
    to_char(coalesce(c.start_time, c.first_seen_at), 'YYYY-MM') AS month
FROM report.calls c;
