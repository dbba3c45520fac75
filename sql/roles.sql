-- Roles: who may do what. A person or a program gets one with GRANT cdr_analyst TO alice; nobody logs in as the role.
--
--   cdr_owner          owns the archive: migrates (cdr db upgrade), releases legal holds (cdr retention release), sets how
--                      long calls are kept at least (cdr.set_minimum_age)
--   cdr_writer         writes to schema cdr, and reads report: the worker and all other commands
--   cdr_analyst        reads schema report, personal data masked; nothing in schema cdr
--   cdr_investigator   reads schema report unmasked; nothing in schema cdr
--
-- Roles belong to the whole server, and not everybody may make them. What this file may not do it leaves out; `cdr db
-- upgrade` then says what an administrator has to run, and applies the file again once that was done. Where there are no
-- roles, whoever made the archive owns it, sees all, and is the only one.
-- The file can be repeated, also for several databases of one server at the same moment.

-- Make what is missing.
DO $$
DECLARE
    role record;
BEGIN
    FOR role IN
        SELECT name, purpose FROM (VALUES
            ('cdr_owner', 'Call archive: owns schemas cdr and report'),
            ('cdr_writer', 'Call archive: writes to schema cdr, as the worker does'),
            ('cdr_analyst', 'Call archive: reads schema report, personal data masked'),
            ('cdr_investigator', 'Call archive: reads schema report unmasked')) AS ours (name, purpose)
        WHERE to_regrole(name) IS NULL
            AND (SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user)
    LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role.name);
            EXECUTE format('COMMENT ON ROLE %I IS %L', role.name, role.purpose);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;  -- made for another database at this very moment
        END;
    END LOOP;
END
$$;

-- The owner: whoever owned something before becomes a member, and can go on as before.
DO $$
DECLARE
    statement text;
BEGIN
    IF to_regrole('cdr_owner') IS NULL THEN
        RETURN;
    END IF;
    FOR statement IN
        WITH ours AS (
            SELECT oid FROM pg_namespace WHERE nspname IN ('cdr', 'report')
        ), owned AS (
            SELECT 1 AS place, '' AS name, nspowner AS owner, format('SCHEMA %I', nspname) AS what
            FROM pg_namespace WHERE oid IN (SELECT oid FROM ours)
            UNION ALL
            SELECT 2, relname, relowner, format(CASE relkind WHEN 'v' THEN 'VIEW %s' ELSE 'TABLE %s' END, oid::regclass)
            FROM pg_class WHERE relnamespace IN (SELECT oid FROM ours) AND relkind IN ('r', 'p', 'v')
            UNION ALL
            SELECT 3, proname, proowner, format('FUNCTION %s', oid::regprocedure)
            FROM pg_proc WHERE pronamespace IN (SELECT oid FROM ours)
        ), others AS (
            SELECT * FROM owned WHERE owner <> to_regrole('cdr_owner')
        )
        SELECT told FROM (
            SELECT DISTINCT 0 AS place, '' AS name, format('GRANT cdr_owner TO %I', r.rolname) AS told
            FROM others o JOIN pg_roles r ON r.oid = o.owner
            WHERE NOT r.rolsuper AND NOT pg_has_role(r.oid, 'cdr_owner', 'USAGE')
            UNION ALL
            SELECT place, name, format('ALTER %s OWNER TO cdr_owner', what) FROM others
        ) steps
        -- Facts before calls, as the merge touches them: so that neither waits for the other.
        ORDER BY place, name DESC
    LOOP
        EXECUTE statement;
    END LOOP;
EXCEPTION WHEN insufficient_privilege OR unique_violation THEN
    NULL;  -- may not be given away, or not now: it stays with whoever made it
END
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA cdr, report FROM PUBLIC;

DO $$
DECLARE
    part text;
BEGIN
    IF to_regrole('cdr_writer') IS NULL THEN
        RETURN;
    END IF;
    GRANT USAGE ON SCHEMA cdr, report TO cdr_writer;
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA cdr TO cdr_writer;
    -- Rows of calls and facts come and go by way of the parents only.
    FOR part IN
        SELECT format('cdr.%I', relname) FROM pg_class WHERE relispartition AND relnamespace = 'cdr'::regnamespace
            AND relkind = 'r' AND has_table_privilege('cdr_writer', oid, 'INSERT, UPDATE, DELETE')
    LOOP
        EXECUTE format('REVOKE INSERT, UPDATE, DELETE ON %s FROM cdr_writer', part);
    END LOOP;
    -- Only the owner reads the key of the masks, migrates, releases a hold, and says how long calls are kept at least.
    -- Calls and evidence go by the functions of retention.sql, which look at holds. Tombstones, the limit of age and what
    -- was done stay.
    REVOKE ALL ON cdr.mask_key FROM cdr_writer;
    REVOKE INSERT, UPDATE, DELETE ON cdr.alembic_version, cdr.sql_file, cdr.expiry, cdr.minimum_age FROM cdr_writer;
    REVOKE UPDATE, DELETE ON cdr.legal_hold, cdr.erased_call, cdr.audit, cdr.export FROM cdr_writer;
    REVOKE DELETE ON cdr.call, cdr.fact FROM cdr_writer;
    GRANT UPDATE (effect) ON cdr.audit TO cdr_writer;  -- what it came to is added when it ends
    GRANT UPDATE (finished_at, rows, destroyed_at) ON cdr.export TO cdr_writer;
    GRANT EXECUTE ON FUNCTION cdr.ensure_partitions(date[]), cdr.youngest_to_expire(), cdr.expire(timestamptz),
        cdr.expired_calls(date, timestamptz), cdr.drop_expired_month(date, timestamptz),
        cdr.delete_expired(text[], timestamptz[], timestamptz),
        cdr.move_facts(text[], timestamptz[], text[], text[]), cdr.forget_released_holds(text[]) TO cdr_writer;
    GRANT SELECT ON ALL TABLES IN SCHEMA report TO cdr_writer;
    GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA report TO cdr_writer;
    IF NOT has_database_privilege('cdr_writer', current_database(), 'TEMPORARY') THEN
        EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO cdr_writer', current_database());
    END IF;
END
$$;

DO $$
BEGIN
    IF to_regrole('cdr_analyst') IS NULL THEN
        RETURN;
    END IF;
    GRANT USAGE ON SCHEMA report TO cdr_analyst;
    GRANT SELECT ON ALL TABLES IN SCHEMA report TO cdr_analyst;
    GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA report TO cdr_analyst;
END
$$;

DO $$
BEGIN
    IF to_regrole('cdr_investigator') IS NULL THEN
        RETURN;
    END IF;
    GRANT USAGE ON SCHEMA report TO cdr_investigator;
    GRANT SELECT ON ALL TABLES IN SCHEMA report TO cdr_investigator;
    GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA report TO cdr_investigator;
END
$$;
