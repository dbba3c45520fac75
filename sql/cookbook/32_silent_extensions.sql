-- Which extensions had no call for 30 days?
--
-- Role:    cdr_investigator
-- Zone:    days of :zone
-- Example: until=2025-04-01 zone=America/New_York
--
-- Of those that ever had one. Perhaps nobody sits there any more; perhaps they are not recorded any more. Reads all
-- calls that there are. Calls without a known start are left out.
\ir defaults.psql
\if :{?until} \else \set until 'today' \endif

SELECT recorder, recorded_extension AS extension, max(start_time) AS last_call,
    :'until'::date - max(start_time)::date AS days
FROM report.calls
WHERE start_time < :'until' AND recorded_extension IS NOT NULL
GROUP BY recorder, recorded_extension
HAVING max(start_time) < :'until'::timestamptz - interval '30 days'
ORDER BY last_call;
