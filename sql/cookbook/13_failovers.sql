-- Which conversations went on over another recorder after a failover?
--
-- Role:    cdr_analyst
-- Zone:    from and to by the clock of :zone
-- Example: from=2025-03-01 to=2025-04-01 zone=America/New_York
\ir defaults.psql

SELECT earlier.recorder AS from_recorder, later.recorder AS to_recorder, earlier.end_time AS broke_off,
    later.start_time - earlier.end_time AS not_recorded, later.end_time - earlier.start_time AS whole_call
FROM report.conversations_between(:'from', :'to') later
JOIN report.calls earlier ON earlier.call_id = later.continues
WHERE later.continues IS NOT NULL
ORDER BY broke_off;
