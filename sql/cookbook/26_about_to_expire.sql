-- Which calls will be deleted by age within a month, and which of them does a hold keep?
--
-- Role:    cdr_owner
-- Zone:    times by the clock of :zone
-- Example: today=2032-01-10 keep=P7Y ahead=P1M zone=UTC
--
-- Give the keep of your cdr.toml. The age of a call counts from its start, else from its end, else from the time in
-- its id, else from when it was first seen. One that its recorder still lists (cdr.listed_call) stays, too. What would
-- be deleted right now: cdr retention apply --dry-run.
\ir defaults.psql
\if :{?today} \else \set today 'today' \endif
\if :{?keep} \else \set keep 'P7Y' \endif
\if :{?ahead} \else \set ahead 'P1M' \endif

WITH old AS (
    SELECT *, coalesce(start_time, end_time, CASE WHEN id_time >= '2000-01-01 00:00+00'
        THEN least(id_time, first_seen_at) END, first_seen_at) AS began
    FROM cdr.call
    WHERE start_time < :'today'::timestamptz + interval :'ahead' - interval :'keep' OR start_time IS NULL
)
SELECT recorder, began, (began + interval :'keep')::date AS expires_on,
    EXISTS (SELECT FROM cdr.held_call h WHERE h.call_id = old.call_id AND h.id_time = old.id_time) AS on_hold
FROM old
WHERE began < :'today'::timestamptz + interval :'ahead' - interval :'keep'
ORDER BY began;
