-- Why do calls end, on each recorder?
--
-- Role:    cdr_analyst
-- Zone:    from and to by the clock of :zone
-- Example: from=2025-03-01 to=2025-04-01 zone=UTC
--
-- A code that nobody has documented is shown as such; no cause: none is known (yet).
\ir defaults.psql

SELECT recorder, coalesce(cause, 'none known') AS cause, count(*) AS calls,
    round(100.0 * count(*) / sum(count(*)) OVER (PARTITION BY recorder), 1) AS percent
FROM report.calls
WHERE start_time >= :'from' AND start_time < :'to'
GROUP BY recorder, cause
ORDER BY recorder, calls DESC, cause;
