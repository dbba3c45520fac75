-- Which rows are doubtful, in which way?
--
-- Role:    cdr_analyst
-- Zone:    times by the clock of :zone
-- Example: from=2025-03-01 to=2025-04-01 zone=UTC
--
-- docs/facts.md explains each flag. Many zone_suspect of one recorder: its zone is configured wrongly.
\ir defaults.psql

SELECT recorder, flag, count(*) AS calls, min(start_time) AS first, max(start_time) AS last
FROM report.calls, unnest(quality) flag
WHERE start_time >= :'from' AND start_time < :'to'
GROUP BY recorder, flag
ORDER BY recorder, flag;
