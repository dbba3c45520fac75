-- How many calls went on in each minute of a quarter of an hour, minutes without calls too?
--
-- Role:    cdr_analyst
-- Zone:    minutes by the clock of :zone
-- Example: from=2025-03-03T09:15 to=2025-03-03T09:30 zone=America/New_York recorder=ny-1
--
-- The function gives no row for a minute in which nothing went on; a chart wants one.
\ir defaults.psql
\if :{?recorder} \else \set recorder 'ny-1' \endif

SELECT minute, coalesce(peak, 0) AS peak, coalesce(round(mean, 2), 0) AS mean
FROM generate_series(:'from'::timestamptz, :'to'::timestamptz - interval '1 minute', interval '1 minute') minute
LEFT JOIN (
    SELECT * FROM report.concurrent_calls(:'from', :'to') WHERE recorder = :'recorder'
) busy USING (minute)
ORDER BY minute;
