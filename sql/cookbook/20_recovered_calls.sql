-- Which calls did nobody hear, and what showed them?
--
-- Role:    cdr_owner
-- Zone:    times by the clock of :zone
-- Example: from=2025-03-01 to=2025-04-01 zone=UTC
--
-- Their start was missed: the recorder's list, or the history (http, file), showed them first. How many there are an
-- analyst sees in report.completeness; which ones stands in the evidence.
\ir defaults.psql

SELECT c.recorder, c.start_time, c.state,
    (array_agg(f.kind ORDER BY f.first_observed_at))[1] AS shown_by,
    min(f.first_observed_at) - c.start_time AS shown_after
FROM cdr.call c
JOIN cdr.fact f ON f.call_id = c.call_id AND f.id_time = c.id_time
WHERE c.start_time >= :'from' AND c.start_time < :'to'
GROUP BY c.call_id, c.id_time
HAVING NOT bool_or(f.kind = 'start')
    AND min(f.first_observed_at) FILTER (WHERE f.kind IN ('list', 'http', 'file')) <= min(f.first_observed_at)
ORDER BY c.start_time;
