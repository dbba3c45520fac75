-- What does the archive know a call from?
--
-- Role:    cdr_owner
-- Zone:    times by the clock of :zone
-- Example: call=2888c180-0665-11f0-8000-0000000000cc zone=UTC
--
-- One row for each fact, as they were received. cdr call ID tells more: which field comes from which of them.
\ir defaults.psql
\if :{?call} \else \set call '2888c180-0665-11f0-8000-0000000000cc' \endif

SELECT kind, coalesce(recorder, 'history') AS heard_from, first_observed_at, observed_at, quality
FROM cdr.fact
WHERE call_id = :'call'
ORDER BY first_observed_at;
