"""That roles get no more than they should, by the catalogue; tests/report/test_roles.py tries what they see."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege
from support.postgres import Server, connection, fresh_database
from support.readers import USERS, As, fill, make_user, rows, url_of

from etl.store.database import Connection

pytestmark = pytest.mark.slow

OURS = ("cdr_owner", "cdr_writer", "cdr_analyst", "cdr_investigator")


@pytest.fixture(scope="module")
def archive(embedded_server: Server) -> Iterator[As]:
    """Connects to a filled archive as one of `USERS`, or as its maker, `postgres`. Only to read from."""
    with fresh_database(embedded_server) as url:
        opened: dict[str, Connection] = {"postgres": connection(url)}
        fill(opened["postgres"])
        for user, role in USERS.items():
            make_user(opened["postgres"], user, role)

        def log_in(user: str) -> Connection:
            if user not in opened:
                opened[user] = connection(url_of(url, user))
            return opened[user]

        yield log_in
        for each in opened.values():
            each.close()


def test_what_runs_with_the_owners_rights_looks_up_names_in_no_place_that_others_can_fill(archive: As) -> None:
    """Such a function has a search path of its own: the catalogue first, and temporary objects last."""
    found = rows(
        archive("postgres"),
        """SELECT p.oid::regprocedure::text, p.proconfig FROM pg_proc p
        WHERE p.pronamespace IN ('cdr'::regnamespace, 'report'::regnamespace) AND p.prosecdef""",
    )
    assert len(found) >= 3
    for name, settings in found:
        path = [each.partition("=")[2] for each in settings or () if each.startswith("search_path=")]
        assert path == ["pg_catalog, pg_temp"], name


def test_whatever_is_ours_belongs_to_the_owner_and_nothing_is_for_everybody(archive: As) -> None:
    """Schemas, tables, views, sequences, functions."""
    owner = archive("postgres")
    for query in (
        "SELECT nspname, nspowner::regrole::text, nspacl::text FROM pg_namespace WHERE nspname IN ('cdr', 'report')",
        """SELECT oid::regclass::text, relowner::regrole::text, relacl::text FROM pg_class
            WHERE relnamespace IN ('cdr'::regnamespace, 'report'::regnamespace) AND relkind IN ('r', 'p', 'v', 'S')""",
        """SELECT oid::regprocedure::text, proowner::regrole::text, coalesce(proacl, acldefault('f', proowner))::text
            FROM pg_proc WHERE pronamespace IN ('cdr'::regnamespace, 'report'::regnamespace)""",
    ):
        found = rows(owner, query)
        assert found
        for name, whose, rights in found:
            assert whose == "cdr_owner", name
            assert not [each for each in (rights or "{}").strip("{}").split(",") if each.startswith("=")], (
                name,
                rights,
            )


def test_no_role_of_ours_is_more_than_a_name_for_rights(archive: As) -> None:
    """Nobody logs in as one, none stands above the rules, and none is a member of another."""
    found = rows(
        archive("postgres"),
        """SELECT rolname, rolsuper OR rolcreaterole OR rolcreatedb OR rolcanlogin OR rolreplication OR rolbypassrls
        FROM pg_roles WHERE rolname = ANY (%s)""",
        list(OURS),
    )
    assert sorted(found) == [(name, False) for name in sorted(OURS)]
    members = "SELECT count(*) FROM pg_auth_members WHERE member::regrole::text = ANY (%s)"
    assert rows(archive("postgres"), members, list(OURS)) == [(0,)]


def test_a_reader_may_read_views_of_report_and_nothing_else(archive: As) -> None:
    """Of all relations and functions that there are, whatever is added."""
    granted = """SELECT c.oid::regclass::text FROM pg_class c, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE',
            'TRUNCATE', 'REFERENCES', 'TRIGGER']) right_
        WHERE c.relnamespace IN ('cdr'::regnamespace, 'report'::regnamespace) AND c.relkind IN ('r', 'p', 'v')
            AND has_table_privilege(%s, c.oid, right_)
            AND NOT (c.relnamespace = 'report'::regnamespace AND right_ = 'SELECT')"""
    for role in ("cdr_analyst", "cdr_investigator"):
        assert rows(archive("postgres"), granted, role) == []
        functions = """SELECT oid::regprocedure::text FROM pg_proc
            WHERE pronamespace = 'cdr'::regnamespace AND has_function_privilege(%s, oid, 'EXECUTE')"""
        assert rows(archive("postgres"), functions, role) == []
        schemas = "SELECT has_schema_privilege(%s, 'cdr', 'USAGE'), has_schema_privilege(%s, 'report', 'CREATE')"
        assert rows(archive("postgres"), schemas, role, role) == [(False, False)]


GRASPING = (
    "SET ROLE cdr_owner",
    "SET ROLE postgres",
    "SET SESSION AUTHORIZATION cdr_owner",
    "GRANT cdr_owner TO walter",
    "GRANT cdr_investigator TO walter",
    "ALTER ROLE walter SUPERUSER",
    "ALTER ROLE cdr_owner LOGIN",
    "CREATE ROLE mine",
    "ALTER FUNCTION cdr.ensure_partitions(date[]) OWNER TO walter",
    "ALTER FUNCTION cdr.ensure_partitions(date[]) RESET ALL",
    "CREATE OR REPLACE FUNCTION cdr.make_partition(parent text, month date) RETURNS void LANGUAGE sql AS ''",
    "CREATE FUNCTION cdr.mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "CREATE TABLE cdr.call_2001_01 (LIKE cdr.call)",
    "CREATE TABLE public.mine ()",
    "CREATE SCHEMA mine",
    "CREATE TRIGGER mine BEFORE INSERT ON cdr.call FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE RULE mine AS ON SELECT TO cdr.call DO INSTEAD SELECT 1",
    "CREATE POLICY mine ON cdr.call",
    "CREATE EVENT TRIGGER mine ON ddl_command_start EXECUTE FUNCTION mine()",
    "ALTER DATABASE CURRENT SET search_path = public",
    "ALTER VIEW report.calls SET (security_invoker = true)",
    "COMMENT ON TABLE cdr.call IS 'x'",
    "SELECT secret FROM cdr.mask_key",
    "SELECT lo_import('/etc/passwd')",
    "COPY cdr.cause FROM PROGRAM 'id'",
    "COPY cdr.cause FROM '/etc/passwd'",
    "DO LANGUAGE plpython3u 'import os'",
    "LOAD 'x'",
    "SELECT pg_reload_conf()",
    "SELECT pg_read_file('/etc/passwd')",
)


@pytest.mark.parametrize("statement", GRASPING)
@pytest.mark.parametrize("user", ["walter", "alice"])
def test_neither_a_writer_nor_a_reader_becomes_more(archive: As, user: str, statement: str) -> None:
    conn = archive(user)
    with pytest.raises(psycopg.Error) as refused, conn.transaction():
        conn.execute(statement.replace("walter", user).replace("CURRENT", conn.info.dbname).encode())
    assert refused.value.sqlstate in ("42501", "42704", "42883"), statement


ABSURD = (
    "'{}'",
    "NULL",
    "ARRAY[NULL]::date[]",
    "'{infinity,-infinity}'",
    "'{4713-01-01 BC,9999-12-31}'",
    "'{{2024-01-01,1999-12-01},{2024-02-01,3000-01-01}}'",
    "array_fill('2024-01-15'::date, ARRAY[200000])",
)


@pytest.mark.parametrize("months", ABSURD)
def test_the_one_function_that_a_writer_runs_as_the_owner_makes_months_and_nothing_else(
    archive: As, months: str
) -> None:
    made = rows(archive("walter"), f"SELECT cdr.ensure_partitions({months}::date[])")
    assert 3 <= len(made) <= 5
    names = "SELECT count(*) FROM pg_class WHERE relnamespace = 'cdr'::regnamespace AND relname !~ '^[a-z_0-9]+$'"
    assert rows(archive("postgres"), names) == [(0,)]


def test_a_writers_own_objects_are_not_taken_for_ours(archive: As) -> None:
    """Temporary tables and functions of the same names, before the function that runs as the owner is called."""
    walter = archive("walter")
    with pytest.raises(psycopg.errors.RaiseException, match="done"), walter.transaction():
        walter.execute(
            b"""
            CREATE TEMPORARY TABLE call_default (id_time timestamptz);
            CREATE TEMPORARY TABLE pg_attribute (attname name, attrelid oid, attnum integer, attisdropped boolean);
            CREATE TEMPORARY TABLE taken (who text);
            CREATE FUNCTION pg_temp.quote_ident(text) RETURNS text LANGUAGE plpgsql
                AS 'BEGIN INSERT INTO taken VALUES (current_user); RETURN $1; END';
            CREATE FUNCTION pg_temp.to_regclass(text) RETURNS regclass LANGUAGE plpgsql
                AS 'BEGIN INSERT INTO taken VALUES (current_user); RETURN NULL; END';
            SET search_path = pg_temp, cdr, public;
            SELECT cdr.ensure_partitions('{2003-01-01}');
            DO 'BEGIN IF (SELECT count(*) FROM taken) > 0 THEN RAISE EXCEPTION ''taken''; END IF; END';
            DO 'BEGIN RAISE EXCEPTION ''done''; END';
            """
        )


LEAKS = (
    "SELECT 1 / (source_caller_id = 'plain-source_caller_id')::int FROM report.calls",
    "SELECT * FROM report.calls WHERE 1 / (source_name <> 'plain-source_name')::int = 1",
    "SELECT * FROM report.calls WHERE source_name ~ '^plain'",
    "SELECT * FROM report.calls c JOIN (VALUES ('plain-source_name')) v (x) ON c.source_name = v.x",
    "SELECT * FROM report.conversations WHERE source_caller_id LIKE 'plain%'",
    "SELECT * FROM report.unresolved_calls WHERE destination_name >= 'plain' AND destination_name < 'plaio'",
    "SELECT * FROM report.extension_usage WHERE extension = 'plain-recorded_extension'",
    "SELECT * FROM report.calls WHERE attributes IS NOT NULL",
    "SELECT * FROM report.calls WHERE attributes::text LIKE '%plain%'",
)


@pytest.mark.parametrize("query", LEAKS)
def test_a_condition_sees_pseudonyms_and_cannot_tell_a_guess_from_a_hit(archive: As, query: str) -> None:
    """The same question about a value that is there, and about one that is not, is answered alike."""
    alice = archive("alice")

    def answer(asked: str) -> object:
        try:
            return rows(alice, asked)
        except psycopg.Error as error:
            return error.sqlstate, error.diag.message_primary

    assert answer(query) == answer(query.replace("plain", "other").replace("plaio", "othes"))


@pytest.mark.parametrize("query", ["SELECT 1 FROM report.calls WHERE source_name = 'plain-source_name'"])
def test_a_plan_tells_nothing_about_values_either(archive: As, query: str) -> None:
    """Estimates come from statistics, of which a reader must not learn what is frequent."""
    archive("postgres").execute("ANALYZE cdr.call")
    archive("postgres").commit()
    plans = [rows(archive("alice"), f"EXPLAIN {each}") for each in (query, query.replace("plain-", "other-"))]
    assert str(plans[0]).replace("plain-", "other-") == str(plans[1])


def test_a_stranger_in_the_same_database_reads_nothing(archive: As) -> None:
    for what in ("report.calls", "cdr.call", "cdr.mask_key", "cdr.audit", "cdr.quarantine"):
        with pytest.raises(InsufficientPrivilege):
            rows(archive("nobody"), f"SELECT * FROM {what}")
