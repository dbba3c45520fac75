-- With whom did someone under investigation speak, and when?
--
-- Role:    cdr_investigator
-- Zone:    times by the clock of :zone
-- Example: party=+12125550666 from=2025-03-01 to=2025-04-01 zone=America/New_York
--
-- A number, an extension or a name that is all of a field, on either side. A hold finds it inside of a list or an
-- address too, and keeps the calls from expiring: cdr retention hold --party NUMBER --reason TEXT.
\ir defaults.psql
\if :{?party} \else \set party '+12125550666' \endif

SELECT call_id, recorder, start_time, duration,
    source_caller_id, source_name, destination_caller_id, destination_name, agent_id
FROM report.calls
WHERE start_time >= :'from' AND start_time < :'to'
    AND lower(:'party') IN (lower(source_caller_id), lower(source_name), lower(destination_caller_id),
        lower(destination_name), lower(recorded_extension), lower(dialed_extension), lower(agent_id))
ORDER BY start_time;
