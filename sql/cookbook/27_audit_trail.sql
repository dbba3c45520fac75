-- Who did what to the archive last month?
--
-- Role:    cdr_owner
-- Zone:    times by the clock of :zone
-- Example: from=2025-03-01 to=2025-04-01 zone=Europe/Berlin
--
-- target says to which rows, effect what it came to. Neither holds personal data.
\ir defaults.psql

SELECT at, who, action, reason
FROM cdr.audit
WHERE at >= :'from' AND at < :'to'
ORDER BY at;
