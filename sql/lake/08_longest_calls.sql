-- Which ten calls lasted longest?
-- Equal ones share a place, so it can be more than ten.

WITH ranked AS (
    SELECT rank() OVER (ORDER BY duration_seconds DESC) AS place, call_id, recorder, start_time, duration_seconds
    FROM calls
    WHERE duration_seconds IS NOT NULL
)
SELECT place, call_id, recorder, start_time, duration_seconds
FROM ranked
WHERE place <= 10
ORDER BY place, call_id;
