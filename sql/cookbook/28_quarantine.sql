-- What could not be understood, and what became of it?
--
-- Role:    cdr_owner
-- Zone:    from and to by the clock of :zone
-- Example: from=2025-03-01 to=2025-04-01 zone=UTC
--
-- What came from a file or over HTTP belongs to no recorder.
\ir defaults.psql

SELECT coalesce(recorder, 'history') AS source, reason, state, count(*) AS documents,
    min(observed_at) AS first, max(observed_at) AS last
FROM cdr.quarantine
WHERE observed_at >= :'from' AND observed_at < :'to'
GROUP BY source, reason, state
ORDER BY source, reason, state;
