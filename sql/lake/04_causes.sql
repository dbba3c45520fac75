-- Why did calls end, and what share (percent) has each cause?
-- Null: no record has told.

SELECT cause, cause_id, count(*) AS calls, 1e2 * count(*) / sum(count(*)) OVER () AS share
FROM calls
GROUP BY cause, cause_id
ORDER BY calls DESC, cause_id NULLS LAST;
