"""The database that migrations and `sql/` make is the one that the code declares, described to its last column."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any
from uuid import uuid4

import pytest
from support.postgres import Server, connection

from etl.errors import SchemaMismatch
from etl.fields import FIELDS
from etl.store import database as db
from etl.store import migrate
from etl.store.database import Connection
from etl.store.errors import DatabaseConflict

pytestmark = pytest.mark.slow

Query = Callable[..., list[tuple[Any, ...]]]


def test_file_and_database_agree(database: str) -> None:
    assert migrate.check(database) == []


def test_a_difference_is_found(database: str, conn: Connection) -> None:
    with conn.transaction():
        conn.execute("ALTER TABLE cdr.gap ADD COLUMN extra integer; DROP INDEX cdr.call_start_time")
    found = " ".join(migrate.check(database))
    assert "extra" in found
    assert "call_start_time" in found


def test_every_table_view_and_column_has_a_comment(tables: Query) -> None:
    bare = tables("""
        SELECT c.oid::regclass::text, a.attname
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum >= 0 AND NOT a.attisdropped
        WHERE c.relnamespace IN ('cdr'::regnamespace, 'report'::regnamespace) AND c.relkind IN ('r', 'p', 'v')
          AND NOT c.relispartition AND c.relname <> 'alembic_version'
          AND (col_description(c.oid, a.attnum) IS NULL OR obj_description(c.oid, 'pg_class') IS NULL)
    """)
    assert bare == []


def test_the_view_of_calls_shows_every_field_and_names_unknown_codes(conn: Connection, tables: Query) -> None:
    with conn.transaction():
        conn.execute(
            "INSERT INTO cdr.call"
            " (call_id, id_time, state, source, cause_id, audio_codec_id, modality_id, first_seen_at, recorded_at)"
            " VALUES ('a', '1970-01-01 00:00+00', 'ongoing', 'start', 3, 77, 'x', now(), now())"
        )
    query = "SELECT cause, audio_codec, modality, direction FROM report.calls"
    assert tables(query) == [("hold", "unknown code 77", "unknown code x", None)]
    shown = {row[0] for row in tables("SELECT attname FROM pg_attribute WHERE attrelid = 'report.calls'::regclass")}
    named = {"cause_id", "direction_id", "audio_codec_id", "signaling_id", "modality_id"}
    assert {field.name for field in FIELDS} - named <= shown


def test_upgrading_again_changes_nothing(database: str, tables: Query) -> None:
    before = tables("SELECT * FROM cdr.sql_file ORDER BY name")
    again = migrate.upgrade(database)
    assert (again.before, again.after, again.files) == (migrate.head(), migrate.head(), ())
    assert tables("SELECT * FROM cdr.sql_file ORDER BY name") == before


def test_a_changed_file_of_sql_is_applied_again(database: str, conn: Connection, tables: Query) -> None:
    with conn.transaction():
        conn.execute("UPDATE cdr.sql_file SET checksum = 'old' WHERE name = 'report_calls.sql'")
        conn.execute("DROP VIEW report.calls CASCADE")
    assert migrate.upgrade(database).files == ("report_calls.sql",)
    assert tables("SELECT count(*) FROM report.calls") == [(0,)]


DEFINITIONS = """
SELECT c.oid::regclass::text, pg_get_viewdef(c.oid), obj_description(c.oid, 'pg_class'), c.relacl::text, c.relowner
FROM pg_class c WHERE c.relnamespace IN ('cdr'::regnamespace, 'report'::regnamespace) AND c.relkind IN ('r', 'p', 'v')
UNION ALL
SELECT p.oid::regprocedure::text, pg_get_functiondef(p.oid), obj_description(p.oid, 'pg_proc'), p.proacl::text,
    p.proowner
