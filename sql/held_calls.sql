-- cdr.held_call: which calls are under legal hold.
--
-- Purpose: for questions of compliance: what may be neither deleted nor erased, and why. Inside of cdr: it tells whose
--          calls are looked into.
-- Grain:   one row per call and hold in force that covers it; a call on two holds has two.
-- Zone:    all times are UTC instants.
-- The rule is that of etl/store/holds.py, word by word (a test compares them): a party is meant by a whole field, by one
-- of several numbers in a field, by the number inside an address, or by another attribute, in the row or in any fact.
-- Reads every call for each hold of a party: on a large archive ask for one hold, or for a time.

CREATE OR REPLACE VIEW cdr.held_call AS
SELECT h.id AS hold, h.kind, h.reason, c.call_id, c.id_time, c.recorder, c.start_time
FROM cdr.legal_hold h
CROSS JOIN cdr.call c
WHERE h.released_at IS NULL
    AND (h.recorder IS NULL OR h.recorder = c.recorder)
    AND (h.from_time IS NULL OR coalesce(c.start_time, c.end_time, CASE WHEN c.id_time >= '2000-01-01 00:00+00'
        THEN least(c.id_time, c.first_seen_at) END, c.first_seen_at) >= h.from_time)
    AND (h.to_time IS NULL OR coalesce(c.start_time, c.end_time, CASE WHEN c.id_time >= '2000-01-01 00:00+00'
        THEN least(c.id_time, c.first_seen_at) END, c.first_seen_at) < h.to_time)
    AND CASE h.kind
        WHEN 'call' THEN h.value = c.call_id
        WHEN 'party' THEN EXISTS (
            SELECT FROM unnest(h.forms) form
            WHERE (strpos(lower(concat_ws(' ', c.source_caller_id, c.destination_caller_id, c.recorded_extension,
                    c.dialed_extension, c.agent_id, c.source_name, c.destination_name,
                    nullif(c.attributes::text, '{}'))), form) > 0
                OR form ~ '["\\]')
            AND (form IN (lower(c.source_caller_id), lower(c.destination_caller_id), lower(c.recorded_extension),
                    lower(c.dialed_extension), lower(c.agent_id), lower(c.source_name), lower(c.destination_name))
                OR form = ANY (regexp_split_to_array(lower(concat_ws(',', c.source_caller_id, c.destination_caller_id,
                    c.recorded_extension, c.dialed_extension, c.agent_id)), '[,;|<>[:space:]]+'))
                OR form = ANY (regexp_split_to_array(regexp_replace(lower(concat_ws(',', c.source_caller_id,
                    c.destination_caller_id, c.recorded_extension, c.dialed_extension, c.agent_id)),
                    'sips?:|tel:|@[^,;|<>[:space:]]*', '', 'g'), '[,;|<>[:space:]]+'))
                OR strpos(lower(c.attributes::text), to_json(form)::text) > 0))
            OR EXISTS (
                SELECT FROM cdr.fact f
                WHERE f.call_id = c.call_id AND f.id_time = c.id_time AND EXISTS (
                    SELECT FROM unnest(h.forms) form
                    WHERE (strpos(lower(concat_ws(' ', f.source_caller_id, f.destination_caller_id,
                            f.recorded_extension, f.dialed_extension, f.agent_id, f.source_name, f.destination_name,
                            nullif(f.attributes::text, '{}'))), form) > 0
                        OR form ~ '["\\]')
                    AND (form IN (lower(f.source_caller_id), lower(f.destination_caller_id),
                            lower(f.recorded_extension), lower(f.dialed_extension), lower(f.agent_id),
                            lower(f.source_name), lower(f.destination_name))
                        OR form = ANY (regexp_split_to_array(lower(concat_ws(',', f.source_caller_id,
                            f.destination_caller_id, f.recorded_extension, f.dialed_extension, f.agent_id)),
                            '[,;|<>[:space:]]+'))
                        OR form = ANY (regexp_split_to_array(regexp_replace(lower(concat_ws(',', f.source_caller_id,
                            f.destination_caller_id, f.recorded_extension, f.dialed_extension, f.agent_id)),
                            'sips?:|tel:|@[^,;|<>[:space:]]*', '', 'g'), '[,;|<>[:space:]]+'))
                        OR strpos(lower(f.attributes::text), to_json(form)::text) > 0)))
        ELSE true
    END;
COMMENT ON VIEW cdr.held_call IS
    'Calls under legal hold. Grain: one row per call and hold in force that covers it. Times are UTC instants';
COMMENT ON COLUMN cdr.held_call.hold IS 'Id of the hold; see cdr.legal_hold';
COMMENT ON COLUMN cdr.held_call.kind IS 'call: one call; party: calls of a number or name; span: all calls of a time';
COMMENT ON COLUMN cdr.held_call.reason IS 'Why it was set, in the words of who did it';
COMMENT ON COLUMN cdr.held_call.call_id IS 'Id of the call';
COMMENT ON COLUMN cdr.held_call.id_time IS 'UTC time inside a version 1 UUID, else 1970-01-01; with call_id the key of cdr.call';
COMMENT ON COLUMN cdr.held_call.recorder IS 'Its recorder';
COMMENT ON COLUMN cdr.held_call.start_time IS 'Start of the call (UTC instant)';
