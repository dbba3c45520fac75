-- Which calls did an extension have last week?
--
-- Role:    cdr_investigator
-- Zone:    times by the clock of :zone
-- Example: extension=1000 from=2025-03-10 to=2025-03-17 zone=America/New_York
--
-- An analyst sees pseudonyms, and cannot ask for a number.
\ir defaults.psql
\if :{?extension} \else \set extension '1000' \endif

SELECT recorder, start_time, duration, source_caller_id, destination_caller_id, cause
FROM report.calls
WHERE recorded_extension = :'extension' AND start_time >= :'from' AND start_time < :'to'
ORDER BY start_time, recorder;
