-- Which calls are under legal hold, and why?
--
-- Role:    cdr_owner
-- Zone:    times by the clock of :zone
-- Example: zone=America/New_York
--
-- A hold covers one call, all calls of a party (a number or name, on either side), or all calls of a time; all of them
-- perhaps of one recorder only. What is on hold is neither deleted nor erased. A call on two holds is there twice.
\ir defaults.psql

SELECT hold, reason, call_id, recorder, start_time
FROM cdr.held_call
ORDER BY hold, start_time;
