-- report.unresolved_calls: the calls of which the archive has no finished record, and why.
--
-- Purpose: the list to work through: what is still to come, what is gone, what someone has accepted as gone.
-- Grain:   one row per call that is not complete. Calls that go on at the moment are among them.
-- Zone:    all times are UTC instants.
-- Masks:   the parties, as in report.calls.

-- cdr.unlisted_call: the calls that are ongoing with us, yet were absent from their recorder's last good list.
--
-- Purpose: one place that says when an ongoing call is amiss, for `cdr status`, the reading of history, and readers.
--          The newest good run asked about a call because its list lacked it, and the call is ongoing still. Not if it was
--          heard of since; nor if it was in the run's second list, which is the only reason to report a call that the
--          recorder says it does not know.
-- Grain:   one row per such call, accepted or not.
CREATE OR REPLACE VIEW cdr.unlisted_call AS
SELECT c.call_id, c.id_time, c.recorder
FROM (SELECT DISTINCT s.recorder FROM cdr.session s) s
CROSS JOIN LATERAL (
    SELECT r.id, r.asked_at FROM cdr.reconcile_run r
    WHERE r.recorder = s.recorder AND r.result = 'done' ORDER BY r.started_at DESC LIMIT 1
) last
JOIN cdr.reconcile_action i ON i.run = last.id AND i.act = 'ask' AND i.rule = 'b'
JOIN cdr.call c ON c.call_id = i.call_id AND c.recorder = s.recorder AND c.state = 'ongoing'
WHERE NOT EXISTS (
        SELECT FROM cdr.fact f WHERE f.call_id = c.call_id AND f.id_time = c.id_time
            AND f.kind IN ('start', 'list') AND f.observed_at > last.asked_at)
    AND NOT (i.outcome = 'unknown' AND EXISTS (
        SELECT FROM cdr.reconcile_action o WHERE o.run = last.id AND o.call_id = i.call_id AND o.act = 'report'));
COMMENT ON VIEW cdr.unlisted_call IS
    'Calls that are ongoing with us, yet were absent from their recorder''s last good list, and not heard of since. Grain: one row per call';
COMMENT ON COLUMN cdr.unlisted_call.call_id IS 'Id of the call';
COMMENT ON COLUMN cdr.unlisted_call.id_time IS 'UTC time inside the id, as in cdr.call';
COMMENT ON COLUMN cdr.unlisted_call.recorder IS 'Its recorder';

CREATE OR REPLACE VIEW report.unresolved_calls AS
SELECT
    c.call_id,
    c.recorder,
    c.state,
    coalesce(f.since, c.first_seen_at) AS since,
    c.start_time,
    c.end_time,
    CASE WHEN mask.off OR c.source_caller_id = '' THEN c.source_caller_id
        ELSE '#' || encode(substr(sha256(mask.key || convert_to(c.source_caller_id, 'UTF8')), 1, 8), 'hex') END AS source_caller_id,
    CASE WHEN mask.off OR c.destination_caller_id = '' THEN c.destination_caller_id
        ELSE '#' || encode(substr(sha256(mask.key || convert_to(c.destination_caller_id, 'UTF8')), 1, 8), 'hex') END AS destination_caller_id,
    CASE c.state
        WHEN 'lost' THEN 'gone: the recorder does not know it any more'
        WHEN 'ended' THEN CASE
            WHEN f.unfinished THEN 'ended; its record is not finished yet'
            ELSE 'ended; its record has not arrived' END
        ELSE CASE
            WHEN last.act = 'ask' THEN 'was not in the recorder''s list any more, and asking about it settled nothing'
            WHEN last.act = 'report' THEN 'the recorder contradicts itself about it'
            ELSE 'goes on, as far as the recorder has told' END
    END AS why,
    a.call_id IS NOT NULL AS accepted,
    a.who AS accepted_by,
    a.reason AS accepted_reason,
    a.at AS accepted_at,
    last.told AS last_action,
    last.outcome AS last_answer,
    last.at AS last_action_at,
    -- Looked up once for all rows, and only where it is asked for.
    c.state = 'ongoing' AND (c.call_id, c.id_time) IN (SELECT u.call_id, u.id_time FROM cdr.unlisted_call u) AS unlisted
