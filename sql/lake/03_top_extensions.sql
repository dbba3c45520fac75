-- Which ten extensions have the most calls?
-- Equal ones share a place, so it can be more than ten. A masked export shows pseudonyms, and the same numbers.

WITH counted AS (
    SELECT
        recorded_extension,
        count(*) AS calls,
        sum(CAST(coalesce(duration_seconds, 0) AS decimal(18, 6))) AS talk_seconds
    FROM calls
    WHERE recorded_extension IS NOT NULL
    GROUP BY recorded_extension
), ranked AS (
    SELECT rank() OVER (ORDER BY calls DESC) AS place, recorded_extension, calls, talk_seconds
    FROM counted
)
SELECT place, recorded_extension, calls, talk_seconds
FROM ranked
WHERE place <= 10
ORDER BY place, recorded_extension;
