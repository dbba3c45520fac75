-- How many calls has someone had erased, by month and recorder?
--
-- Role:    cdr_owner
-- Zone:    months of :zone
-- Example: from=2025-03-01 to=2025-04-01 zone=America/New_York
--
-- Times, codes and states of erased calls stay, so volumes do not change; who spoke is gone for good. Tombstones of
-- calls that were deleted by age since are not counted.
\ir defaults.psql

SELECT date_trunc('month', c.start_time)::date AS month, c.recorder, count(*) AS calls, sum(c.duration) AS talk_time
FROM cdr.erased_call e
JOIN cdr.call c ON c.call_id = e.call_id
WHERE c.start_time >= :'from' AND c.start_time < :'to'
GROUP BY month, c.recorder
ORDER BY month, c.recorder;
