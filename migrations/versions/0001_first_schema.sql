-- The first schema. A migration is history: it is never edited, what comes later is a later migration.

COMMENT ON SCHEMA cdr IS 'Archive of recorded calls: evidence, calls, and what was covered';

CREATE TABLE cdr.call (
    call_id TEXT COLLATE "C" NOT NULL,
    id_time TIMESTAMP WITH TIME ZONE NOT NULL,
    recorder TEXT,
    state TEXT NOT NULL,
    source TEXT NOT NULL,
    start_time TIMESTAMP WITH TIME ZONE,
    end_time TIMESTAMP WITH TIME ZONE,
    duration INTERVAL GENERATED ALWAYS AS (end_time - start_time) STORED,
    recorder_duration INTERVAL,
    source_caller_id TEXT,
    source_name TEXT,
    source_ip TEXT,
    source_eth TEXT,
    source_device TEXT,
    destination_caller_id TEXT,
    destination_name TEXT,
    destination_ip TEXT,
    destination_eth TEXT,
    destination_device TEXT,
    cause_id INTEGER,
    direction_id INTEGER,
    audio_codec_id INTEGER,
    video_codec_id INTEGER,
    signaling_id INTEGER,
    recorder_service_id INTEGER,
    manual INTEGER,
    native_id TEXT,
    native_call_id TEXT,
    platform_call_id TEXT,
    modality_id TEXT,
    location TEXT,
    meeting_id TEXT,
    owner_eid TEXT,
    location_eid TEXT,
    cisco_guid TEXT,
    ms_conversation_id TEXT,
    agent_id TEXT,
    recorded_extension TEXT,
    dialed_extension TEXT,
    ondemand BOOLEAN,
    conference BOOLEAN,
    secondary BOOLEAN,
    recorded_party BOOLEAN,
    do_not_delete BOOLEAN,
    attributes JSONB DEFAULT '{}' NOT NULL,
    quality TEXT[] DEFAULT '{}' NOT NULL,
    first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (call_id, id_time),
    CONSTRAINT known_state CHECK (state IN ('ongoing', 'ended', 'complete', 'lost')),
    CONSTRAINT known_source CHECK (source IN ('detail', 'http', 'file', 'unfinished', 'end', 'start', 'list', 'absent'))
) PARTITION BY RANGE (id_time);
CREATE INDEX call_start_time ON cdr.call (start_time);
CREATE INDEX call_unresolved ON cdr.call (recorder, state, id_time) WHERE state <> 'complete';
COMMENT ON TABLE cdr.call IS 'One row per call: what all facts about it say together; derived from cdr.fact';
COMMENT ON COLUMN cdr.call.call_id IS 'Id of the call; lower case if a UUID';
COMMENT ON COLUMN cdr.call.id_time IS 'UTC time inside a version 1 UUID, else 1970-01-01; the partition''s key';
COMMENT ON COLUMN cdr.call.recorder IS 'Recorder whose stream showed the call, else the one its location maps to, else the location as written';
COMMENT ON COLUMN cdr.call.state IS 'complete, lost, ended or ongoing; follows from the facts alone';
COMMENT ON COLUMN cdr.call.source IS 'Kind of the fact that ranks first';
COMMENT ON COLUMN cdr.call.start_time IS 'Start of the call (UTC instant; read in the zone of its source)';
COMMENT ON COLUMN cdr.call.end_time IS 'End of the call (UTC instant); null while unknown or not credible';
COMMENT ON COLUMN cdr.call.duration IS 'end_time - start_time; null while one of them is unknown';
COMMENT ON COLUMN cdr.call.recorder_duration IS 'Duration as the recorder reported it';
COMMENT ON COLUMN cdr.call.source_caller_id IS 'Number or address (such as a SIP URI) of the calling party';
COMMENT ON COLUMN cdr.call.source_name IS 'Display name of the calling party';
COMMENT ON COLUMN cdr.call.source_ip IS 'IP address or addresses of the calling party, as reported';
COMMENT ON COLUMN cdr.call.source_eth IS 'Ethernet address or addresses of the calling party, as reported';
COMMENT ON COLUMN cdr.call.source_device IS 'Device of the calling party, as reported';
COMMENT ON COLUMN cdr.call.destination_caller_id IS 'Number or address (such as a SIP URI) of the called party';
COMMENT ON COLUMN cdr.call.destination_name IS 'Display name of the called party';
COMMENT ON COLUMN cdr.call.destination_ip IS 'IP address or addresses of the called party, as reported';
COMMENT ON COLUMN cdr.call.destination_eth IS 'Ethernet address or addresses of the called party, as reported';
COMMENT ON COLUMN cdr.call.destination_device IS 'Device of the called party, as reported';
COMMENT ON COLUMN cdr.call.cause_id IS 'Why the call ended; see cdr.cause';
COMMENT ON COLUMN cdr.call.direction_id IS 'Direction; see cdr.direction';
COMMENT ON COLUMN cdr.call.audio_codec_id IS 'Audio codec; see cdr.audio_codec';
COMMENT ON COLUMN cdr.call.video_codec_id IS 'Video codec, as reported';
COMMENT ON COLUMN cdr.call.signaling_id IS 'Signaling protocol; see cdr.signaling';
COMMENT ON COLUMN cdr.call.recorder_service_id IS 'Recording service, as reported';
COMMENT ON COLUMN cdr.call.manual IS 'Whether the recording was started by hand, as reported';
COMMENT ON COLUMN cdr.call.native_id IS 'The platform''s id of this leg: native_call_id with more behind bars';
COMMENT ON COLUMN cdr.call.native_call_id IS 'The platform''s id of the call';
COMMENT ON COLUMN cdr.call.platform_call_id IS 'The platform''s id of the conversation; 2N copies share it';
COMMENT ON COLUMN cdr.call.modality_id IS 'Modality; see cdr.modality';
COMMENT ON COLUMN cdr.call.location IS 'Host name of the recorder, as the record has it';
COMMENT ON COLUMN cdr.call.meeting_id IS 'Meeting the call belongs to';
COMMENT ON COLUMN cdr.call.owner_eid IS 'Owner''s environment id';
COMMENT ON COLUMN cdr.call.location_eid IS 'Location''s environment id';
COMMENT ON COLUMN cdr.call.cisco_guid IS 'Cisco GUID';
COMMENT ON COLUMN cdr.call.ms_conversation_id IS 'Microsoft conversation id';
COMMENT ON COLUMN cdr.call.agent_id IS 'Agent who took the call';
COMMENT ON COLUMN cdr.call.recorded_extension IS 'Extension for which the call was recorded';
COMMENT ON COLUMN cdr.call.dialed_extension IS 'Extension that was dialed';
COMMENT ON COLUMN cdr.call.ondemand IS 'Recorded on demand';
COMMENT ON COLUMN cdr.call.conference IS 'Conference call';
COMMENT ON COLUMN cdr.call.secondary IS 'Secondary copy of a 2N recording';
COMMENT ON COLUMN cdr.call.recorded_party IS 'Which party was recorded, as reported';
COMMENT ON COLUMN cdr.call.do_not_delete IS 'Protected from deletion on the recorder';
COMMENT ON COLUMN cdr.call.attributes IS 'Every other field, as received';
COMMENT ON COLUMN cdr.call.quality IS 'What is doubtful about this row, as sorted flags; see docs/facts.md';
COMMENT ON COLUMN cdr.call.first_seen_at IS 'Earliest observation of any fact about the call';
COMMENT ON COLUMN cdr.call.recorded_at IS 'Time of the transaction that last changed the row';

