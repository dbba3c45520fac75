-- Which extensions had no call for 30 days?
--
-- Role:    cdr_investigator
-- Zone:    days of :zone
-- Example: until=2025-04-01 zone=America/New_York
--
-- Of those that ever had one. Perhaps nobody sits there any more; perhaps they are not recorded any more.
\ir defaults.psql
\if :{?until} \else \set until 'today' \endif

SELECT recorder, extension, max(last_call) AS last_call, :'until'::date - max(last_call)::date AS days
FROM report.extension_usage
WHERE day < :'until' AND extension IS NOT NULL
GROUP BY recorder, extension
HAVING max(last_call) < :'until'::timestamptz - interval '30 days'
ORDER BY last_call;
