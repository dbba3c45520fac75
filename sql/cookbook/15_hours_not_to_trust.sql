-- Which hours of the month cannot be trusted, and why?
--
-- Role:    cdr_analyst
-- Zone:    hours of UTC, shown by the clock of :zone
-- Example: from=2025-03-01 to=2025-04-01 zone=UTC
--
-- An hour is whole only if sessions covered all of it, and nothing in it was recovered later, is unresolved, or was not
-- understood. Numbers of the hours listed here are lower limits.
\ir defaults.psql

SELECT recorder, hour, covered_share, length - covered AS not_heard,
    calls, recovered, unresolved, quarantined
FROM report.completeness_between(:'from', :'to')
WHERE covered_share < 1
ORDER BY hour, recorder;
