-- report.conversations: what people said to each other, once, however many recorders recorded it.
--
-- Purpose: to count and list conversations where 2N recording stores each of them as two calls or more.
-- Grain:   one row per conversation; each call of the archive is a copy in exactly one of them.
-- Zone:    all times are UTC instants.
-- Two calls are copies if they share platform_call_id or native_call_id, share both parties, and start within 5 s of
-- each other; and so are those that are linked by such calls, however many. Several such calls on one recorder are no
-- copies of each other unless one of them is marked secondary: the first on one recorder is the copy of the first on the
-- other, the second of the second. A call without a start, or without either id, stands alone. The copy shown is a
-- complete one if there is any, then one that is not marked secondary, then the earliest: what is left when the others
-- are deleted.
-- After a failover in the middle of a call there are two conversations, one on each recorder; `continues` links them
-- if the first half is no longer than a day.
-- A large archive is better asked for the time that is wanted: report.conversations_between(from, to).
-- It reads report.calls with the rights of who asks: parties are masked alike, and equal ones have equal pseudonyms.

-- Which calls are copies of others is found with the owner's rights: parties are compared as they are, not masked first.
-- What it shows holds nothing personal, and is in the order of starts.
-- The settings: how many ids are shared nobody can estimate, and a nested loop over too many would never end; sorting
-- hashes is faster than counting them in a table. ROWS is below 200, for then the planner takes call_id for unique, which
-- it is, and builds the table of a hash join from this side.
CREATE OR REPLACE FUNCTION report.copies_between(from_time timestamptz, to_time timestamptz)
RETURNS TABLE (call_id text, shown boolean, copies bigint, call_ids text[], recorders text[], continues text)
LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER ROWS 100
SET search_path = pg_catalog, pg_temp SET work_mem = '64MB' SET enable_hashagg = off SET enable_nestloop = off
BEGIN ATOMIC
WITH RECURSIVE shared AS MATERIALIZED (
    -- Ids that more than one call has, by their hashes, which are short and quickly sorted: two ids of one hash cost a
    -- comparison below, and change nothing. More on either side: a copy that starts a little earlier or later must not be
    -- cut off, nor a failover's first half.
    SELECT said.id
    FROM (
        SELECT unnest(CASE WHEN c.native_call_id IS DISTINCT FROM c.platform_call_id
            THEN ARRAY[hashtextextended(nullif(c.platform_call_id, ''), 0), hashtextextended(nullif(c.native_call_id, ''), 0)]
            ELSE ARRAY[hashtextextended(nullif(c.platform_call_id, ''), 0)] END) AS id
        FROM cdr.call c
        WHERE c.start_time >= from_time - interval '25 hours' AND c.start_time < to_time + interval '1 hour'
    ) said
    WHERE said.id IS NOT NULL
    GROUP BY said.id
    HAVING count(*) > 1
), chosen AS (
    -- Only calls that share an id with another one are compared: a few of a hundred, or all where all are recorded twice.
    -- Texts in the order of their bytes, which is the fastest.
    SELECT c.call_id COLLATE "C" AS call_id, c.recorder COLLATE "C" AS recorder, c.state <> 'complete' AS incomplete,
        coalesce(c.secondary, false) AS secondary, c.start_time, c.end_time,
        c.source_caller_id COLLATE "C" AS source, c.destination_caller_id COLLATE "C" AS destination,
        nullif(c.platform_call_id, '') COLLATE "C" AS platform, nullif(c.native_call_id, '') COLLATE "C" AS native,
        row_number() OVER (ORDER BY c.start_time, c.call_id COLLATE "C") AS number
    FROM cdr.call c
    LEFT JOIN shared p ON p.id = hashtextextended(nullif(c.platform_call_id, ''), 0)
    LEFT JOIN shared n ON n.id = CASE WHEN c.native_call_id IS DISTINCT FROM c.platform_call_id
        THEN hashtextextended(nullif(c.native_call_id, ''), 0) END
    WHERE c.start_time >= from_time - interval '25 hours' AND c.start_time < to_time + interval '1 hour'
        AND (p.id IS NOT NULL OR n.id IS NOT NULL)
), platforms AS (
    -- Along each id and its parties, in the order of starts: where does a new stretch of copies begin?
    SELECT *, first_value(number) OVER along AS platform_first,
        start_time - lag(start_time) OVER along <= interval '5 seconds' AS near
    FROM chosen
    WINDOW along AS (PARTITION BY platform, source, destination ORDER BY number)
), platforms_led AS (
    -- The first call of each such stretch.
    SELECT *, CASE WHEN platform IS NULL THEN number ELSE max(number) FILTER (WHERE near IS NOT TRUE) OVER (
        PARTITION BY platform, source, destination ORDER BY number) END AS platform_led
    FROM platforms
), natives AS (
    SELECT call_id, recorder, incomplete, secondary, start_time, end_time, source, destination, native, number,
        CASE WHEN platform IS NOT NULL THEN platform_first END AS platform_first, platform_led,
        start_time - lag(start_time) OVER (PARTITION BY native, source, destination ORDER BY number)
            <= interval '5 seconds' AS near
    FROM platforms_led
), natives_led AS (
    SELECT *, CASE WHEN native IS NULL THEN number ELSE max(number) FILTER (WHERE near IS NOT TRUE) OVER (
        PARTITION BY native, source, destination ORDER BY number) END AS native_led
    FROM natives
), joined AS MATERIALIZED (
    -- Stretches along the one id and along the other that share a call are one.
    SELECT call_id, recorder, incomplete, secondary, start_time, end_time, number, platform_first, platform_led,
        min(platform_led) OVER (PARTITION BY native_led) AS stretch
    FROM natives_led
), torn AS (
    -- Mostly that is all. Where it is not, because one call is linked to the next by the one id, that to a third by the
    -- other, and so on: which stretches are still to be joined?
    SELECT j.platform_led, min(j.stretch) AS least
    FROM joined j
    GROUP BY j.platform_led
    HAVING min(j.stretch) < max(j.stretch)
), links AS MATERIALIZED (
    SELECT DISTINCT j.stretch AS later, t.least AS earlier
    FROM torn t JOIN joined j ON j.platform_led = t.platform_led
    WHERE j.stretch <> t.least
), reached AS (
    -- From each that has none before it along all links.
    SELECT l.earlier AS root, l.earlier AS stretch
    FROM links l
    WHERE NOT EXISTS (SELECT FROM links k WHERE k.later = l.earlier)
    UNION
    SELECT r.root, l.there
    FROM reached r
    JOIN (SELECT k.earlier AS here, k.later AS there FROM links k UNION ALL SELECT k.later, k.earlier FROM links k) l
        ON l.here = r.stretch
), roots AS (
    SELECT r.stretch, min(r.root) AS root FROM reached r GROUP BY r.stretch
), paired AS (
    SELECT j.call_id, j.recorder, j.incomplete, j.secondary, j.start_time, j.end_time, j.number, j.platform_first,
        coalesce(r.root, j.stretch) AS stretch,
        row_number() OVER (PARTITION BY coalesce(r.root, j.stretch), j.recorder, j.secondary ORDER BY j.number) AS nth
    FROM joined j
    LEFT JOIN roots r ON r.stretch = j.stretch
), ordered AS (
    SELECT *,
        row_number() OVER best AS place,
        count(*) OVER everyone AS copies,
        array_agg(call_id) OVER everyone AS call_ids,
        array_agg(recorder) OVER everyone AS recorders
    FROM paired
    WINDOW best AS (PARTITION BY stretch, nth ORDER BY incomplete, secondary, number),
        everyone AS (best ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
), linked AS (
    SELECT *,
        lag(call_id) OVER along AS earlier,
        lag(recorders) OVER along AS earlier_recorders,
        lag(start_time) OVER along AS earlier_start,
        lag(end_time) OVER along AS earlier_end
    FROM ordered
    WINDOW along AS (PARTITION BY platform_first, place = 1 ORDER BY number)
), told AS (
    SELECT *,
        CASE WHEN place = 1 AND platform_first IS NOT NULL AND recorder <> ALL (earlier_recorders)
            AND start_time - earlier_end BETWEEN interval '-5 seconds' AND interval '1 minute'
            AND start_time - earlier_start <= interval '24 hours' THEN earlier END AS continues
    FROM linked
)
SELECT call_id, place = 1, copies, call_ids, recorders, continues
FROM told
WHERE copies > 1 OR continues IS NOT NULL
ORDER BY number;
END;
COMMENT ON FUNCTION report.copies_between(timestamptz, timestamptz) IS
    'Calls that are not alone, from from_time to to_time and around: call_id; shown, whether its row stands for the conversation; copies, call_ids and recorders of all copies, the one shown first; continues, as in report.conversations. All other calls have no copy';

-- Plain enough that the planner puts it into the query that asks: only the columns and rows that are wanted are read and
-- masked. RESTRICTED, as what it calls: else every worker would find all copies for itself.
CREATE OR REPLACE FUNCTION report.conversations_between(from_time timestamptz, to_time timestamptz)
RETURNS TABLE (
    call_id text, recorder text, state text, start_time timestamptz, end_time timestamptz, duration interval,
    source_caller_id text, source_name text, destination_caller_id text, destination_name text, cause_id integer,
    direction_id integer, modality_id text, platform_call_id text, native_call_id text, secondary boolean,
    copies bigint, call_ids text[], recorders text[], continues text
)
LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
SELECT c.call_id, c.recorder, c.state, c.start_time, c.end_time, c.duration, c.source_caller_id, c.source_name,
    c.destination_caller_id, c.destination_name, c.cause_id, c.direction_id, c.modality_id, c.platform_call_id,
    c.native_call_id, coalesce(c.secondary, false), coalesce(f.copies, 1), coalesce(f.call_ids, ARRAY[c.call_id]),
    coalesce(f.recorders, ARRAY[c.recorder]), f.continues
FROM report.calls c
LEFT JOIN report.copies_between(from_time, to_time) f ON f.call_id = c.call_id
WHERE (c.start_time >= from_time AND c.start_time < to_time
        OR c.start_time IS NULL AND c.first_seen_at >= from_time AND c.first_seen_at < to_time)
    AND f.shown IS NOT FALSE;
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
