-- Which calls lie next to a gap: ended shortly before it, or began shortly after?
--
-- Role:    cdr_analyst
-- Zone:    from and to by the clock of :zone
-- Example: from=2025-03-01 to=2025-04-01 zone=UTC near=PT15M
--
-- What was said right before and after a gap may tell whether something is missing from it.
\ir defaults.psql
\if :{?near} \else \set near 'PT15M' \endif

SELECT g.id AS gap, g.recorder, g.state AS gap_is, c.start_time, c.end_time,
    CASE WHEN c.start_time < g.from_time THEN 'before' ELSE 'after' END AS side
FROM report.gaps g
JOIN report.calls c ON c.recorder = g.recorder
    AND (c.end_time > g.from_time - interval :'near' AND c.end_time <= g.from_time
        OR c.start_time >= g.to_time AND c.start_time < g.to_time + interval :'near')
WHERE g.from_time >= :'from' AND g.from_time < :'to'
    -- Only to leave most calls unread: these lie a day beyond.
    AND c.start_time >= :'from'::timestamptz - interval '25 hours'
    AND c.start_time < :'to'::timestamptz + interval '25 hours'
ORDER BY c.start_time;
