-- What share of calls has its full record?
--
-- Role:    cdr_analyst
-- Zone:    days of :zone
-- Example: from=2025-03-01 to=2025-04-01 zone=UTC
--
-- Calls without it are in report.unresolved_calls, each with the reason.
\ir defaults.psql

SELECT recorder, sum(calls) AS calls, sum(complete) AS complete, round(100 * sum(complete) / sum(calls), 2) AS percent
FROM report.daily_volume
WHERE day >= :'from' AND day < :'to'
GROUP BY recorder
ORDER BY recorder;
