-- What share of calls came to nothing, week by week?
--
-- Role:    cdr_analyst
-- Zone:    weeks of :zone; they begin on Monday
-- Example: from=2025-03-03 to=2025-03-31 zone=Europe/Berlin
--
-- Cancelled, busy, not found.
\ir defaults.psql

SELECT date_trunc('week', start_time)::date AS week, count(*) AS calls,
    count(*) FILTER (WHERE cause IN ('cancelled', 'busy', 'not found')) AS missed,
    round(100.0 * count(*) FILTER (WHERE cause IN ('cancelled', 'busy', 'not found')) / count(*), 1) AS percent
FROM report.calls
WHERE start_time >= :'from' AND start_time < :'to'
GROUP BY week
ORDER BY week;
