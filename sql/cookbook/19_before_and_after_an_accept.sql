-- What did the number of missing records look like before someone accepted one, and after?
--
-- Role:    cdr_analyst
-- Zone:    times by the clock of :zone
-- Example: from=2025-03-01 to=2025-04-01 zone=Europe/Berlin
--
-- Accepting takes note, it mends nothing: the calls stay in report.unresolved_calls, and their hours stay below 100 %.
-- Only calls that have ended are counted: one that goes on is not missing.
\ir defaults.psql

WITH missing AS (
    SELECT * FROM report.unresolved_calls
    WHERE state <> 'ongoing' AND start_time >= :'from' AND start_time < :'to'
)
SELECT accepted_at, accepted_by, accepted_reason, state,
    (SELECT count(*) FROM missing) - row_number() OVER in_turn + 1 AS missing_before,
    (SELECT count(*) FROM missing) - row_number() OVER in_turn AS missing_after
FROM missing
WHERE accepted
WINDOW in_turn AS (ORDER BY accepted_at)
ORDER BY accepted_at;
