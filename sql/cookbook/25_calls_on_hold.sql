-- Which calls are under legal hold, and why?
--
-- Role:    cdr_owner
-- Zone:    times by the clock of :zone
-- Example: zone=America/New_York
--
-- A hold covers one call, all calls of a party (a number or name, on either side), or all calls of a time; all of them
-- perhaps of one recorder only. What is on hold is neither deleted nor erased.
\ir defaults.psql

SELECT h.id AS hold, h.reason, c.call_id, c.recorder, c.start_time
FROM cdr.legal_hold h
JOIN cdr.call c ON (h.recorder IS NULL OR c.recorder = h.recorder)
    AND (h.from_time IS NULL OR coalesce(c.start_time, c.end_time, c.first_seen_at) >= h.from_time)
    AND (h.to_time IS NULL OR coalesce(c.start_time, c.end_time, c.first_seen_at) < h.to_time)
    AND CASE h.kind
        WHEN 'call' THEN c.call_id = h.value
        WHEN 'party' THEN lower(h.value) IN (lower(c.source_caller_id), lower(c.source_name),
            lower(c.destination_caller_id), lower(c.destination_name), lower(c.recorded_extension),
            lower(c.dialed_extension), lower(c.agent_id))
        ELSE true
    END
WHERE h.released_at IS NULL
ORDER BY h.id, c.start_time;