FROM pg_proc p WHERE p.pronamespace IN ('cdr'::regnamespace, 'report'::regnamespace)
UNION ALL
SELECT t.tgrelid::regclass || '.' || t.tgname, pg_get_triggerdef(t.oid), t.tgenabled::text, NULL, 0
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE c.relnamespace = 'cdr'::regnamespace AND NOT t.tgisinternal
UNION ALL
SELECT a.attrelid::regclass || '.' || a.attname, format_type(a.atttypid, a.atttypmod),
    col_description(a.attrelid, a.attnum), a.attacl::text, 0
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relnamespace = 'report'::regnamespace AND c.relkind = 'v' AND a.attnum > 0
ORDER BY 1
"""


def test_all_files_of_sql_can_be_applied_again_and_change_nothing(
    database: str, conn: Connection, tables: Query
) -> None:
    """Neither definitions and comments nor owners and grants; and views that readers built on ours stay."""
    with conn.transaction():
        conn.execute("CREATE VIEW public.mine AS SELECT * FROM report.calls")
        conn.execute("UPDATE cdr.sql_file SET checksum = 'old'")
    before = tables(DEFINITIONS)
    assert set(migrate.upgrade(database).files) == set(migrate.sql_files())
    assert tables(DEFINITIONS) == before
    assert tables("SELECT count(*) FROM public.mine") == [(0,)]


def test_the_checksums_that_are_stored_are_those_of_the_files(tables: Query) -> None:
    stored: dict[str, str] = dict(tables("SELECT name, checksum FROM cdr.sql_file"))
    assert stored == {name: sha256(content.encode()).hexdigest() for name, content in migrate.sql_files().items()}


def test_a_check_names_the_files_that_are_not_applied_as_they_are_here(database: str, conn: Connection) -> None:
    """It said that all was as expected, while functions that this version calls were missing."""
    with conn.transaction():
        conn.execute("UPDATE cdr.sql_file SET checksum = 'old' WHERE name = 'retention.sql'")
        conn.execute("INSERT INTO cdr.sql_file (name, checksum) VALUES ('a_file_of_once.sql', 'old')")
    (said,) = migrate.check(database)
    assert said == "not applied as they are here: sql/a_file_of_once.sql, sql/retention.sql: run 'cdr db upgrade'"
    migrate.upgrade(database)
    assert migrate.check(database) == []


def test_a_view_that_somebody_changed_by_hand_is_what_its_file_says_once_it_is_applied(
    database: str, conn: Connection, tables: Query
) -> None:
    before = tables(DEFINITIONS)
    with conn.transaction():
        conn.execute("CREATE OR REPLACE VIEW report.hours AS SELECT now() AS hour, now() AS ends")
        conn.execute("UPDATE cdr.sql_file SET checksum = 'old'")
    assert tables(DEFINITIONS) != before
    migrate.upgrade(database)
    assert tables(DEFINITIONS) == before


def test_an_archive_of_revision_4_gets_an_index_a_minimum_age_and_a_column_of_completeness(
    database: str, conn: Connection, tables: Query
) -> None:
    """A function with another column cannot be replaced: it is made anew, and analysts may ask it as before."""
    with conn.transaction():
        conn.execute("DROP INDEX cdr.call_long")
        conn.execute("DROP TABLE cdr.minimum_age CASCADE")
        conn.execute("ALTER TABLE cdr.export DROP COLUMN destroyed_at")
        conn.execute("DROP VIEW report.completeness")
        conn.execute("DROP FUNCTION report.completeness_between(timestamptz, timestamptz)")
        conn.execute("""
            CREATE FUNCTION report.completeness_between(from_time timestamptz, to_time timestamptz)
            RETURNS TABLE (recorder text, expired boolean) LANGUAGE sql AS 'SELECT NULL::text, false'""")
        conn.execute(
            "CREATE VIEW report.completeness AS SELECT * FROM report.completeness_between('-infinity', 'infinity')"
        )
        conn.execute("UPDATE cdr.alembic_version SET version_num = '0004'")
        conn.execute("UPDATE cdr.sql_file SET checksum = 'old' WHERE name = 'report_completeness.sql'")
    done = migrate.upgrade(database)
    assert (done.before, done.after) == ("0004", migrate.head())
    assert migrate.check(database) == []
    with conn.transaction():
        conn.execute("SET LOCAL ROLE cdr_analyst")
        assert conn.execute("SELECT length FROM report.completeness").fetchall() == []


@pytest.mark.parametrize(("deadlocks", "applied"), [(2, True), (migrate.TRIES, False)])
def test_a_worker_that_began_to_write_had_an_upgrade_fail_by_a_deadlock(
    database: str, conn: Connection, monkeypatch: pytest.MonkeyPatch, deadlocks: int, applied: bool
) -> None:
    """The server says so, here because a file does: so many times."""
    file = f"""
        DO $$ BEGIN IF nextval('public.tries') <= {deadlocks} THEN RAISE deadlock_detected; END IF; END $$
    """
    with conn.transaction():
        conn.execute("CREATE SEQUENCE public.tries")
    files = migrate.sql_files()
    monkeypatch.setattr(migrate, "sql_files", lambda: {**files, "zz.sql": file})
    if applied:
        assert migrate.upgrade(database).files == ("zz.sql",)
    else:
        with pytest.raises(DatabaseConflict):
            migrate.upgrade(database)


def test_two_upgrades_at_once_wait_for_each_other(server: Server) -> None:
    name = f"upgraded_{uuid4().hex[:8]}"
    url = server.create(name)
    try:
        assert migrate.current(url) is None
        with ThreadPoolExecutor() as threads:
            done = list(threads.map(lambda _: migrate.upgrade(url), range(3)))
        assert sorted(str(each.before) for each in done) == [migrate.head(), migrate.head(), "None"]
        assert migrate.current(url) == migrate.head()
    finally:
        server.drop(name)


def test_a_database_newer_than_this_version_is_left_alone(database: str, conn: Connection) -> None:
    with conn.transaction():
        conn.execute("UPDATE cdr.alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaMismatch, match=r"9999.*update cdr"):
        migrate.upgrade(database)


def test_writing_needs_a_schema(server: Server, conn: Connection) -> None:
    db.require_schema(conn)
    with connection(server.cluster.url()) as empty, pytest.raises(SchemaMismatch, match="cdr db upgrade"):
        db.require_schema(empty)


def test_partitions_are_made_by_whoever_comes_first(database: str, tables: Query) -> None:
    def ensure(_: int) -> int:
        with connection(database) as opened:
            return len(opened.execute("SELECT cdr.ensure_partitions('{2005-05-05,2005-06-01}')").fetchall())

    with ThreadPoolExecutor() as threads:
        assert set(threads.map(ensure, range(4))) == {5}
    assert tables("SELECT count(*) FROM pg_class WHERE relname ~ '^(call|fact)_2005_0[56]$'") == [(4,)]
