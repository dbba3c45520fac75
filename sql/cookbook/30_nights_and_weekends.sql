-- How many calls began at night or on a weekend?
--
-- Role:    cdr_analyst
-- Zone:    nights and weekends of :zone
-- Example: from=2025-03-01 to=2025-04-01 zone=America/New_York recorder=ny-1
--
-- Nights last from 22 to 6 o'clock. Recorders stand in different zones: ask for one at a time.
\ir defaults.psql
\if :{?recorder} \else \set recorder 'ny-1' \endif

SELECT
    CASE
        WHEN extract(isodow FROM start_time) >= 6 THEN 'weekend'
        WHEN extract(hour FROM start_time) >= 22 OR extract(hour FROM start_time) < 6 THEN 'night'
        ELSE 'working day'
    END AS time_of_week,
    count(*) AS calls, sum(duration) AS talk_time
FROM report.calls
WHERE recorder = :'recorder' AND start_time >= :'from' AND start_time < :'to'
GROUP BY time_of_week
ORDER BY time_of_week;
