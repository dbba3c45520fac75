-- In which hour of each day did most calls start?
-- Days and hours of UTC; of equal hours the earlier one.

WITH hours AS (
    SELECT date_trunc('hour', start_time) AS hour, count(*) AS calls
    FROM calls
    WHERE start_time IS NOT NULL
    GROUP BY 1
), ranked AS (
    SELECT
        CAST(hour AS date) AS day, hour, calls,
        row_number() OVER (PARTITION BY CAST(hour AS date) ORDER BY calls DESC, hour) AS place
    FROM hours
)
SELECT day, hour, calls
FROM ranked
WHERE place = 1
ORDER BY day;