CREATE TABLE cdr.fact (
    call_id TEXT COLLATE "C" NOT NULL,
    id_time TIMESTAMP WITH TIME ZONE NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    observed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    first_observed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    recorder TEXT,
    located TEXT,
    digest BYTEA NOT NULL,
    start_time TIMESTAMP WITH TIME ZONE,
    end_time TIMESTAMP WITH TIME ZONE,
    recorder_duration INTERVAL,
    source_caller_id TEXT,
    source_name TEXT,
    source_ip TEXT,
    source_eth TEXT,
    source_device TEXT,
    destination_caller_id TEXT,
    destination_name TEXT,
    destination_ip TEXT,
    destination_eth TEXT,
    destination_device TEXT,
    cause_id INTEGER,
    direction_id INTEGER,
    audio_codec_id INTEGER,
    video_codec_id INTEGER,
    signaling_id INTEGER,
    recorder_service_id INTEGER,
    manual INTEGER,
    native_id TEXT,
    native_call_id TEXT,
    platform_call_id TEXT,
    modality_id TEXT,
    location TEXT,
    meeting_id TEXT,
    owner_eid TEXT,
    location_eid TEXT,
    cisco_guid TEXT,
    ms_conversation_id TEXT,
    agent_id TEXT,
    recorded_extension TEXT,
    dialed_extension TEXT,
    ondemand BOOLEAN,
    conference BOOLEAN,
    secondary BOOLEAN,
    recorded_party BOOLEAN,
    do_not_delete BOOLEAN,
    attributes JSONB DEFAULT '{}' NOT NULL,
    quality TEXT[] DEFAULT '{}' NOT NULL,
    element BYTEA NOT NULL,
    PRIMARY KEY (call_id, id_time, kind),
    CONSTRAINT known_kind CHECK (kind IN ('detail', 'http', 'file', 'unfinished', 'end', 'start', 'list', 'absent'))
) PARTITION BY RANGE (id_time);
COMMENT ON TABLE cdr.fact IS 'The evidence: per call and kind the fact observed last; cdr.call can be rebuilt from it';
COMMENT ON COLUMN cdr.fact.call_id IS 'Id of the call; lower case if a UUID';
COMMENT ON COLUMN cdr.fact.id_time IS 'UTC time inside a version 1 UUID, else 1970-01-01; the partition''s key';
COMMENT ON COLUMN cdr.fact.kind IS 'What the fact stems from; see docs/facts.md';
COMMENT ON COLUMN cdr.fact.observed_at IS 'When this content was received last (a file: its modification time)';
COMMENT ON COLUMN cdr.fact.first_observed_at IS 'When the first fact of this kind was received for the call';
COMMENT ON COLUMN cdr.fact.recorder IS 'Configured recorder whose stream showed it; null for history';
COMMENT ON COLUMN cdr.fact.located IS 'Recorder that the record''s location maps to, else the location as written';
COMMENT ON COLUMN cdr.fact.digest IS 'Identifies the content as received';
COMMENT ON COLUMN cdr.fact.start_time IS 'Start of the call (UTC instant; read in the zone of its source)';
COMMENT ON COLUMN cdr.fact.end_time IS 'End of the call (UTC instant); null while unknown or not credible';
COMMENT ON COLUMN cdr.fact.recorder_duration IS 'Duration as the recorder reported it';
COMMENT ON COLUMN cdr.fact.source_caller_id IS 'Number or address (such as a SIP URI) of the calling party';
COMMENT ON COLUMN cdr.fact.source_name IS 'Display name of the calling party';
COMMENT ON COLUMN cdr.fact.source_ip IS 'IP address or addresses of the calling party, as reported';
COMMENT ON COLUMN cdr.fact.source_eth IS 'Ethernet address or addresses of the calling party, as reported';
COMMENT ON COLUMN cdr.fact.source_device IS 'Device of the calling party, as reported';
COMMENT ON COLUMN cdr.fact.destination_caller_id IS 'Number or address (such as a SIP URI) of the called party';
COMMENT ON COLUMN cdr.fact.destination_name IS 'Display name of the called party';
COMMENT ON COLUMN cdr.fact.destination_ip IS 'IP address or addresses of the called party, as reported';
COMMENT ON COLUMN cdr.fact.destination_eth IS 'Ethernet address or addresses of the called party, as reported';
COMMENT ON COLUMN cdr.fact.destination_device IS 'Device of the called party, as reported';
COMMENT ON COLUMN cdr.fact.cause_id IS 'Why the call ended; see cdr.cause';
COMMENT ON COLUMN cdr.fact.direction_id IS 'Direction; see cdr.direction';
COMMENT ON COLUMN cdr.fact.audio_codec_id IS 'Audio codec; see cdr.audio_codec';
COMMENT ON COLUMN cdr.fact.video_codec_id IS 'Video codec, as reported';
COMMENT ON COLUMN cdr.fact.signaling_id IS 'Signaling protocol; see cdr.signaling';
COMMENT ON COLUMN cdr.fact.recorder_service_id IS 'Recording service, as reported';
COMMENT ON COLUMN cdr.fact.manual IS 'Whether the recording was started by hand, as reported';
COMMENT ON COLUMN cdr.fact.native_id IS 'The platform''s id of this leg: native_call_id with more behind bars';
COMMENT ON COLUMN cdr.fact.native_call_id IS 'The platform''s id of the call';
COMMENT ON COLUMN cdr.fact.platform_call_id IS 'The platform''s id of the conversation; 2N copies share it';
COMMENT ON COLUMN cdr.fact.modality_id IS 'Modality; see cdr.modality';
COMMENT ON COLUMN cdr.fact.location IS 'Host name of the recorder, as the record has it';
COMMENT ON COLUMN cdr.fact.meeting_id IS 'Meeting the call belongs to';
COMMENT ON COLUMN cdr.fact.owner_eid IS 'Owner''s environment id';
COMMENT ON COLUMN cdr.fact.location_eid IS 'Location''s environment id';
COMMENT ON COLUMN cdr.fact.cisco_guid IS 'Cisco GUID';
COMMENT ON COLUMN cdr.fact.ms_conversation_id IS 'Microsoft conversation id';
COMMENT ON COLUMN cdr.fact.agent_id IS 'Agent who took the call';
COMMENT ON COLUMN cdr.fact.recorded_extension IS 'Extension for which the call was recorded';
COMMENT ON COLUMN cdr.fact.dialed_extension IS 'Extension that was dialed';
COMMENT ON COLUMN cdr.fact.ondemand IS 'Recorded on demand';
COMMENT ON COLUMN cdr.fact.conference IS 'Conference call';
COMMENT ON COLUMN cdr.fact.secondary IS 'Secondary copy of a 2N recording';
COMMENT ON COLUMN cdr.fact.recorded_party IS 'Which party was recorded, as reported';
COMMENT ON COLUMN cdr.fact.do_not_delete IS 'Protected from deletion on the recorder';
COMMENT ON COLUMN cdr.fact.attributes IS 'Every other field, as received';
COMMENT ON COLUMN cdr.fact.quality IS 'Flags of this fact alone';
COMMENT ON COLUMN cdr.fact.element IS 'The call''s own element as received; compressed, the first byte names the format';

