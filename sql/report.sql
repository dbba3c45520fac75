-- Views for readers. The whole file is applied again when it changes, so it must be repeatable: what it makes, it drops first.

CREATE SCHEMA IF NOT EXISTS report;
COMMENT ON SCHEMA report IS 'Views of the archive for people: readable names, one row per what the view says. All times are UTC instants';

DROP VIEW IF EXISTS report.calls;
CREATE VIEW report.calls AS
SELECT
    c.call_id,
    c.recorder,
    c.state,
    c.start_time,
    c.end_time,
    c.duration,
    c.recorder_duration,
    c.source_caller_id,
    c.source_name,
    c.source_ip,
    c.source_eth,
    c.source_device,
    c.destination_caller_id,
    c.destination_name,
    c.destination_ip,
    c.destination_eth,
    c.destination_device,
    coalesce(cause.name, 'unknown code ' || c.cause_id) AS cause,
    coalesce(direction.name, 'unknown code ' || c.direction_id) AS direction,
    coalesce(audio_codec.name, 'unknown code ' || c.audio_codec_id) AS audio_codec,
    c.video_codec_id,
    coalesce(signaling.name, 'unknown code ' || c.signaling_id) AS signaling,
    coalesce(modality.name, 'unknown code ' || c.modality_id) AS modality,
    c.recorder_service_id,
    c.manual,
    c.native_id,
    c.native_call_id,
    c.platform_call_id,
    c.location,
    c.meeting_id,
    c.owner_eid,
    c.location_eid,
    c.cisco_guid,
    c.ms_conversation_id,
    c.agent_id,
    c.recorded_extension,
    c.dialed_extension,
    c.ondemand,
    c.conference,
    c.secondary,
    c.recorded_party,
    c.do_not_delete,
    c.attributes,
    c.quality,
    c.source AS evidence,
    c.first_seen_at,
    c.recorded_at
FROM cdr.call c
LEFT JOIN cdr.cause ON cause.id = c.cause_id
LEFT JOIN cdr.direction ON direction.id = c.direction_id
LEFT JOIN cdr.audio_codec ON audio_codec.id = c.audio_codec_id
LEFT JOIN cdr.signaling ON signaling.id = c.signaling_id
LEFT JOIN cdr.modality ON modality.id = c.modality_id;
COMMENT ON VIEW report.calls IS
    'Every call of the archive with readable names. Grain: one row per call (2N copies are calls of their own). Times are UTC instants';

-- Columns that come straight from cdr.call have the comment that they have there.
DO $$
DECLARE
    shown record;
BEGIN
    FOR shown IN
        SELECT v.attname, col_description(c.attrelid, c.attnum) AS comment
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
