-- How many conversations were there, each counted once however many recorders kept it?
--
-- Role:    cdr_analyst
-- Zone:    weeks of :zone; they begin on Monday
-- Example: from=2025-03-03 to=2025-03-31 zone=America/New_York
--
-- twice: conversations that more than one recorder has kept (2N).
\ir defaults.psql

SELECT date_trunc('week', start_time)::date AS week, sum(copies) AS calls, count(*) AS conversations,
    count(*) FILTER (WHERE copies > 1) AS twice
FROM report.conversations_between(:'from', :'to')
WHERE start_time IS NOT NULL
GROUP BY week
ORDER BY week;
