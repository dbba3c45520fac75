-- How many calls went on at the same time at most, per day?
-- Days of UTC on which a call started or ended. Only calls whose start and end are known; one that ends in the moment in
-- which another starts does not meet it.

WITH steps AS (
    SELECT start_time AS moment, 1 AS step FROM calls WHERE end_time > start_time
    UNION ALL
    SELECT end_time, -1 FROM calls WHERE end_time > start_time
), counted AS (
    SELECT moment, sum(step) OVER (ORDER BY moment, step ROWS UNBOUNDED PRECEDING) AS going_on
    FROM steps
)
SELECT CAST(moment AS date) AS day, max(going_on) AS peak
FROM counted
GROUP BY 1
ORDER BY day;