CREATE TABLE cdr.recorder (
    name TEXT NOT NULL,
    location TEXT NOT NULL,
    timezone TEXT NOT NULL,
    extensions TEXT[] DEFAULT '{}' NOT NULL,
    first_seen_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    retired_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (name)
);
COMMENT ON TABLE cdr.recorder IS 'Recorders that were ever configured';
COMMENT ON COLUMN cdr.recorder.name IS 'Name of the recorder in the configuration';
COMMENT ON COLUMN cdr.recorder.location IS 'How its records name it';
COMMENT ON COLUMN cdr.recorder.timezone IS 'Zone in which its times were last read';
COMMENT ON COLUMN cdr.recorder.extensions IS 'Filter; empty: all calls';
COMMENT ON COLUMN cdr.recorder.first_seen_at IS 'When it was first configured';
COMMENT ON COLUMN cdr.recorder.retired_at IS 'When its timeline was ended; null while in use';

CREATE TABLE cdr.session (
    id UUID NOT NULL,
    recorder TEXT NOT NULL,
    worker TEXT NOT NULL,
    extensions TEXT[] DEFAULT '{}' NOT NULL,
    opened_at TIMESTAMP WITH TIME ZONE NOT NULL,
    subscribed_at TIMESTAMP WITH TIME ZONE,
    closed_at TIMESTAMP WITH TIME ZONE,
    reason TEXT,
    coverage TSTZMULTIRANGE NOT NULL,
    last_read_at TIMESTAMP WITH TIME ZONE,
    fold JSONB NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX session_closed ON cdr.session (recorder, closed_at);
CREATE INDEX session_live ON cdr.session (worker) WHERE closed_at IS NULL;
CREATE INDEX session_subscribed ON cdr.session (recorder, subscribed_at);
COMMENT ON TABLE cdr.session IS 'Connections with a subscription, and which times they covered';
COMMENT ON COLUMN cdr.session.id IS 'Id of the session';
COMMENT ON COLUMN cdr.session.recorder IS 'Recorder of the session';
COMMENT ON COLUMN cdr.session.worker IS 'Journal of the process that held it';
COMMENT ON COLUMN cdr.session.extensions IS 'Filter; empty: all calls';
COMMENT ON COLUMN cdr.session.opened_at IS 'When the connection stood';
COMMENT ON COLUMN cdr.session.subscribed_at IS 'When the subscription was confirmed; null before';
COMMENT ON COLUMN cdr.session.closed_at IS 'When the session ended; null while it lives';
COMMENT ON COLUMN cdr.session.reason IS 'Why it ended; null while it lives';
COMMENT ON COLUMN cdr.session.coverage IS 'Times for which it saw everything';
COMMENT ON COLUMN cdr.session.last_read_at IS 'Receipt of the last message read';
COMMENT ON COLUMN cdr.session.fold IS 'State from which coverage continues after a restart';

CREATE TABLE cdr.gap (
    id BIGINT GENERATED BY DEFAULT AS IDENTITY,
    recorder TEXT NOT NULL,
    from_time TIMESTAMP WITH TIME ZONE NOT NULL,
    to_time TIMESTAMP WITH TIME ZONE,
    reason TEXT NOT NULL,
    state TEXT DEFAULT 'open' NOT NULL,
    extensions TEXT[] DEFAULT '{}' NOT NULL,
    calls_recovered INTEGER DEFAULT 0 NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT known_state CHECK (state IN ('open', 'filled', 'accepted'))
);
CREATE UNIQUE INDEX gap_start ON cdr.gap (recorder, from_time);
COMMENT ON TABLE cdr.gap IS 'Times of a recorder that no session covers; derived from cdr.session, never edited';
COMMENT ON COLUMN cdr.gap.id IS 'Stable id of the gap';
COMMENT ON COLUMN cdr.gap.recorder IS 'Recorder that was not heard';
COMMENT ON COLUMN cdr.gap.from_time IS 'First moment not covered';
COMMENT ON COLUMN cdr.gap.to_time IS 'First moment covered again; null while the gap lasts';
COMMENT ON COLUMN cdr.gap.reason IS 'Why the session ended, or coverage was interrupted, that began it';
COMMENT ON COLUMN cdr.gap.state IS 'open, filled or accepted';
COMMENT ON COLUMN cdr.gap.extensions IS 'Filter; empty: all calls';
COMMENT ON COLUMN cdr.gap.calls_recovered IS 'Calls that history added for this span';

CREATE TABLE cdr.quarantine (
    id BIGINT GENERATED BY DEFAULT AS IDENTITY,
    digest BYTEA NOT NULL,
    observed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    recorder TEXT,
    origin TEXT NOT NULL,
    reason TEXT NOT NULL,
    session UUID,
    note JSONB DEFAULT '{}' NOT NULL,
    body BYTEA NOT NULL,
    state TEXT DEFAULT 'open' NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    resolved_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (id),
    CONSTRAINT known_state CHECK (state IN ('open', 'retried', 'discarded'))
);
CREATE UNIQUE INDEX quarantine_digest ON cdr.quarantine (digest);
CREATE INDEX quarantine_open ON cdr.quarantine (observed_at) WHERE state = 'open';
COMMENT ON TABLE cdr.quarantine IS 'What could not be understood or stored, as it came';
COMMENT ON COLUMN cdr.quarantine.id IS 'Id of the row';
COMMENT ON COLUMN cdr.quarantine.digest IS 'Identity of what was received: a replay adds nothing';
COMMENT ON COLUMN cdr.quarantine.observed_at IS 'When it was received';
COMMENT ON COLUMN cdr.quarantine.recorder IS 'Recorder it came from; null for history';
COMMENT ON COLUMN cdr.quarantine.origin IS 'Where from: stream, http, or a file''s path';
COMMENT ON COLUMN cdr.quarantine.reason IS 'Why it could not be understood';
COMMENT ON COLUMN cdr.quarantine.session IS 'Session in which it was received';
COMMENT ON COLUMN cdr.quarantine.note IS 'What was known about it beside';
COMMENT ON COLUMN cdr.quarantine.body IS 'The bytes as received';
COMMENT ON COLUMN cdr.quarantine.state IS 'open, retried or discarded';
COMMENT ON COLUMN cdr.quarantine.recorded_at IS 'When the row was stored';
COMMENT ON COLUMN cdr.quarantine.resolved_at IS 'When it was retried or discarded';

CREATE TABLE cdr.checkpoint (
    journal UUID NOT NULL,
    sequence BIGINT NOT NULL,
    observed_at TIMESTAMP WITH TIME ZONE,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    PRIMARY KEY (journal)
);
COMMENT ON TABLE cdr.checkpoint IS 'How far each journal has reached this database';
COMMENT ON COLUMN cdr.checkpoint.journal IS 'Id of the journal';
COMMENT ON COLUMN cdr.checkpoint.sequence IS 'Entries up to this one are stored';
COMMENT ON COLUMN cdr.checkpoint.observed_at IS 'Receipt of the newest entry that is stored';
COMMENT ON COLUMN cdr.checkpoint.updated_at IS 'Time of the transaction that moved it';

CREATE TABLE cdr.audit (
    id BIGINT GENERATED BY DEFAULT AS IDENTITY,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    who TEXT NOT NULL,
    action TEXT NOT NULL,
    target JSONB NOT NULL,
    reason TEXT,
    PRIMARY KEY (id)
);
COMMENT ON TABLE cdr.audit IS 'What people did to the archive';
COMMENT ON COLUMN cdr.audit.id IS 'Id of the row';
COMMENT ON COLUMN cdr.audit.at IS 'When it was done';
COMMENT ON COLUMN cdr.audit.who IS 'Who did it: user of the operating system and host';
COMMENT ON COLUMN cdr.audit.action IS 'What was done';
COMMENT ON COLUMN cdr.audit.target IS 'To which rows';
COMMENT ON COLUMN cdr.audit.reason IS 'Why, in the words of who did it';

CREATE TABLE cdr.sql_file (
    name TEXT NOT NULL,
    checksum TEXT NOT NULL,
    applied_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    PRIMARY KEY (name)
);
COMMENT ON TABLE cdr.sql_file IS 'Files of sql/ as applied: views and functions are replaced when their file changes';
COMMENT ON COLUMN cdr.sql_file.name IS 'Name of the file';
COMMENT ON COLUMN cdr.sql_file.checksum IS 'SHA-256 of the content that was applied last';
COMMENT ON COLUMN cdr.sql_file.applied_at IS 'When it was applied last';

CREATE TABLE cdr.cause (
    id INTEGER NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (id)
);
COMMENT ON TABLE cdr.cause IS 'Why a call ended; codes that are not listed are stored as they come';
COMMENT ON COLUMN cdr.cause.id IS 'Code as reported';
COMMENT ON COLUMN cdr.cause.name IS 'Readable name';

CREATE TABLE cdr.direction (
    id INTEGER NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (id)
);
COMMENT ON TABLE cdr.direction IS 'Directions; codes that are not listed are stored as they come';
COMMENT ON COLUMN cdr.direction.id IS 'Code as reported';
COMMENT ON COLUMN cdr.direction.name IS 'Readable name';

CREATE TABLE cdr.audio_codec (
    id INTEGER NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (id)
);
COMMENT ON TABLE cdr.audio_codec IS 'Audio codecs; codes that are not listed are stored as they come';
COMMENT ON COLUMN cdr.audio_codec.id IS 'Code as reported';
COMMENT ON COLUMN cdr.audio_codec.name IS 'Readable name';

CREATE TABLE cdr.signaling (
    id INTEGER NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (id)
);
COMMENT ON TABLE cdr.signaling IS 'Signaling protocols; codes that are not listed are stored as they come';
COMMENT ON COLUMN cdr.signaling.id IS 'Code as reported';
COMMENT ON COLUMN cdr.signaling.name IS 'Readable name';

CREATE TABLE cdr.modality (
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (id)
);
COMMENT ON TABLE cdr.modality IS 'Modalities; codes that are not listed are stored as they come';
COMMENT ON COLUMN cdr.modality.id IS 'Code as reported';
COMMENT ON COLUMN cdr.modality.name IS 'Readable name';

-- Partitions. The constant time of ids that hold none has partitions of its own; the default ones are for absurd times.

CREATE TABLE cdr.call_untimed PARTITION OF cdr.call
    FOR VALUES FROM ('1970-01-01 00:00:00+00') TO ('1970-01-01 00:00:00.000001+00');
CREATE TABLE cdr.fact_untimed PARTITION OF cdr.fact
    FOR VALUES FROM ('1970-01-01 00:00:00+00') TO ('1970-01-01 00:00:00.000001+00');
CREATE TABLE cdr.call_default PARTITION OF cdr.call DEFAULT;
CREATE TABLE cdr.fact_default PARTITION OF cdr.fact DEFAULT;

CREATE FUNCTION cdr.make_partition(parent text, month date) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    name text := parent || to_char(month::timestamp, '_YYYY_MM');
    low text := to_char(month::timestamp, 'YYYY-MM-DD') || ' 00:00:00+00';
    high text := to_char(month::timestamp + interval '1 month', 'YYYY-MM-DD') || ' 00:00:00+00';
    stored text;
BEGIN
    IF to_regclass(format('cdr.%I', name)) IS NOT NULL THEN
        RETURN;
    END IF;
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO stored
    FROM pg_attribute
    WHERE attrelid = format('cdr.%I', parent)::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '';
    EXECUTE format('CREATE TABLE cdr.%I (LIKE cdr.%I INCLUDING ALL)', name, parent);
    -- Rows that came before their month could be made wait in the default partition and would block it for ever.
    EXECUTE format(
        'WITH moved AS (DELETE FROM cdr.%1$I WHERE id_time >= %2$L AND id_time < %3$L RETURNING %4$s) '
        'INSERT INTO cdr.%5$I (%4$s) SELECT %4$s FROM moved',
        parent || '_default', low, high, stored, name);
    EXECUTE format('ALTER TABLE cdr.%I ATTACH PARTITION cdr.%I FOR VALUES FROM (%L) TO (%L)', parent, name, low, high);
END
$$;
COMMENT ON FUNCTION cdr.make_partition(text, date) IS
    'Makes one monthly partition of a table and moves rows there that wait in the default partition';

CREATE FUNCTION cdr.ensure_partitions(months date[]) RETURNS SETOF date
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    today timestamp := date_trunc('month', now() AT TIME ZONE 'UTC');
    wanted date;
    locked boolean := false;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('cdr.ensure_partitions', 0));
    FOR wanted IN
        SELECT DISTINCT date_trunc('month', day)::date
        FROM (
            SELECT unnest(months)::timestamp
            UNION ALL SELECT generate_series(today, today + interval '2 months', interval '1 month')
        ) AS asked (day)
        WHERE day >= timestamp '2000-01-01' AND day < today + interval '3 months'
        ORDER BY 1
    LOOP
        IF NOT locked AND to_regclass('cdr.' || to_char(wanted::timestamp, '"call_"YYYY_MM')) IS NULL THEN
            -- Facts before calls: the order in which the merge touches them, so that neither waits for the other.
            LOCK TABLE ONLY cdr.fact_default IN ACCESS EXCLUSIVE MODE;
            LOCK TABLE ONLY cdr.call_default IN ACCESS EXCLUSIVE MODE;
            locked := true;
        END IF;
        PERFORM cdr.make_partition('fact', wanted);
        PERFORM cdr.make_partition('call', wanted);
        RETURN NEXT wanted;
    END LOOP;
