-- Which two parties talk with each other the most?
--
-- Role:    cdr_analyst
-- Zone:    from and to by the clock of :zone
-- Example: from=2025-03-01 to=2025-04-01 zone=UTC
--
-- Conversations, so that copies count once; whoever called, the pair is the same. Pseudonyms, to an analyst.
\ir defaults.psql

SELECT least(source_caller_id, destination_caller_id) AS one,
    greatest(source_caller_id, destination_caller_id) AS other,
    count(*) AS conversations, sum(duration) AS talk_time
FROM report.conversations_between(:'from', :'to')
WHERE source_caller_id IS NOT NULL AND destination_caller_id IS NOT NULL
GROUP BY one, other
ORDER BY talk_time DESC NULLS LAST
LIMIT 5;
