-- How many calls of each modality, on how many extensions, and how long did they talk?

SELECT
    modality,
    count(*) AS calls,
    count(DISTINCT recorded_extension) AS extensions,
    sum(CAST(coalesce(duration_seconds, 0) AS decimal(18, 6))) AS talk_seconds
FROM calls
GROUP BY modality
ORDER BY modality NULLS LAST;
