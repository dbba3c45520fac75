-- How much time was not heard, why, and what became of it?
--
-- Role:    cdr_analyst
-- Zone:    from and to by the clock of :zone
-- Example: from=2025-03-01 to=2025-04-01 zone=UTC
--
-- filled: the history has shown what there was, and how many calls were recovered; accepted: someone took note that it
-- is gone for good. Gaps that last are counted up to now.
\ir defaults.psql

SELECT recorder, reason, state, count(*) AS gaps, sum(coalesce(to_time, now()) - from_time) AS not_heard,
    sum(calls_recovered) AS recovered
FROM report.gaps
WHERE from_time >= :'from' AND from_time < :'to'
GROUP BY recorder, reason, state
ORDER BY recorder, reason, state;
