-- Settings of the database, for whoever connects from now on, with whatever program.
--
-- jit: the planner cannot know how few days a question is about, takes the views of report for expensive, and has them
--      compiled first. That took 16 s for report.busy_hour over a month of a small archive, which takes 0.1 s
--      (PostgreSQL 15). The archive's own connections have it off anyway.
-- Only the owner of the database may set this; where that is somebody else, they can run the one line below.

DO $$
BEGIN
    EXECUTE format('ALTER DATABASE %I SET jit = off', current_database());
EXCEPTION WHEN insufficient_privilege THEN
    NULL;  -- everything works without it, only slower
END
$$;