END
$$;
COMMENT ON FUNCTION cdr.ensure_partitions(date[]) IS
    'Makes the monthly partitions of calls and facts for these days and two months ahead; '
    'returns the months (their first days) that have one. Earlier than 2000-01 and later than two months ahead have none';
REVOKE ALL ON FUNCTION cdr.make_partition(text, date) FROM PUBLIC;
REVOKE ALL ON FUNCTION cdr.ensure_partitions(date[]) FROM PUBLIC;

SELECT cdr.ensure_partitions('{}');

-- Codes, as section 3 of the recorder protocol documents them.

INSERT INTO cdr.cause (id, name) VALUES
    (0, 'normal'), (1, 'source disconnected'), (2, 'destination disconnected'), (3, 'hold'), (4, 'transfer'),
    (5, 'cancelled'), (6, 'busy'), (7, 'not found'), (8, 'error'), (13, 'conference'), (14, 'call park'), (15, 'join'),
    (28, 'direct transfer'), (60, 'line change'), (80, 'timeout'), (81, 'forced termination'),
    (82, 'manual termination'), (83, 'program termination'), (84, 'video escalation'), (500, 'undefined');
INSERT INTO cdr.direction (id, name) VALUES (0, 'internal');
INSERT INTO cdr.audio_codec (id, name) VALUES
    (1, 'non-standard'), (2, 'G.711 A-law 64k'), (3, 'G.711 A-law 56k'), (4, 'G.711 mu-law 64k'),
    (5, 'G.711 mu-law 56k'), (6, 'G.722 64k'), (7, 'G.722 56k'), (8, 'G.722 48k'), (9, 'G.723.1'), (10, 'G.728'),
    (11, 'G.729'), (12, 'G.729 annex A'), (13, 'IS11172'), (14, 'IS13818'), (15, 'G.729 annex B'),
    (16, 'G.729 annex A with annex B'), (18, 'GSM full rate'), (19, 'GSM half rate'), (20, 'GSM enhanced full rate'),
    (25, 'wideband 256k'), (32, 'data 64k'), (33, 'data 56k'), (80, 'GSM'), (81, 'ActiveVoice'), (82, 'G.726 32k'),
    (83, 'G.726 24k'), (84, 'G.726 16k'), (90, 'iLBC 20 ms'), (91, 'iLBC 30 ms');
INSERT INTO cdr.signaling (id, name) VALUES (2, 'SIP');
INSERT INTO cdr.modality (id, name) VALUES
    ('voice', 'voice'), ('video', 'video'), ('screen', 'screen share'), ('share', 'content share'),
    ('im', 'instant messaging'), ('file_share', 'file share'), ('poll', 'poll'), ('whiteboard', 'whiteboard'),
    ('sms', 'SMS');
