-- Which calls will be deleted by age within a month, and which of them does a hold keep?
--
-- Role:    cdr_owner
-- Zone:    times by the clock of :zone
-- Example: today=2032-01-10 keep=P7Y ahead=P1M zone=UTC
--
-- Give the keep of your cdr.toml. The age of a call counts from its start, else from its end, else from when it was first
-- seen. What would be deleted right now: cdr retention apply --dry-run.
\ir defaults.psql
\if :{?today} \else \set today 'today' \endif
\if :{?keep} \else \set keep 'P7Y' \endif
\if :{?ahead} \else \set ahead 'P1M' \endif

SELECT c.recorder, c.start_time, (a.began + interval :'keep')::date AS expires_on,
    EXISTS (
        SELECT FROM cdr.legal_hold h
        WHERE h.released_at IS NULL
            AND (h.recorder IS NULL OR c.recorder = h.recorder)
            AND (h.from_time IS NULL OR a.began >= h.from_time)
            AND (h.to_time IS NULL OR a.began < h.to_time)
            AND CASE h.kind
                WHEN 'call' THEN c.call_id = h.value
                WHEN 'party' THEN lower(h.value) IN (lower(c.source_caller_id), lower(c.source_name),
                    lower(c.destination_caller_id), lower(c.destination_name), lower(c.recorded_extension),
                    lower(c.dialed_extension), lower(c.agent_id))
                ELSE true
            END
    ) AS on_hold
FROM cdr.call c
CROSS JOIN LATERAL (SELECT coalesce(c.start_time, c.end_time, c.first_seen_at) AS began) a
WHERE a.began < :'today'::timestamptz + interval :'ahead' - interval :'keep'
ORDER BY a.began;
