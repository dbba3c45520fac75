-- report.calls: every call, with readable names.
--
-- Purpose: to read, search and count calls.
-- Grain:   one row per call. 2N copies are calls of their own; see report.conversations.
-- Zone:    all times are UTC instants.
-- Masks:   who may neither read cdr.call nor is a member of cdr_investigator sees pseudonyms in place of numbers, names,
--          addresses, devices, agents, extensions, meetings, owners, and of the ids of other systems (which can hold a
--          number or an address, or be the id of a meeting), and no attributes. Equal values have equal
--          pseudonyms in all views, so that grouping and joining work. They are made here and not by a function: whoever
--          could call one could look up the pseudonym of every number there is. The key is in cdr.mask_key, which only
--          the owner reads. Both questions are asked once per query.
--          Each ends in || '' four times, which adds nothing but cost: what costs more than ten operators the planner
--          leaves until after ORDER BY ... LIMIT (SHA-256 is one operator to it). The 100 longest calls of a month are
--          then 100 calls to mask, not all of the month.
-- Codes:   one that nobody documented is shown as such; the bare codes stand at the end.

CREATE OR REPLACE VIEW report.calls AS
SELECT
    c.call_id,
    c.recorder,
    c.state,
    c.start_time,
    c.end_time,
    c.duration,
    c.recorder_duration,
    CASE WHEN mask.off OR c.source_caller_id = '' THEN c.source_caller_id
        ELSE '#' || encode(substr(sha256(mask.key || convert_to(c.source_caller_id, 'UTF8')), 1, 8), 'hex') || '' || '' || '' || '' END AS source_caller_id,
    CASE WHEN mask.off OR c.source_name = '' THEN c.source_name
        ELSE '#' || encode(substr(sha256(mask.key || convert_to(c.source_name, 'UTF8')), 1, 8), 'hex') || '' || '' || '' || '' END AS source_name,
    CASE WHEN mask.off OR c.source_ip = '' THEN c.source_ip
        ELSE '#' || encode(substr(sha256(mask.key || convert_to(c.source_ip, 'UTF8')), 1, 8), 'hex') || '' || '' || '' || '' END AS source_ip,
    CASE WHEN mask.off OR c.source_eth = '' THEN c.source_eth
        ELSE '#' || encode(substr(sha256(mask.key || convert_to(c.source_eth, 'UTF8')), 1, 8), 'hex') || '' || '' || '' || '' END AS source_eth,
    CASE WHEN mask.off OR c.source_device = '' THEN c.source_device
        ELSE '#' || encode(substr(sha256(mask.key || convert_to(c.source_device, 'UTF8')), 1, 8), 'hex') || '' || '' || '' || '' END AS source_device,
    CASE WHEN mask.off OR c.destination_caller_id = '' THEN c.destination_caller_id
        ELSE '#' || encode(substr(sha256(mask.key || convert_to(c.destination_caller_id, 'UTF8')), 1, 8), 'hex') || '' || '' || '' || '' END AS destination_caller_id,
    CASE WHEN mask.off OR c.destination_name = '' THEN c.destination_name
        ELSE '#' || encode(substr(sha256(mask.key || convert_to(c.destination_name, 'UTF8')), 1, 8), 'hex') || '' || '' || '' || '' END AS destination_name,
    CASE WHEN mask.off OR c.destination_ip = '' THEN c.destination_ip
        ELSE '#' || encode(substr(sha256(mask.key || convert_to(c.destination_ip, 'UTF8')), 1, 8), 'hex') || '' || '' || '' || '' END AS destination_ip,
    CASE WHEN mask.off OR c.destination_eth = '' THEN c.destination_eth
        ELSE '#' || encode(substr(sha256(mask.key || convert_to(c.destination_eth, 'UTF8')), 1, 8), 'hex') || '' || '' || '' || '' END AS destination_eth,
    CASE WHEN mask.off OR c.destination_device = '' THEN c.destination_device
        ELSE '#' || encode(substr(sha256(mask.key || convert_to(c.destination_device, 'UTF8')), 1, 8), 'hex') || '' || '' || '' || '' END AS destination_device,
    coalesce(cause.name, 'unknown code ' || c.cause_id) AS cause,
    coalesce(direction.name, 'unknown code ' || c.direction_id) AS direction,
    coalesce(audio_codec.name, 'unknown code ' || c.audio_codec_id) AS audio_codec,
    c.video_codec_id,
    coalesce(signaling.name, 'unknown code ' || c.signaling_id) AS signaling,
    coalesce(modality.name, 'unknown code ' || c.modality_id) AS modality,
    c.recorder_service_id,
    c.manual,
    CASE WHEN mask.off OR c.native_id = '' THEN c.native_id
        ELSE '#' || encode(substr(sha256(mask.key || convert_to(c.native_id, 'UTF8')), 1, 8), 'hex') || '' || '' || '' || '' END AS native_id,
    CASE WHEN mask.off OR c.native_call_id = '' THEN c.native_call_id
        ELSE '#' || encode(substr(sha256(mask.key || convert_to(c.native_call_id, 'UTF8')), 1, 8), 'hex') || '' || '' || '' || '' END AS native_call_id,
    CASE WHEN mask.off OR c.platform_call_id = '' THEN c.platform_call_id
        ELSE '#' || encode(substr(sha256(mask.key || convert_to(c.platform_call_id, 'UTF8')), 1, 8), 'hex') || '' || '' || '' || '' END AS platform_call_id,
    c.location,
    CASE WHEN mask.off OR c.meeting_id = '' THEN c.meeting_id
        ELSE '#' || encode(substr(sha256(mask.key || convert_to(c.meeting_id, 'UTF8')), 1, 8), 'hex') || '' || '' || '' || '' END AS meeting_id,
    CASE WHEN mask.off OR c.owner_eid = '' THEN c.owner_eid
        ELSE '#' || encode(substr(sha256(mask.key || convert_to(c.owner_eid, 'UTF8')), 1, 8), 'hex') || '' || '' || '' || '' END AS owner_eid,
    c.location_eid,
    CASE WHEN mask.off OR c.cisco_guid = '' THEN c.cisco_guid
        ELSE '#' || encode(substr(sha256(mask.key || convert_to(c.cisco_guid, 'UTF8')), 1, 8), 'hex') || '' || '' || '' || '' END AS cisco_guid,
    CASE WHEN mask.off OR c.ms_conversation_id = '' THEN c.ms_conversation_id
        ELSE '#' || encode(substr(sha256(mask.key || convert_to(c.ms_conversation_id, 'UTF8')), 1, 8), 'hex') || '' || '' || '' || '' END AS ms_conversation_id,
    CASE WHEN mask.off OR c.agent_id = '' THEN c.agent_id
        ELSE '#' || encode(substr(sha256(mask.key || convert_to(c.agent_id, 'UTF8')), 1, 8), 'hex') || '' || '' || '' || '' END AS agent_id,
    CASE WHEN mask.off OR c.recorded_extension = '' THEN c.recorded_extension
        ELSE '#' || encode(substr(sha256(mask.key || convert_to(c.recorded_extension, 'UTF8')), 1, 8), 'hex') || '' || '' || '' || '' END AS recorded_extension,
    CASE WHEN mask.off OR c.dialed_extension = '' THEN c.dialed_extension
        ELSE '#' || encode(substr(sha256(mask.key || convert_to(c.dialed_extension, 'UTF8')), 1, 8), 'hex') || '' || '' || '' || '' END AS dialed_extension,
    c.ondemand,
    c.conference,
    c.secondary,
    c.recorded_party,
    c.do_not_delete,
    CASE WHEN mask.off THEN c.attributes END AS attributes,
    c.quality,
    c.source AS evidence,
    c.first_seen_at,
    c.recorded_at,
    c.cause_id,
    c.direction_id,
    c.audio_codec_id,
    c.signaling_id,
    c.modality_id
