-- How does each week compare with the week before?
--
-- Role:    cdr_analyst
-- Zone:    weeks of :zone; they begin on Monday
-- Example: from=2025-03-03 to=2025-03-31 zone=Europe/Berlin
\ir defaults.psql

WITH weeks AS (
    SELECT date_trunc('week', day::timestamp)::date AS week, sum(calls) AS calls, sum(talk_time) AS talk_time
    FROM report.daily_volume
    WHERE day >= :'from' AND day < :'to'
    GROUP BY week
)
SELECT week, calls, calls - lag(calls) OVER in_turn AS more_calls,
    round(100 * (calls / lag(calls) OVER in_turn - 1), 1) AS percent,
    talk_time, talk_time - lag(talk_time) OVER in_turn AS more_talk
FROM weeks
WINDOW in_turn AS (ORDER BY week)
ORDER BY week;
