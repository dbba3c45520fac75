-- How long do calls last, by direction?
-- Only calls whose start and end are known.

SELECT
    direction,
    count(*) AS calls,
    avg(duration_seconds) AS mean_seconds,
    max(duration_seconds) AS longest_seconds
FROM calls
WHERE duration_seconds IS NOT NULL
GROUP BY direction
ORDER BY direction NULLS LAST;
