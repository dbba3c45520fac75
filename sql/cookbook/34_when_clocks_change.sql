-- Which calls went on while the clock was set forward or back?
--
-- Role:    cdr_analyst
-- Zone:    the clock of :zone
-- Example: from=2025-03-01 to=2025-04-01 zone=Europe/Berlin
--
-- Their duration is right: it is taken between two instants. What the clock on the wall says is an hour off.
\ir defaults.psql

SELECT recorder, start_time, end_time, duration, end_time::timestamp - start_time::timestamp AS by_the_wall
FROM report.calls
WHERE start_time >= :'from' AND start_time < :'to'
    AND end_time::timestamp - start_time::timestamp <> duration
ORDER BY start_time;
