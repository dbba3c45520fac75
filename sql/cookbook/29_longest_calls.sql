-- Which were the longest calls?
--
-- Role:    cdr_analyst
-- Zone:    times by the clock of :zone
-- Example: from=2025-03-01 to=2025-04-01 zone=UTC
--
-- Very long ones may be lines that nobody hung up.
\ir defaults.psql

SELECT recorder, start_time, duration, cause
FROM report.calls
WHERE start_time >= :'from' AND start_time < :'to' AND duration IS NOT NULL
ORDER BY duration DESC, start_time
LIMIT 5;
