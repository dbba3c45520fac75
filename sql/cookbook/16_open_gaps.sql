-- Which gaps are still open?
--
-- Role:    cdr_analyst
-- Zone:    times by the clock of :zone
-- Example: from=2025-03-01 to=2025-04-01 zone=UTC
--
-- In an open gap calls may be missing. A gap that lasts has no end.
\ir defaults.psql

SELECT id, recorder, from_time, to_time, to_time - from_time AS lasted, reason
FROM report.gaps
WHERE state = 'open' AND from_time < :'to' AND coalesce(to_time, 'infinity') > :'from'
ORDER BY from_time;
