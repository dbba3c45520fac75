-- report.conversations: what people said to each other, once, however many recorders recorded it.
--
-- Purpose: to count and list conversations where 2N recording stores each of them as two calls or more.
-- Grain:   one row per conversation; each call of the archive is a copy in exactly one of them.
-- Zone:    all times are UTC instants.
-- Two calls are copies if they share platform_call_id or native_call_id, share both parties, and start within 5 s of
-- each other. Several such calls on one recorder are no copies of each other unless one of them is marked secondary:
-- the first on one recorder is the copy of the first on the other, the second of the second. A call without a start,
-- or without either id, stands alone. The copy shown is a complete one if there is any, then one that is not marked
-- secondary, then the earliest: what is left when the others are deleted.
-- After a failover in the middle of a call there are two conversations, one on each recorder; `continues` links them
-- if the first half is no longer than a day.
-- A large archive is better asked for the time that is wanted: report.conversations_between(from, to).
-- It reads report.calls with the rights of who asks: parties are masked alike, and equal ones have equal pseudonyms.

CREATE OR REPLACE FUNCTION report.conversations_between(from_time timestamptz, to_time timestamptz)
RETURNS TABLE (
    call_id text, recorder text, state text, start_time timestamptz, end_time timestamptz, duration interval,
    source_caller_id text, source_name text, destination_caller_id text, destination_name text, cause_id integer,
    direction_id integer, modality_id text, platform_call_id text, native_call_id text, secondary boolean,
    copies bigint, call_ids text[], recorders text[], continues text
)
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
WITH shared AS MATERIALIZED (
    -- Ids that more than one call has. More on either side: a copy that starts a little earlier or later must not be cut
    -- off, nor a failover's first half.
    SELECT DISTINCT found.id
    FROM (
        SELECT coalesce(c.platform_call_id, c.native_call_id) AS id
        FROM report.calls c
        WHERE c.start_time >= from_time - interval '25 hours' AND c.start_time < to_time + interval '1 minute'
        GROUP BY GROUPING SETS ((c.platform_call_id), (c.native_call_id))
        HAVING count(*) > 1
    ) found
    WHERE found.id <> ''  -- nor null
), chosen AS (
    -- Only calls that share an id with another one are compared: a few of a hundred.
    SELECT c.call_id, c.recorder, c.state, c.start_time, c.end_time, c.duration, c.source_caller_id, c.source_name,
        c.destination_caller_id, c.destination_name, c.cause_id, c.direction_id, c.modality_id, c.platform_call_id,
        c.native_call_id, c.secondary, nullif(c.platform_call_id, '') AS platform,
        nullif(c.native_call_id, '') AS native,
        row_number() OVER (ORDER BY c.start_time, c.call_id COLLATE "C") AS number
    FROM report.calls c
    LEFT JOIN shared p ON p.id = c.platform_call_id
    LEFT JOIN shared n ON n.id = c.native_call_id
    WHERE c.start_time >= from_time - interval '25 hours' AND c.start_time < to_time + interval '1 minute'
        AND (p.id IS NOT NULL OR n.id IS NOT NULL)
), stepped AS (
    -- Along each id and its parties, in the order of starts: where does a new conversation begin?
    SELECT *,
        start_time - lag(start_time) OVER by_platform <= interval '5 seconds' AS near_platform,
        start_time - lag(start_time) OVER by_native <= interval '5 seconds' AS near_native
    FROM chosen
    WINDOW by_platform AS (PARTITION BY platform, source_caller_id, destination_caller_id ORDER BY number),
        by_native AS (PARTITION BY native, source_caller_id, destination_caller_id ORDER BY number)
), led AS (
    -- The first call of each such stretch.
    SELECT *,
        CASE WHEN platform IS NULL THEN number ELSE max(number) FILTER (WHERE near_platform IS NOT TRUE) OVER (
            PARTITION BY platform, source_caller_id, destination_caller_id ORDER BY number) END AS platform_led,
        CASE WHEN native IS NULL THEN number ELSE max(number) FILTER (WHERE near_native IS NOT TRUE) OVER (
            PARTITION BY native, source_caller_id, destination_caller_id ORDER BY number) END AS native_led
    FROM stepped
), joined AS (
    -- Stretches along the one id and along the other that share a call are one.
    SELECT *, min(platform_led) OVER (PARTITION BY native_led) AS half FROM led
), grouped AS (
    SELECT *, min(half) OVER (PARTITION BY platform_led) AS stretch FROM joined
), paired AS (
    SELECT *, row_number() OVER (
        PARTITION BY stretch, recorder, coalesce(secondary, false) ORDER BY number) AS nth
    FROM grouped
), ordered AS (
    SELECT *,
        row_number() OVER shown AS place,
        count(*) OVER everyone AS copies,
        array_agg(call_id) OVER everyone AS call_ids,
        array_agg(recorder) OVER everyone AS recorders
    FROM paired
    WINDOW shown AS (PARTITION BY stretch, nth ORDER BY state <> 'complete', coalesce(secondary, false), number),
        everyone AS (shown ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
), linked AS (
    SELECT *,
        lag(call_id) OVER along AS earlier,
        lag(recorders) OVER along AS earlier_recorders,
        lag(start_time) OVER along AS earlier_start,
        lag(end_time) OVER along AS earlier_end
    FROM ordered WHERE place = 1
    WINDOW along AS (PARTITION BY platform, source_caller_id, destination_caller_id ORDER BY number)
)
SELECT call_id, recorder, state, start_time, end_time, duration, source_caller_id, source_name, destination_caller_id,
    destination_name, cause_id, direction_id, modality_id, platform_call_id, native_call_id,
    coalesce(secondary, false), copies, call_ids, recorders,
    CASE WHEN platform IS NOT NULL AND recorder <> ALL (earlier_recorders)
        AND start_time - earlier_end BETWEEN interval '-5 seconds' AND interval '1 minute'
        AND start_time - earlier_start <= interval '24 hours' THEN earlier END
FROM linked
WHERE start_time >= from_time AND start_time < to_time
UNION ALL
-- All the others stand alone.
SELECT c.call_id, c.recorder, c.state, c.start_time, c.end_time, c.duration, c.source_caller_id, c.source_name,
    c.destination_caller_id, c.destination_name, c.cause_id, c.direction_id, c.modality_id, c.platform_call_id,
    c.native_call_id, coalesce(c.secondary, false), 1, ARRAY[c.call_id], ARRAY[c.recorder], NULL
FROM report.calls c
LEFT JOIN shared p ON p.id = c.platform_call_id
LEFT JOIN shared n ON n.id = c.native_call_id
WHERE c.start_time >= from_time AND c.start_time < to_time AND p.id IS NULL AND n.id IS NULL
UNION ALL
SELECT c.call_id, c.recorder, c.state, c.start_time, c.end_time, c.duration, c.source_caller_id, c.source_name,
    c.destination_caller_id, c.destination_name, c.cause_id, c.direction_id, c.modality_id, c.platform_call_id,
    c.native_call_id, coalesce(c.secondary, false), 1, ARRAY[c.call_id], ARRAY[c.recorder], NULL
FROM report.calls c
WHERE c.start_time IS NULL AND c.first_seen_at >= from_time AND c.first_seen_at < to_time;
END;
COMMENT ON FUNCTION report.conversations_between(timestamptz, timestamptz) IS
    'report.conversations that start from from_time on and before to_time (by the copy shown; first seen, where no start is known)';

CREATE OR REPLACE VIEW report.conversations AS
SELECT * FROM report.conversations_between('-infinity', 'infinity');
COMMENT ON VIEW report.conversations IS
    'Conversations: 2N copies folded into one. Grain: one row per conversation; each call is a copy in exactly one. Times are UTC instants';
COMMENT ON COLUMN report.conversations.call_id IS 'Id of the copy that is shown: complete if any is, then not secondary, then the earliest';
COMMENT ON COLUMN report.conversations.recorder IS 'Recorder of the copy shown';
COMMENT ON COLUMN report.conversations.state IS 'State of the copy shown';
COMMENT ON COLUMN report.conversations.start_time IS 'Start of the copy shown (UTC instant)';
COMMENT ON COLUMN report.conversations.end_time IS 'End of the copy shown (UTC instant)';
COMMENT ON COLUMN report.conversations.duration IS 'Duration of the copy shown';
COMMENT ON COLUMN report.conversations.source_caller_id IS 'Number or address of the calling party, masked as in report.calls';
COMMENT ON COLUMN report.conversations.source_name IS 'Display name of the calling party, masked alike';
COMMENT ON COLUMN report.conversations.destination_caller_id IS 'Number or address of the called party, masked alike';
COMMENT ON COLUMN report.conversations.destination_name IS 'Display name of the called party, masked alike';
COMMENT ON COLUMN report.conversations.cause_id IS 'Why the call ended; see cdr.cause';
COMMENT ON COLUMN report.conversations.direction_id IS 'Direction; see cdr.direction';
COMMENT ON COLUMN report.conversations.modality_id IS 'Modality; see cdr.modality';
COMMENT ON COLUMN report.conversations.platform_call_id IS 'The platform''s id of the conversation, masked alike';
COMMENT ON COLUMN report.conversations.native_call_id IS 'The platform''s id of the call, masked alike';
COMMENT ON COLUMN report.conversations.secondary IS 'Whether the copy shown is marked secondary: no other is better';
COMMENT ON COLUMN report.conversations.copies IS 'How many calls of the archive are copies of this conversation; 1 without 2N recording';
COMMENT ON COLUMN report.conversations.call_ids IS 'Ids of all copies, the one shown first';
COMMENT ON COLUMN report.conversations.recorders IS 'Recorders of all copies, in the order of call_ids';
COMMENT ON COLUMN report.conversations.continues IS
    'call_id of the conversation that this one continues after a failover: same platform_call_id and parties, on another recorder, started at most a day before, ended at most a minute before and not over 5 s after this start; null otherwise';
