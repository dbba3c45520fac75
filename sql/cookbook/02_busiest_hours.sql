-- What was the busiest hour of each recorder?
--
-- Role:    cdr_analyst
-- Zone:    hours by the clock of :zone
-- Example: from=2025-03-01 to=2025-04-01 zone=America/New_York
--
-- Traffic in erlangs: calls that went on at once, on average over the hour.
\ir defaults.psql

SELECT DISTINCT ON (recorder) recorder, day, hour, round(erlangs, 2) AS erlangs
FROM report.busy_hour
WHERE day >= :'from' AND day < :'to'
ORDER BY recorder, erlangs DESC, hour;
