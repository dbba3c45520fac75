-- report.unresolved_calls: the calls of which the archive has no finished record, and why.
--
-- Purpose: the list to work through: what is still to come, what is gone, what someone has accepted as gone.
-- Grain:   one row per call that is not complete. Calls that go on at the moment are among them.
-- Zone:    all times are UTC instants.
-- Masks:   the parties, as in report.calls.

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
    last.at AS last_action_at
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
