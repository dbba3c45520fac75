-- How long do calls last: on average, half of them, nineteen of twenty?
--
-- Role:    cdr_analyst
-- Zone:    from and to by the clock of :zone
-- Example: from=2025-03-01 to=2025-04-01 zone=UTC
--
-- Half of the calls are no longer than the median. A call whose start or end is not known has no duration.
\ir defaults.psql

SELECT recorder, count(duration) AS calls,
    date_trunc('second', avg(duration)) AS mean,
    percentile_disc(0.5) WITHIN GROUP (ORDER BY duration) AS median,
    percentile_disc(0.95) WITHIN GROUP (ORDER BY duration) AS "95th",
    max(duration) AS longest
FROM report.calls
WHERE start_time >= :'from' AND start_time < :'to'
GROUP BY recorder
ORDER BY recorder;
