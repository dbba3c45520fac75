-- Where did copies of calls go?
--
-- Role:    cdr_owner
-- Zone:    times by the clock of :zone
-- Example: from=2025-03-01 to=2025-04-01 zone=UTC
--
-- Exports that hold calls of this time, but for those that are known to be destroyed. Those that are not masked hold
-- personal data. One that was interrupted, or goes on, has no rows, and may hold calls all the same.
\ir defaults.psql

SELECT folder, host, masked, who, from_time, to_time, rows
FROM cdr.export
WHERE destroyed_at IS NULL AND from_time < :'to' AND to_time > :'from'
ORDER BY id;
