-- What takes calls and evidence away, as functions of the owner: cdr_writer deletes nothing but by these. Each looks at
-- legal holds itself, whoever calls it.
--
-- Deletion by age (etl/store/retention.py): cdr.expire moves the limit, then months go whole, or calls one by one. The
-- limit and the holds are read under the gate (etl/store/gate.py), which each function closes for its transaction.
-- Whoever runs retention says how old is old enough, and that is a writer: so each move of the limit leaves a row in the
-- audit with the user of the database, and the owner can set a minimum that no function deletes below.
-- Zone: all times are UTC instants; months are those of UTC.

-- cdr.listed_call: which calls go on, however long ago they began.
--
-- Purpose: what is still being recorded is not old. Inside of cdr.
-- Grain:   one row per ongoing call that its recorder's last good list had, no longer than a week ago. A list that
--          lacks a stored call has reconciliation ask for it (rule b).
CREATE OR REPLACE VIEW cdr.listed_call AS
SELECT c.call_id, c.id_time, c.recorder, c.start_time, last.started_at AS listed_at
FROM cdr.call c
CROSS JOIN LATERAL (
    SELECT r.id, r.started_at FROM cdr.reconcile_run r
    WHERE r.recorder = c.recorder AND r.result = 'done' ORDER BY r.started_at DESC LIMIT 1
) last
WHERE c.state = 'ongoing' AND last.started_at > now() - interval '7 days'
    AND NOT EXISTS (SELECT FROM cdr.reconcile_action a WHERE a.run = last.id AND a.call_id = c.call_id AND a.rule = 'b');
COMMENT ON VIEW cdr.listed_call IS
    'Ongoing calls that their recorder still lists: deletion by age leaves them. Grain: one row per call. Times are UTC instants';
COMMENT ON COLUMN cdr.listed_call.call_id IS 'Id of the call';
COMMENT ON COLUMN cdr.listed_call.id_time IS 'UTC time inside a version 1 UUID, else 1970-01-01; with call_id the key of cdr.call';
COMMENT ON COLUMN cdr.listed_call.recorder IS 'Its recorder';
COMMENT ON COLUMN cdr.listed_call.start_time IS 'Start of the call (UTC instant)';
COMMENT ON COLUMN cdr.listed_call.listed_at IS 'Begin of the reconciliation that saw it last (UTC instant); within a week';

CREATE OR REPLACE FUNCTION cdr.set_minimum_age(least_age interval) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM cdr.minimum_age;
    INSERT INTO cdr.minimum_age (id, age) SELECT 1, least_age WHERE least_age IS NOT NULL;
    INSERT INTO cdr.audit (who, action, target)
    VALUES (session_user, 'minimum age', jsonb_build_object('age', least_age::text));
END
$$;
COMMENT ON FUNCTION cdr.set_minimum_age(interval) IS
    'For members of cdr_owner: no call younger than this is deleted by age from now on; null: any may be. Leaves a row in the audit';

-- By the calendar of UTC, whatever the zone of the session. A minute for clocks that differ: who keeps calls for exactly
-- the minimum is not refused.
CREATE OR REPLACE FUNCTION cdr.youngest_to_expire() RETURNS timestamptz
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
SELECT least(now(), (now() AT TIME ZONE 'UTC' - m.age) AT TIME ZONE 'UTC' + interval '1 minute')
FROM (SELECT) nothing LEFT JOIN cdr.minimum_age m ON true;
END;
COMMENT ON FUNCTION cdr.youngest_to_expire() IS
    'Calls that began before may be deleted by age: now, less the minimum that the owner has set';

CREATE OR REPLACE FUNCTION cdr.expire(older_than timestamptz) RETURNS timestamptz
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO' AS $$
DECLARE
    was timestamptz;
    moment timestamptz;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('cdr.retention', 0));
    IF older_than > now() THEN
        RAISE EXCEPTION 'calls that begin later than now do not expire' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF older_than > cdr.youngest_to_expire() THEN
        RAISE EXCEPTION 'the owner of the archive has calls kept for longer: none that began at % or later expires',
            cdr.youngest_to_expire() USING ERRCODE = 'insufficient_privilege';
    END IF;
    SELECT e.before INTO was FROM cdr.expiry e;
    INSERT INTO cdr.expiry AS e (id, before) VALUES (1, older_than)
    ON CONFLICT (id) DO UPDATE SET before = excluded.before, moved_at = now() WHERE e.before < excluded.before;
    IF FOUND THEN
        INSERT INTO cdr.audit (who, action, target)
        VALUES (session_user, 'limit moved', jsonb_build_object('from', was, 'to', older_than));
    END IF;
    SELECT e.before INTO STRICT moment FROM cdr.expiry e;
    RETURN moment;
