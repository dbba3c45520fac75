-- Of which calls is there no finished record, by recorder and state, and since when?
-- Calls that went on at the time of the export are among them.

SELECT recorder, state, count(*) AS calls, min(coalesce(start_time, first_seen_at)) AS oldest
FROM calls
WHERE state <> 'complete'
GROUP BY recorder, state
ORDER BY recorder NULLS LAST, state;
