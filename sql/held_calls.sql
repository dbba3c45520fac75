-- cdr.held_call: which calls are under legal hold.
--
-- Purpose: for questions of compliance: what may be neither deleted nor erased, and why. Inside of cdr: it tells whose
--          calls are looked into.
-- Grain:   one row per call and hold in force that covers it; a call on two holds has two.
-- Zone:    all times are UTC instants.
-- The rule is that of etl/store/holds.py, word by word (a test compares them): a party is meant by whole words of a
-- personal field or of another attribute's value, in the row or in any fact; one of fewer than three characters only by
-- a whole field, or by a number in a list or an address.
-- Reads every call for each hold of a party: on a large archive ask for one hold, or for a time.

CREATE OR REPLACE VIEW cdr.held_call AS
SELECT h.id AS hold, h.kind, h.reason, c.call_id, c.id_time, c.recorder, c.start_time
FROM cdr.legal_hold h
CROSS JOIN cdr.call c
WHERE h.released_at IS NULL
AND (h.recorder IS NULL OR h.recorder = c.recorder)
AND (h.from_time IS NULL OR coalesce(c.start_time, c.end_time,
    CASE WHEN c.id_time >= '2000-01-01 00:00+00' THEN least(c.id_time, c.first_seen_at) END,
        c.first_seen_at) >= h.from_time)
AND (h.to_time IS NULL OR coalesce(c.start_time, c.end_time,
    CASE WHEN c.id_time >= '2000-01-01 00:00+00' THEN least(c.id_time, c.first_seen_at) END,
        c.first_seen_at) < h.to_time)
AND CASE h.kind WHEN 'call' THEN h.value = c.call_id WHEN 'party' THEN EXISTS (
        SELECT FROM (SELECT ' ' || replace(regexp_replace(regexp_replace(replace(lower(normalize(concat_ws(chr(1),
            c.agent_id, c.destination_caller_id, c.destination_device, c.destination_eth, c.destination_ip,
            c.destination_name, c.dialed_extension, c.meeting_id, c.owner_eid, c.recorded_extension,
            c.source_caller_id, c.source_device, c.source_eth, c.source_ip, c.source_name,
            (SELECT string_agg(value #>> '{}', chr(1)) FROM jsonb_path_query(c.attributes, '$.**') value
            WHERE jsonb_typeof(value) IN ('string', 'number'))), NFKC)), 'ß', 'ss'), '(?<=[0-9])\.(?=[0-9])',
                chr(2), 'g'),
                '[\u0003-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u00a9\u00ab-\u00b4\u00b6-\u00b9\u00bb-\u00bf\u00d7\u00f7\u2000-\u206f\u3000-\u3004\u3008-\u3020\ufeff]+',
                ' ', 'g'), chr(1),
                ' ' || chr(1) || ' ') || ' ' AS words OFFSET 0) said CROSS JOIN unnest(h.forms) form
        WHERE CASE WHEN char_length(form) >= 3 THEN strpos(said.words, ' ' || form || ' ') > 0
            ELSE form IN (lower(c.agent_id), lower(c.destination_caller_id), lower(c.destination_device),
                lower(c.destination_eth), lower(c.destination_ip), lower(c.destination_name),
                lower(c.dialed_extension), lower(c.meeting_id), lower(c.owner_eid), lower(c.recorded_extension),
                lower(c.source_caller_id), lower(c.source_device), lower(c.source_eth), lower(c.source_ip),
                lower(c.source_name))
                OR form = ANY (regexp_split_to_array(lower(concat_ws(',', c.source_caller_id,
                    c.destination_caller_id, c.recorded_extension, c.dialed_extension, c.agent_id)),
                    '[,;|/<>[:space:]]+'))
                OR form = ANY (regexp_split_to_array(regexp_replace(lower(concat_ws(',', c.source_caller_id,
                    c.destination_caller_id, c.recorded_extension, c.dialed_extension, c.agent_id)),
                    'sips?:|tel:|@[^,;|/<>[:space:]]*', '', 'g'), '[,;|/<>[:space:]]+'))
            END) OR EXISTS (
    SELECT FROM cdr.fact f WHERE f.call_id = c.call_id AND f.id_time = c.id_time AND EXISTS (
        SELECT FROM (SELECT ' ' || replace(regexp_replace(regexp_replace(replace(lower(normalize(concat_ws(chr(1),
            f.agent_id, f.destination_caller_id, f.destination_device, f.destination_eth, f.destination_ip,
            f.destination_name, f.dialed_extension, f.meeting_id, f.owner_eid, f.recorded_extension,
            f.source_caller_id, f.source_device, f.source_eth, f.source_ip, f.source_name,
            (SELECT string_agg(value #>> '{}', chr(1)) FROM jsonb_path_query(f.attributes, '$.**') value
            WHERE jsonb_typeof(value) IN ('string', 'number'))), NFKC)), 'ß', 'ss'), '(?<=[0-9])\.(?=[0-9])',
                chr(2), 'g'),
                '[\u0003-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u00a9\u00ab-\u00b4\u00b6-\u00b9\u00bb-\u00bf\u00d7\u00f7\u2000-\u206f\u3000-\u3004\u3008-\u3020\ufeff]+',
                ' ', 'g'), chr(1),
                ' ' || chr(1) || ' ') || ' ' AS words OFFSET 0) said CROSS JOIN unnest(h.forms) form
        WHERE CASE WHEN char_length(form) >= 3 THEN strpos(said.words, ' ' || form || ' ') > 0
            ELSE form IN (lower(f.agent_id), lower(f.destination_caller_id), lower(f.destination_device),
                lower(f.destination_eth), lower(f.destination_ip), lower(f.destination_name),
                lower(f.dialed_extension), lower(f.meeting_id), lower(f.owner_eid), lower(f.recorded_extension),
                lower(f.source_caller_id), lower(f.source_device), lower(f.source_eth), lower(f.source_ip),
                lower(f.source_name))
                OR form = ANY (regexp_split_to_array(lower(concat_ws(',', f.source_caller_id,
                    f.destination_caller_id, f.recorded_extension, f.dialed_extension, f.agent_id)),
                    '[,;|/<>[:space:]]+'))
                OR form = ANY (regexp_split_to_array(regexp_replace(lower(concat_ws(',', f.source_caller_id,
                    f.destination_caller_id, f.recorded_extension, f.dialed_extension, f.agent_id)),
                    'sips?:|tel:|@[^,;|/<>[:space:]]*', '', 'g'), '[,;|/<>[:space:]]+'))
            END))
ELSE true END;
COMMENT ON VIEW cdr.held_call IS
    'Calls under legal hold. Grain: one row per call and hold in force that covers it. Times are UTC instants';
COMMENT ON COLUMN cdr.held_call.hold IS 'Id of the hold; see cdr.legal_hold';
COMMENT ON COLUMN cdr.held_call.kind IS 'call: one call; party: calls of a number or name; span: all calls of a time';
COMMENT ON COLUMN cdr.held_call.reason IS 'Why it was set, in the words of who did it';
COMMENT ON COLUMN cdr.held_call.call_id IS 'Id of the call';
COMMENT ON COLUMN cdr.held_call.id_time IS 'UTC time inside a version 1 UUID, else 1970-01-01; with call_id the key of cdr.call';
COMMENT ON COLUMN cdr.held_call.recorder IS 'Its recorder';
COMMENT ON COLUMN cdr.held_call.start_time IS 'Start of the call (UTC instant)';