FROM cdr.call c
CROSS JOIN (
    SELECT
        (SELECT has_table_privilege('cdr.call'::regclass, 'SELECT')
            OR coalesce(pg_has_role(to_regrole('cdr_investigator'), 'USAGE'), false)) AS off,
        (SELECT k.secret FROM cdr.mask_key k) AS key
) mask
LEFT JOIN LATERAL (
    SELECT
        CASE c.state
            WHEN 'lost' THEN min(i.first_observed_at) FILTER (WHERE i.kind = 'absent')
            WHEN 'ended' THEN min(i.first_observed_at) FILTER (WHERE i.kind = 'end' OR i.end_time IS NOT NULL)
        END AS since,
        bool_or(i.kind = 'unfinished') AS unfinished
    FROM cdr.fact i
    WHERE i.call_id = c.call_id AND i.id_time = c.id_time
        -- Evidence lies scattered, and each fact may be a page to read: nothing of a call that goes on, only the absence
        -- of one that is lost.
        AND i.kind = ANY (CASE c.state WHEN 'lost' THEN ARRAY['absent']
            WHEN 'ended' THEN ARRAY['detail', 'http', 'file', 'unfinished', 'end', 'start', 'list'] END)
) f ON true
LEFT JOIN LATERAL (
    SELECT i.act, i.told, i.outcome, r.started_at AS at
    FROM cdr.reconcile_action i JOIN cdr.reconcile_run r ON r.id = i.run
    WHERE i.call_id = c.call_id
    ORDER BY r.started_at DESC, i.position DESC LIMIT 1
) last ON true
LEFT JOIN cdr.call_acceptance a ON a.call_id = c.call_id
WHERE c.state <> 'complete';
COMMENT ON VIEW report.unresolved_calls IS
    'Calls without a finished record. Grain: one row per call that is not complete, those that go on among them. Times are UTC instants';
COMMENT ON COLUMN report.unresolved_calls.call_id IS 'Id of the call';
COMMENT ON COLUMN report.unresolved_calls.recorder IS 'Its recorder';
COMMENT ON COLUMN report.unresolved_calls.state IS 'ongoing, ended or lost';
COMMENT ON COLUMN report.unresolved_calls.since IS
    'Since when it is in this state: first seen, its end first heard of, or its absence found (UTC instant)';
COMMENT ON COLUMN report.unresolved_calls.start_time IS 'Start of the call (UTC instant)';
COMMENT ON COLUMN report.unresolved_calls.end_time IS 'End of the call, where it is known (UTC instant)';
COMMENT ON COLUMN report.unresolved_calls.source_caller_id IS 'Number or address of the calling party, masked as in report.calls';
COMMENT ON COLUMN report.unresolved_calls.destination_caller_id IS 'Number or address of the called party, masked alike';
COMMENT ON COLUMN report.unresolved_calls.why IS 'Why it is not complete, in words';
COMMENT ON COLUMN report.unresolved_calls.accepted IS 'Whether someone took note that its record is gone for good (cdr accept call)';
COMMENT ON COLUMN report.unresolved_calls.accepted_by IS 'Who did: user of the operating system and host';
COMMENT ON COLUMN report.unresolved_calls.accepted_reason IS 'Why, in their words';
COMMENT ON COLUMN report.unresolved_calls.accepted_at IS 'When (UTC instant)';
COMMENT ON COLUMN report.unresolved_calls.last_action IS 'What reconciliation did about it last, in words; null if nothing';
COMMENT ON COLUMN report.unresolved_calls.last_answer IS 'What the recorder answered to that, if it was asked';
COMMENT ON COLUMN report.unresolved_calls.last_action_at IS 'Begin of that run (UTC instant)';
COMMENT ON COLUMN report.unresolved_calls.unlisted IS
    'Whether it is ongoing, yet was absent from its recorder''s last good list and not heard of since: something is missing of it';