END
$$;
COMMENT ON FUNCTION cdr.expire(timestamptz) IS
    'From now on no call that began before and is not stored is stored any more. Returns the limit as it stands: it never moves back. Each move leaves a row in the audit, with the user of the database';

CREATE OR REPLACE FUNCTION cdr.expired_calls(month date, older_than timestamptz) RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    part text := to_char(month::timestamp, '"call_"YYYY_MM');
    low timestamptz := month::timestamp AT TIME ZONE 'UTC';
    high timestamptz := (month::timestamp + interval '1 month') AT TIME ZONE 'UTC';
    stays boolean;
    calls bigint;
BEGIN
    BEGIN
        -- Not true: what has no start has not expired by it, and that is null, not false.
        EXECUTE format($q$SELECT EXISTS (SELECT FROM cdr.%I c WHERE (c.start_time < $1 OR (c.start_time IS NULL AND
            coalesce(c.start_time, c.end_time,
                CASE WHEN c.id_time >= '2000-01-01 00:00+00' THEN least(c.id_time, c.first_seen_at) END,
                c.first_seen_at) < $1)) IS NOT TRUE)$q$, part) INTO stays USING older_than;
    EXCEPTION WHEN undefined_table THEN
        RETURN NULL;  -- another run has dropped it meanwhile
    END;
    IF stays
        OR EXISTS (SELECT FROM cdr.held_call h WHERE h.id_time >= low AND h.id_time < high)
        OR EXISTS (SELECT FROM cdr.listed_call l WHERE l.id_time >= low AND l.id_time < high) THEN
        RETURN NULL;
    END IF;
    EXECUTE format('SELECT count(*) FROM cdr.%I', part) INTO calls;
    RETURN calls;
END
$$;
COMMENT ON FUNCTION cdr.expired_calls(date, timestamptz) IS
    'How many calls the partition of a month has; null if one of them must stay (it began later, is held, or goes on) or the month is gone';

CREATE OR REPLACE FUNCTION cdr.drop_expired_month(month date, older_than timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    part text := to_char(month::timestamp, 'YYYY_MM');
    moment timestamptz;
    calls bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('cdr.retention', 0));
    SELECT least(older_than, e.before, cdr.youngest_to_expire()) INTO moment FROM cdr.expiry e;
    calls := cdr.expired_calls(month, moment);
    IF moment IS NULL OR calls IS NULL THEN
        RETURN NULL;
    END IF;
    -- Facts before calls: the order in which the merge touches them, so that neither waits for the other.
    EXECUTE format('DROP TABLE cdr.%I', 'fact_' || part);
    EXECUTE format('DROP TABLE cdr.%I', 'call_' || part);
    RETURN calls;
END
$$;
COMMENT ON FUNCTION cdr.drop_expired_month(date, timestamptz) IS
    'Drops the partitions of a month, of facts and calls, if all its calls have expired; how many that were, null if one must stay or the month is gone';

CREATE OR REPLACE FUNCTION cdr.delete_expired(call_ids text[], id_times timestamptz[], older_than timestamptz)
RETURNS TABLE (call_id text, id_time timestamptz)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO'  -- for the months as constants
-- Each call is looked up by its key, whatever statistics say.
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_material = off SET enable_memoize = off AS $$
DECLARE
    moment timestamptz;
    within text;  -- the months of these calls as constants: the planner then leaves all other partitions alone
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('cdr.retention', 0));
    SELECT least(older_than, e.before, cdr.youngest_to_expire()) INTO moment FROM cdr.expiry e;
    SELECT string_agg(format('($1.id_time >= %L AND $1.id_time < %L)', m.month, m.month + interval '1 month'), ' OR ')
    INTO within FROM (SELECT DISTINCT date_trunc('month', t, 'UTC') AS month FROM unnest(id_times) t) m;
    IF moment IS NULL OR within IS NULL THEN
        RETURN;
    END IF;
    RETURN QUERY EXECUTE format($q$
        WITH doomed AS (
            SELECT c.call_id, c.id_time FROM unnest($1, $2) k (call_id, id_time) CROSS JOIN LATERAL (
                SELECT * FROM cdr.call c WHERE c.call_id = k.call_id AND c.id_time = k.id_time AND (%1$s)
                OFFSET 0 FOR UPDATE
            ) c
            WHERE (c.start_time < $3 OR (c.start_time IS NULL AND coalesce(c.start_time, c.end_time,
                CASE WHEN c.id_time >= '2000-01-01 00:00+00' THEN least(c.id_time, c.first_seen_at) END,
                c.first_seen_at) < $3))
                AND NOT EXISTS (SELECT FROM cdr.held_call h
                    WHERE h.call_id = c.call_id AND h.id_time = c.id_time AND (%2$s) OFFSET 0)
                AND NOT EXISTS (SELECT FROM cdr.listed_call l
                    WHERE l.call_id = c.call_id AND l.id_time = c.id_time AND (%3$s) OFFSET 0)
        ), facts AS (
            DELETE FROM cdr.fact f USING doomed d WHERE f.call_id = d.call_id AND f.id_time = d.id_time AND (%4$s)
        ), calls AS (
            DELETE FROM cdr.call c USING doomed d WHERE c.call_id = d.call_id AND c.id_time = d.id_time AND (%1$s)
        )
        SELECT d.call_id, d.id_time FROM doomed d$q$,
        replace(within, '$1', 'c'), replace(within, '$1', 'h'), replace(within, '$1', 'l'), replace(within, '$1', 'f'))
    USING call_ids, id_times, moment;
