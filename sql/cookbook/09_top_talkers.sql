-- Which extensions talk the most?
--
-- Role:    cdr_analyst
-- Zone:    days of :zone
-- Example: from=2025-03-01 to=2025-04-01 zone=Europe/Berlin
--
-- To an analyst an extension is a pseudonym: the same one everywhere, but nobody's number.
\ir defaults.psql

SELECT recorder, extension, sum(calls) AS calls, sum(talk_time) AS talk_time, max(longest) AS longest
FROM report.extension_usage
WHERE day >= :'from' AND day < :'to' AND extension IS NOT NULL
GROUP BY recorder, extension
ORDER BY talk_time DESC
LIMIT 5;
