-- How many calls per day and recorder, and how long did they talk?
-- Days of UTC. A call without a start counts when it was first seen; one without an end counts for no seconds.

SELECT
    CAST(coalesce(start_time, first_seen_at) AS date) AS day,
    recorder,
    count(*) AS calls,
    count(*) FILTER (WHERE state = 'complete') AS complete,
    sum(CAST(coalesce(duration_seconds, 0) AS decimal(18, 6))) AS talk_seconds
FROM calls
GROUP BY 1, 2
ORDER BY day, recorder NULLS LAST;