FROM cdr.call c
CROSS JOIN (
    SELECT
        (SELECT has_table_privilege('cdr.call'::regclass, 'SELECT')
            OR coalesce(pg_has_role(to_regrole('cdr_investigator'), 'USAGE'), false)) AS off,
        (SELECT k.secret FROM cdr.mask_key k) AS key
) mask
LEFT JOIN cdr.cause ON cause.id = c.cause_id
LEFT JOIN cdr.direction ON direction.id = c.direction_id
LEFT JOIN cdr.audio_codec ON audio_codec.id = c.audio_codec_id
LEFT JOIN cdr.signaling ON signaling.id = c.signaling_id
LEFT JOIN cdr.modality ON modality.id = c.modality_id;
COMMENT ON VIEW report.calls IS
    'Every call of the archive with readable names. Grain: one row per call (2N copies are calls of their own). Times are UTC instants. Personal data is masked for whoever may not see it';

-- Columns that come straight from cdr.call have the comment that they have there.
DO $$
DECLARE
    shown record;
BEGIN
    FOR shown IN
        SELECT v.attname, col_description(c.attrelid, c.attnum) || CASE
            WHEN v.attname ~ '^(source|destination)_'
                OR v.attname IN ('meeting_id', 'owner_eid', 'agent_id', 'recorded_extension', 'dialed_extension',
                    'native_id', 'native_call_id', 'platform_call_id', 'cisco_guid', 'ms_conversation_id')
                THEN '. Masked: # and 16 hexadecimal digits, equal for equal values'
            WHEN v.attname = 'attributes' THEN '. Null for whoever may not see personal data'
            ELSE '' END AS comment
        FROM pg_attribute v
        JOIN pg_attribute c ON c.attrelid = 'cdr.call'::regclass AND c.attname = v.attname AND c.attnum > 0
        WHERE v.attrelid = 'report.calls'::regclass AND v.attnum > 0
    LOOP
        EXECUTE format('COMMENT ON COLUMN report.calls.%I IS %L', shown.attname, shown.comment);
    END LOOP;
END
$$;
COMMENT ON COLUMN report.calls.cause IS 'Why the call ended; a code that nobody documented is shown as such';
COMMENT ON COLUMN report.calls.direction IS 'Direction; a code that nobody documented is shown as such';
COMMENT ON COLUMN report.calls.audio_codec IS 'Audio codec; a code that nobody documented is shown as such';
COMMENT ON COLUMN report.calls.signaling IS 'Signaling protocol; a code that nobody documented is shown as such';
COMMENT ON COLUMN report.calls.modality IS 'Modality; one that nobody documented is shown as such';
COMMENT ON COLUMN report.calls.evidence IS 'Kind of the fact that ranks first: detail, http, file, unfinished, end, start, list or absent';
