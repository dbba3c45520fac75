-- How many calls start at night, from 22:00 to 06:00, per month and recorder?
-- Hours of UTC: for another zone, shift start_time first.

SELECT
    month,
    recorder,
    count(*) FILTER (WHERE extract(hour FROM start_time) NOT BETWEEN 6 AND 21) AS at_night,
    count(*) AS calls
FROM calls
GROUP BY month, recorder
ORDER BY month, recorder NULLS LAST;
