-- How complete is the archive, per recorder?
--
-- Role:    cdr_analyst
-- Zone:    from and to by the clock of :zone
-- Example: from=2025-03-01 to=2025-04-01 zone=UTC
--
-- The share is rounded down: 100 means that not a second is missing. Time in which a recorder was not in use does not
-- count. In the hour that is under way only what has passed can be covered: ask for a month that is over.
\ir defaults.psql

SELECT recorder, round(extract(epoch FROM sum(length)) / 3600, 1) AS hours,
    trunc(100 * extract(epoch FROM sum(covered)) / extract(epoch FROM sum(length)), 3) AS covered_percent,
    sum(calls) AS calls, sum(recovered) AS recovered, sum(unresolved) AS unresolved, sum(quarantined) AS quarantined
FROM report.completeness_between(:'from', :'to')
GROUP BY recorder
ORDER BY recorder;
