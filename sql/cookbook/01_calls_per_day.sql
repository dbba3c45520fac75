-- How many calls were there each day?
--
-- Role:    cdr_analyst
-- Zone:    days of :zone
-- Example: from=2025-03-01 to=2025-03-11 zone=Europe/Berlin
--
-- Counts calls: where two recorders keep the same conversation it counts twice (see 12).
\ir defaults.psql

SELECT day, sum(calls) AS calls, sum(complete) AS complete, sum(unresolved) AS unresolved, sum(talk_time) AS talk_time
FROM report.daily_volume
WHERE day >= :'from' AND day < :'to'
GROUP BY day
ORDER BY day;
