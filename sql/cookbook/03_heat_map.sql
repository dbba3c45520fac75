-- At which hours of which weekdays do calls begin?
--
-- Role:    cdr_analyst
-- Zone:    hours by the clock of :zone
-- Example: from=2025-03-01 to=2025-04-01 zone=Europe/Berlin
--
-- One row for each hour of the day, hours without calls too. Calls without a known start are left out.
\ir defaults.psql

WITH counted AS (
    SELECT extract(hour FROM start_time) AS o_clock, extract(isodow FROM start_time) AS weekday, count(*) AS calls
    FROM report.calls
    WHERE start_time >= :'from' AND start_time < :'to'
    GROUP BY 1, 2
)
SELECT o_clock,
    coalesce(sum(calls) FILTER (WHERE weekday = 1), 0) AS mon,
    coalesce(sum(calls) FILTER (WHERE weekday = 2), 0) AS tue,
    coalesce(sum(calls) FILTER (WHERE weekday = 3), 0) AS wed,
    coalesce(sum(calls) FILTER (WHERE weekday = 4), 0) AS thu,
    coalesce(sum(calls) FILTER (WHERE weekday = 5), 0) AS fri,
    coalesce(sum(calls) FILTER (WHERE weekday = 6), 0) AS sat,
    coalesce(sum(calls) FILTER (WHERE weekday = 7), 0) AS sun
FROM generate_series(0, 23) o_clock
LEFT JOIN counted USING (o_clock)
GROUP BY o_clock
ORDER BY o_clock;
