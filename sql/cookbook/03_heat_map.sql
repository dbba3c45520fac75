-- At which hours of which weekdays do calls begin?
--
-- Role:    cdr_analyst
-- Zone:    hours by the clock of :zone
-- Example: from=2025-03-01 to=2025-04-01 zone=Europe/Berlin
--
-- One row for each hour of the day, hours without calls too. Calls without a known start are left out.
\ir defaults.psql

SELECT o_clock,
    count(start_time) FILTER (WHERE extract(isodow FROM start_time) = 1) AS mon,
    count(start_time) FILTER (WHERE extract(isodow FROM start_time) = 2) AS tue,
    count(start_time) FILTER (WHERE extract(isodow FROM start_time) = 3) AS wed,
    count(start_time) FILTER (WHERE extract(isodow FROM start_time) = 4) AS thu,
    count(start_time) FILTER (WHERE extract(isodow FROM start_time) = 5) AS fri,
    count(start_time) FILTER (WHERE extract(isodow FROM start_time) = 6) AS sat,
    count(start_time) FILTER (WHERE extract(isodow FROM start_time) = 7) AS sun
FROM generate_series(0, 23) o_clock
LEFT JOIN report.calls ON extract(hour FROM start_time) = o_clock AND start_time >= :'from' AND start_time < :'to'
GROUP BY o_clock
ORDER BY o_clock;
