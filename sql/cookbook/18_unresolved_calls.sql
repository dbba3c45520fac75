-- Which calls have no full record, and why?
--
-- Role:    cdr_analyst
-- Zone:    times by the clock of :zone
-- Example: from=2025-03-01 to=2025-04-01 zone=UTC
--
-- Calls that go on at this moment are among them.
\ir defaults.psql

SELECT recorder, start_time, state, why, accepted
FROM report.unresolved_calls
WHERE start_time >= :'from' AND start_time < :'to'
ORDER BY start_time;
