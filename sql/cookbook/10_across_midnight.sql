-- Which calls went on across midnight?
--
-- Role:    cdr_analyst
-- Zone:    midnight of :zone
-- Example: from=2025-03-01 to=2025-04-01 zone=Europe/Berlin
--
-- They belong to the day on which they began.
\ir defaults.psql

SELECT recorder, start_time, end_time, duration
FROM report.calls
WHERE start_time >= :'from' AND start_time < :'to' AND end_time > report.day_begins(start_time::date + 1)
ORDER BY start_time;