END
$$;
COMMENT ON FUNCTION cdr.delete_expired(text[], timestamptz[], timestamptz) IS
    'Deletes calls and their facts, but for those that have not expired, are held, or go on; returns the keys of what it deleted';

CREATE OR REPLACE FUNCTION cdr.move_facts(call_ids text[], id_times timestamptz[], kinds text[], to_kinds text[])
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    moved cdr.fact[];
    fact cdr.fact;
    there cdr.fact;
BEGIN
    -- All leave their kinds before the first arrives: two can change places.
    WITH gone AS (
        DELETE FROM cdr.fact f USING unnest(call_ids, id_times, kinds) k (call_id, id_time, kind)
        WHERE f.call_id = k.call_id AND f.id_time = k.id_time AND f.kind = k.kind
        RETURNING f AS fact
    )
    SELECT array_agg(gone.fact) INTO moved FROM gone;
    FOREACH fact IN ARRAY coalesce(moved, '{}') LOOP
        SELECT k.to_kind INTO STRICT fact.kind
        FROM unnest(call_ids, id_times, kinds, to_kinds) k (call_id, id_time, kind, to_kind)
        WHERE k.call_id = fact.call_id AND k.id_time = fact.id_time AND k.kind = fact.kind;
        SELECT f.* INTO there FROM cdr.fact f
        WHERE f.call_id = fact.call_id AND f.id_time = fact.id_time AND f.kind = fact.kind;
        IF FOUND THEN
            fact.first_observed_at := least(fact.first_observed_at, there.first_observed_at);
            IF (there.observed_at, there.digest) >= (fact.observed_at, fact.digest) THEN
                UPDATE cdr.fact f SET first_observed_at = fact.first_observed_at
                WHERE f.call_id = fact.call_id AND f.id_time = fact.id_time AND f.kind = fact.kind;
                CONTINUE;
            END IF;
            DELETE FROM cdr.fact f
            WHERE f.call_id = fact.call_id AND f.id_time = fact.id_time AND f.kind = fact.kind;
        END IF;
        INSERT INTO cdr.fact SELECT fact.*;
    END LOOP;
END
$$;
COMMENT ON FUNCTION cdr.move_facts(text[], timestamptz[], text[], text[]) IS
    'Gives facts another kind, for cdr rebuild. Where one of that kind is there, the one observed last stays, as in the merge';

CREATE OR REPLACE FUNCTION cdr.forget_released_holds(spellings text[]) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
WITH forgotten AS (
    UPDATE cdr.legal_hold SET value = NULL, forms = '{}'
    WHERE kind = 'party' AND released_at IS NOT NULL AND value IS NOT NULL AND forms && spellings
    RETURNING id
)
SELECT count(*) FROM forgotten;
END;
COMMENT ON FUNCTION cdr.forget_released_holds(text[]) IS
    'Removes a party''s name, by its spellings, from holds that were released; from how many';

-- The audit is only added to. What a run came to is noted while its session lasts; then its row is closed, for the
-- owner too.
CREATE OR REPLACE FUNCTION cdr.keep_audit() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- A minute for clocks that are set.
    IF OLD.at < (SELECT s.backend_start FROM pg_stat_activity s WHERE s.pid = pg_backend_pid()) - interval '1 minute'
    THEN
        RAISE EXCEPTION 'row % of cdr.audit is closed: it was written by a session that has ended', OLD.id
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION cdr.keep_audit() IS 'Refuses to change a row of the audit that an earlier session has written';
CREATE OR REPLACE TRIGGER keep_audit BEFORE UPDATE ON cdr.audit FOR EACH ROW EXECUTE FUNCTION cdr.keep_audit();
