"""What each role may see and do, and what it gets when it tries to get more."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.errors import FeatureNotSupported, InsufficientPrivilege, ObjectNotInPrerequisiteState
from psycopg.rows import dict_row
from support.readers import PLAIN, START, USERS, As, insert, listened, plain, rows

from etl.calls import coverage
from etl.calls.coverage import SessionState
from etl.calls.ids import UNTIMED
from etl.fields import HIDDEN
from etl.model import Fact, Kind, Quarantined
from etl.store import acceptance, audit, database
from etl.store.audit import Author
from etl.store.database import Connection
from etl.store.recorders import Recorder, register
from etl.store.write import Batch, Writer

pytestmark = pytest.mark.slow

MARGIN = timedelta(seconds=1)

VIEWS = """
SELECT format('SELECT v::text FROM %s v', c.oid::regclass) FROM pg_class c
WHERE c.relnamespace = 'report'::regnamespace AND c.relkind = 'v'
UNION ALL
SELECT format('SELECT f::text FROM %s(%s) f', p.oid::regproc,
    CASE p.pronargs WHEN 1 THEN '''2024-05-01''' ELSE '''2024-05-01 00:00+00'', ''2024-05-02 00:00+00''' END)
FROM pg_proc p WHERE p.pronamespace = 'report'::regnamespace
"""
"""A query for each view and each function that there is."""

RELATIONS = """
SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'cdr'::regnamespace AND relkind IN ('r', 'p', 'v')
"""


def calls(conn: Connection) -> dict[str, dict[str, Any]]:
    """The rows of report.calls by id."""
    with conn.transaction(), conn.cursor(row_factory=dict_row) as cursor:
        return {row["call_id"]: row for row in cursor.execute("SELECT * FROM report.calls")}


# Masks ----------------------------------------------------------------------------------------------------------


def test_an_analyst_sees_everything_but_personal_fields_and_attributes(archive: As) -> None:
    """Exactly these: the list is that of `etl.fields`. What is empty or null stays so."""
    key = rows(archive("postgres"), "SELECT secret FROM cdr.mask_key")[0][0]
    full = calls(archive("postgres"))
    seen = calls(archive("alice"))
    for call_id, row in full.items():
        for name, value in row.items():
            if name == "attributes":
                expected = None
            elif name in HIDDEN and value:
                expected = "#" + sha256(key + value.encode()).hexdigest()[:16]
            else:
                expected = value
            assert seen[call_id][name] == expected, (call_id, name)
    assert {name for name, value in seen["full"].items() if value != full["full"][name]} == HIDDEN | {"attributes"}


@pytest.mark.parametrize("user", ["ivan", "walter", "olga", "postgres"])
def test_who_may_see_personal_data_sees_the_rows_as_they_are(archive: As, user: str) -> None:
    assert calls(archive(user)) == calls(archive("postgres"))


def test_a_role_that_is_set_counts_and_not_the_one_that_logged_in(archive: As) -> None:
    """An administrator who becomes an analyst sees what an analyst sees, though the statement was prepared before."""
    owner = archive("postgres")
    owner.prepare_threshold = 0
    for role, expected in (("cdr_analyst", "#"), ("cdr_investigator", "p"), ("cdr_analyst", "#"), ("none", "p")):
        rows(owner, "SELECT set_config('role', %s, false)", role)
        assert calls(owner)["full"]["source_name"][0] == expected, role


@pytest.mark.parametrize("query", ["SELECT 1 FROM report.calls", "SELECT * FROM report.gaps"])
def test_who_has_no_role_sees_nothing(archive: As, query: str) -> None:
    with pytest.raises(InsufficientPrivilege, match="schema report"):
        rows(archive("nobody"), query)


def test_pseudonyms_are_the_same_in_all_views_and_group_as_the_values_do(archive: As) -> None:
    """The caller of two calls is one in report.calls, conversations and unresolved calls; the extension everywhere."""
    alice = archive("alice")
    group = "SELECT count(*), count(DISTINCT source_caller_id) FROM report.{} WHERE source_caller_id LIKE '#%'"
    for view in ("calls", "conversations", "unresolved_calls"):
        assert rows(alice, group.format(view)) == [(2, 1)], view
    shared = "SELECT DISTINCT source_caller_id FROM report.{} WHERE source_caller_id LIKE '#%'"
    assert len({rows(alice, shared.format(view))[0] for view in ("calls", "conversations", "unresolved_calls")}) == 1
    pairs = """SELECT u.extension = c.recorded_extension, length(u.extension) FROM report.extension_usage u
        JOIN report.calls c ON c.call_id = 'full' WHERE u.extension LIKE '#%'"""
    assert rows(alice, pairs) == [(True, 17)]


@pytest.mark.parametrize("hashed", ["on", "off"])
def test_the_order_of_rows_does_not_tell_an_analyst_the_order_of_extensions(archive: As, hashed: str) -> None:
    """Who knows the dial plan would read each extension from its place. With another key the places are others."""
    owner, alice = archive("postgres"), archive("alice")
    for number in range(20):
        insert(owner, f"call-{number}", {"recorded_extension": f"{1000 + number}"})
    rows(alice, "SELECT set_config('enable_hashagg', %s, false)", hashed)
    orders = []
    for _ in range(2):
        key = rows(owner, "UPDATE cdr.mask_key SET secret = sha256(secret) RETURNING secret")[0][0]
        named = {"#" + sha256(key + str(each).encode()).hexdigest()[:16]: each for each in range(1000, 1020)}
        seen = rows(alice, "SELECT extension FROM report.extension_usage WHERE day = '2024-05-01'")
        orders.append([named[row[0]] for row in seen if row[0] in named])
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(1000, 1020))
    assert orders[0] != orders[1]


def test_ids_of_other_systems_tell_neither_a_number_nor_a_meeting(archive: As) -> None:
    """The platform's id of a conversation can be that of the meeting, and its id of a leg can begin with a number. What
    is equal stays equal, so that both can be joined."""
    ids = {"platform_call_id": "meeting-7", "native_call_id": "sip:+49301@pbx", "native_id": "sip:+49301@pbx|1|-1"}
    insert(archive("postgres"), "in a meeting", ids | {"meeting_id": "meeting-7", "source_caller_id": "sip:+49301@pbx"})
    query = """SELECT platform_call_id = meeting_id, native_call_id = source_caller_id, native_id <> native_call_id,
        platform_call_id, native_id, native_call_id FROM report.calls WHERE call_id = 'in a meeting'"""
    alice, ivan = (rows(archive(user), query) for user in ("alice", "ivan"))
    assert alice[0][:3] == ivan[0][:3] == (True, True, True)
    assert "meeting-7" not in str(alice)
    assert "49301" not in str(alice)
    views = rows(archive("postgres"), VIEWS)
    assert not any(word in str(rows(archive("alice"), view[0])) for view in views for word in ("meeting-7", "49301"))


def test_two_archives_on_one_server_have_different_pseudonyms(archive: As) -> None:
    """For each has a key of its own; this one is exchanged for that of another."""
    before = calls(archive("alice"))["full"]["source_name"]
    rows(archive("postgres"), "UPDATE cdr.mask_key SET secret = sha256(secret) RETURNING id")
    assert calls(archive("alice"))["full"]["source_name"] not in (before, plain("source_name"))


def test_conversations_are_the_same_ones_masked_or_not(archive: As) -> None:
    """Equal parties have equal pseudonyms, so copies are found as before, and calls of others are none."""
    parties = {"platform_call_id": "p", "source_caller_id": "+49 30 1", "destination_caller_id": "+49 30 2"}
    insert(archive("postgres"), "copy-1", parties)
    insert(archive("postgres"), "copy-2", parties | {"recorder": "ny-2", "secondary": True})
    insert(archive("postgres"), "other", parties | {"recorder": "ny-3", "destination_caller_id": "+49 30 3"})
    query = "SELECT call_id, copies, call_ids, start_time, state, cause_id FROM report.conversations ORDER BY 1"
    seen = rows(archive("alice"), query)
    assert seen == rows(archive("postgres"), query)
    assert [row[:2] for row in seen] == [("copy-1", 2), ("empty", 1), ("full", 1), ("null", 1), ("other", 1)]


@pytest.mark.parametrize("source", ["calls", "conversations"])
def test_only_the_rows_that_a_limit_leaves_are_masked(archive: As, source: str) -> None:
    """The planner has to take masks for costly: it then makes them after sorting. Of a month it would make millions."""
    query = f"EXPLAIN (VERBOSE, FORMAT JSON) SELECT * FROM report.{source} ORDER BY duration DESC LIMIT 3"
    masked = list(_masking(rows(archive("alice"), query)[0][0][0]["Plan"]))
    assert "Limit" in masked
    assert "Sort" not in masked
    assert "Seq Scan" not in masked


def _masking(node: dict[str, Any]) -> Iterator[str]:
    """Kinds of the plan's nodes whose rows hold masks."""
    if any("sha256" in each for each in node.get("Output", ())):
        yield node["Node Type"]
    for inner in node.get("Plans", ()):
        yield from _masking(inner)


# Nothing that a reader is shown holds what they must not see ----------------------------------------------------


def nothing_plain(said: object) -> None:
    found = {value for value in PLAIN if value in str(said)}
    assert not found, said


def test_no_view_and_no_function_shows_an_analyst_a_plain_value(archive: As) -> None:
    """Whichever there are: they are asked of the database."""
    queries = [row[0] for row in rows(archive("postgres"), VIEWS)]
    assert len(queries) >= 13
    alice = archive("alice")
    for query in queries:
        nothing_plain(rows(alice, query))
    assert any(plain("source_name") in str(rows(archive("ivan"), query)) for query in queries)


TRICKS = (
    "EXPLAIN (ANALYZE, VERBOSE, SETTINGS) SELECT * FROM report.calls WHERE source_name = 'x' ORDER BY attributes",
    "EXPLAIN (VERBOSE) SELECT * FROM report.conversations",
    "EXPLAIN (VERBOSE) SELECT * FROM report.extension_usage WHERE extension > 'plain'",
    "SELECT * FROM pg_stats WHERE schemaname IN ('cdr', 'report')",
    "SELECT * FROM pg_stats_ext",
    "SELECT * FROM pg_stat_activity",
    "SELECT string_agg(source_name || attributes::text, '') FROM report.calls",
    "SELECT min(source_name), max(source_ip), array_agg(agent_id) FROM report.calls",
    "SELECT c, to_jsonb(c) FROM report.calls c",
    "SELECT * FROM report.calls WHERE source_caller_id = 'plain-source_caller_id'",
    "SELECT * FROM report.calls WHERE pg_temp.tell(source_caller_id) AND pg_temp.tell(source_name)",
    "SELECT * FROM report.unresolved_calls WHERE pg_temp.tell(destination_caller_id)",
    "SELECT * FROM report.extension_usage WHERE pg_temp.tell(extension)",
    "SELECT * FROM report.conversations WHERE pg_temp.tell(source_name)",
    "SELECT * FROM report.calls WHERE source_caller_id OPERATOR(pg_temp.~~~) destination_caller_id",
    "SELECT * FROM pg_temp.mine",
    "SELECT * FROM pg_temp.through()",
    "SELECT DISTINCT ON (native_id) native_id FROM report.calls ORDER BY native_id",
    "SELECT * FROM report.calls WHERE pg_temp.tell(native_id) AND pg_temp.tell(platform_call_id)",
    "SELECT * FROM report.conversations WHERE pg_temp.tell(native_call_id) AND pg_temp.tell(platform_call_id)",
    "SELECT lag(source_name) OVER (ORDER BY source_name), ntile(2) OVER (ORDER BY agent_id) FROM report.calls",
    "SELECT mode() WITHIN GROUP (ORDER BY source_ip), percentile_disc(0.5) WITHIN GROUP (ORDER BY owner_eid)"
    " FROM report.calls",
    "SELECT query_to_xml('SELECT * FROM report.calls', true, false, '')",
    "SELECT schema_to_xml('report', true, false, ''), schema_to_xml('cdr', true, false, '')",
    "SELECT database_to_xml(true, false, '')",
    "SELECT string_agg(convert_from(lo_get(oid), 'UTF8'), '') FROM pg_largeobject_metadata",
    "SELECT word FROM ts_stat('SELECT to_tsvector(''simple'', v::text) FROM report.calls v')",
    "SELECT * FROM report.calls a JOIN report.calls b ON a.source_caller_id LIKE b.destination_caller_id || '%'",
    "SELECT * FROM pg_prepared_statements, pg_cursors",
    "SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef",
    "SELECT obj_description(oid), pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'cdr'::regnamespace",
    "SELECT most_common_vals, histogram_bounds FROM pg_stats WHERE tablename LIKE 'call%'",
    "SELECT pg_get_viewdef('report.calls'::regclass), pg_get_functiondef('report.conversations_between'::regproc)",
)

PREPARED = """
CREATE FUNCTION pg_temp.tell(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001
    AS 'BEGIN RAISE NOTICE ''%'', $1; RETURN true; END';
CREATE FUNCTION pg_temp.both(text, text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001
    AS 'BEGIN RAISE NOTICE ''% %'', $1, $2; RETURN true; END';
CREATE OPERATOR pg_temp.~~~ (LEFTARG = text, RIGHTARG = text, FUNCTION = pg_temp.both);
CREATE TEMPORARY VIEW mine AS SELECT * FROM report.calls;
CREATE FUNCTION pg_temp.through() RETURNS SETOF report.calls LANGUAGE sql SECURITY DEFINER
    AS 'SELECT * FROM report.calls';
"""


def given(conn: Connection, query: str) -> object:
    """The rows, or what the server says in refusing them: some functions need a server that was built with more."""
    try:
        return rows(conn, query)
    except (InsufficientPrivilege, FeatureNotSupported) as refused:
        return str(refused)


def test_tricks_of_an_analyst_show_nothing_plain(archive: As) -> None:
    """Cheap functions and operators of their own in a condition, views of their own, plans, statistics."""
    archive("postgres").execute("ANALYZE cdr.call")
    alice = archive("alice")
    with listened(alice) as said:
        alice.execute(PREPARED.encode())
        for query in TRICKS:
            nothing_plain(given(alice, query))
        assert any("#" in each for each in said)
        nothing_plain(said)


@pytest.mark.parametrize("setting", ["debug_print_plan", "debug_print_rewritten", "debug_print_parse"])
def test_the_servers_own_log_of_a_plan_holds_neither_a_value_nor_the_key(archive: As, setting: str) -> None:
    """An analyst may have it sent to them."""
    key = rows(archive("postgres"), "SELECT encode(secret, 'hex') FROM cdr.mask_key")[0][0]
    alice = archive("alice")
    with listened(alice) as said:
        alice.execute(f"SET client_min_messages = log; SET {setting} = on".encode())
        rows(alice, "SELECT * FROM report.calls WHERE source_name > 'a'")
    assert said
    nothing_plain(said)
    assert key not in str(said)


@pytest.mark.parametrize("kind", ["integer", "double precision", "inet", "uuid", "boolean"])
def test_the_error_of_a_cast_repeats_the_pseudonym_and_not_the_value(archive: As, kind: str) -> None:
    for field in ("source_caller_id", "recorded_extension"):
        with pytest.raises(psycopg.DataError, match=r"#[0-9a-f]{16}") as refused:
            rows(archive("alice"), f"SELECT {field}::{kind} FROM report.calls WHERE call_id = 'full'")
        nothing_plain(refused.value)


SHADOWS = """
CREATE FUNCTION alice.sha256(bytea) RETURNS bytea LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE FUNCTION alice.encode(bytea, text) RETURNS text LANGUAGE sql IMMUTABLE
    AS 'SELECT pg_catalog.convert_from($1, ''latin1'')';
CREATE FUNCTION alice."left"(text, integer) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE FUNCTION alice.convert_to(text, name) RETURNS bytea LANGUAGE plpgsql
    AS 'BEGIN RAISE NOTICE ''%'', $1; RETURN ''''; END';
CREATE FUNCTION alice.has_table_privilege(oid, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION alice.has_table_privilege(regclass, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION alice.pg_has_role(regrole, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION alice.pg_has_role(oid, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION alice.to_regrole(text) RETURNS regrole LANGUAGE sql AS 'SELECT ''alice''::pg_catalog.regrole';
CREATE FUNCTION alice.same(text, text) RETURNS boolean LANGUAGE plpgsql
    AS 'BEGIN RAISE NOTICE ''% %'', $1, $2; RETURN true; END';
CREATE OPERATOR alice.= (LEFTARG = text, RIGHTARG = text, FUNCTION = alice.same);
CREATE FUNCTION alice.glue(text, text) RETURNS text LANGUAGE plpgsql
    AS 'BEGIN RAISE NOTICE ''%'', $2; RETURN $2; END';
CREATE OPERATOR alice.|| (LEFTARG = text, RIGHTARG = text, FUNCTION = alice.glue);
CREATE TABLE alice.call (LIKE report.calls);
CREATE TABLE alice.mask_key AS SELECT 1 AS id, '\\x00'::pg_catalog.bytea AS secret;
"""


def test_functions_operators_and_tables_of_the_same_name_change_nothing(archive: As) -> None:
    """A schema of their own stands first in the search path: views and functions go by what they were made with."""
    with archive("postgres").transaction():
        archive("postgres").execute("CREATE SCHEMA alice AUTHORIZATION alice")
    before = calls(archive("alice"))
    alice = archive("alice")
    with alice.transaction():
        alice.execute(SHADOWS.encode())
        alice.execute("SET search_path = alice, report, pg_temp, pg_catalog")
    with listened(alice) as said:
        assert calls(alice) == before
        for view in ("conversations", "unresolved_calls", "extension_usage", "completeness", "busy_hour"):
            nothing_plain(rows(alice, f"SELECT v::pg_catalog.text FROM report.{view} v"))
        nothing_plain(said)


# Nothing else is theirs -----------------------------------------------------------------------------------------

FORBIDDEN = (
    "SELECT 'cdr.call'::regclass",
    "SELECT NULL::cdr.call",
    "SELECT * FROM ONLY cdr.call_default",
    "SELECT table_to_xml('cdr.call', true, false, '')",
    "SELECT pg_relation_size('cdr.mask_key')",
    "SELECT pg_ls_dir('.')",
    "SELECT pg_stat_file('PG_VERSION')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT pg_logical_slot_get_changes('x', NULL, NULL)",
    "SELECT pg_create_logical_replication_slot('x', 'pgoutput')",
    "CREATE PUBLICATION p FOR TABLE cdr.call",
    "CREATE TRIGGER t INSTEAD OF INSERT ON report.calls FOR EACH ROW"
    " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE RULE r AS ON UPDATE TO report.calls DO INSTEAD NOTHING",
    "COMMENT ON VIEW report.calls IS 'x'",
    "SELECT * FROM report.calls FOR UPDATE",
    "SELECT * FROM cdr.audit",
    "SELECT * FROM cdr.held_call",
    "SELECT cdr.make_partition('call', '2005-01-01')",
    "SET session_replication_role = replica",
    "LOAD 'auto_explain'",
    "CREATE EXTENSION pageinspect",
    "CREATE SCHEMA mine",
    "ALTER DEFAULT PRIVILEGES FOR ROLE cdr_owner GRANT SELECT ON TABLES TO PUBLIC",
    "REASSIGN OWNED BY cdr_owner TO CURRENT_USER",
    "DROP VIEW report.calls",
    "SELECT cdr.ensure_partitions('{}')",
    "SELECT * FROM pg_statistic",
    "SELECT pg_read_file('/etc/passwd')",
    "COPY cdr.call TO STDOUT",
    "COPY cdr.mask_key TO STDOUT",
    "COPY (SELECT * FROM report.calls) TO PROGRAM 'cat'",
    "COPY (SELECT * FROM report.calls) TO '/tmp/x'",
    "LOCK TABLE cdr.call",
    "TRUNCATE cdr.call",
    "CREATE TEMPORARY TABLE t (LIKE cdr.call)",
    "CREATE TEMPORARY VIEW v AS SELECT * FROM cdr.mask_key",
    "CREATE TEMPORARY TABLE t (id integer REFERENCES cdr.mask_key (id))",
    "CREATE INDEX ON cdr.call (source_name)",
    "CREATE STATISTICS s ON source_name, source_ip FROM cdr.call",
    "SELECT table_to_xml('cdr.mask_key', true, false, '')",
    "UPDATE report.gaps SET state = 'filled'",
    "DELETE FROM report.gaps",
    "DELETE FROM report.calls",
    "INSERT INTO report.gaps (recorder, from_time, reason, state) VALUES ('x', now(), 'x', 'open')",
    "CREATE VIEW report.more AS SELECT 1",
    "CREATE OR REPLACE VIEW report.calls AS SELECT 1",
    "CREATE FUNCTION report.f() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "ALTER VIEW report.calls OWNER TO CURRENT_USER",
    "GRANT SELECT ON report.calls TO PUBLIC",
    "SET ROLE cdr_owner",
    "SET ROLE cdr_writer",
    "SET SESSION AUTHORIZATION postgres",
    "SELECT set_config('role', 'cdr_owner', false)",
    "SELECT set_config('session_authorization', 'postgres', false)",
    "GRANT cdr_owner TO CURRENT_USER",
    "ALTER ROLE CURRENT_USER SUPERUSER",
    "CREATE ROLE mine",
)
FOR_ANALYSTS = (
    "SET ROLE cdr_investigator",
    "SELECT set_config('role', 'cdr_investigator', false)",
    "GRANT cdr_investigator TO CURRENT_USER",
)


@pytest.mark.parametrize("user", ["alice", "ivan"])
def test_readers_may_do_nothing_but_read_the_views(archive: As, user: str) -> None:
    conn = archive(user)
    for statement in FORBIDDEN + (FOR_ANALYSTS if user == "alice" else ()):
        with listened(conn) as said:
            try:
                with conn.transaction():
                    conn.execute(statement.encode())
            except (InsufficientPrivilege, ObjectNotInPrerequisiteState, FeatureNotSupported):
                # Of the latter two: a view that nobody can write to, an extension that is not there.
                continue
            assert statement.startswith("GRANT SELECT"), statement  # which only warns that there was nothing to grant
            assert "no privileges were granted" in str(said)


@pytest.mark.parametrize("user", ["alice", "ivan"])
def test_readers_may_not_read_one_table_of_the_archive(archive: As, user: str) -> None:
    """Tables, partitions and helpers of schema cdr, whichever there are."""
    tables = [row[0] for row in rows(archive("postgres"), RELATIONS)]
    assert {"cdr.call", "cdr.fact", "cdr.mask_key", "cdr.call_untimed", "cdr.call_counted"} <= set(tables)
    for table in tables:
        with pytest.raises(InsufficientPrivilege):
            rows(archive(user), f"SELECT count(*) FROM {table}")


def test_nobody_but_the_owner_reads_the_key_of_the_masks(archive: As) -> None:
    for user in USERS.keys() - {"olga"}:
        with pytest.raises(InsufficientPrivilege):
            rows(archive(user), "SELECT secret FROM cdr.mask_key")
    assert len(rows(archive("olga"), "SELECT secret FROM cdr.mask_key")) == 1


# The owner, and the writer --------------------------------------------------------------------------------------


def test_all_of_the_archive_belongs_to_the_owners_role(archive: As) -> None:
    """And what is made later does, too: a month's partitions, asked for by a writer."""
    rows(archive("walter"), "SELECT cdr.ensure_partitions('{2005-05-05}')")
    others = """
        SELECT relname FROM pg_class WHERE relnamespace IN ('cdr'::regnamespace, 'report'::regnamespace)
            AND relowner <> 'cdr_owner'::regrole
        UNION ALL SELECT proname FROM pg_proc WHERE pronamespace IN ('cdr'::regnamespace, 'report'::regnamespace)
            AND proowner <> 'cdr_owner'::regrole
        UNION ALL SELECT nspname FROM pg_namespace WHERE nspname IN ('cdr', 'report')
            AND nspowner <> 'cdr_owner'::regrole
    """
    assert rows(archive("postgres"), others) == []
    assert rows(archive("postgres"), "SELECT count(*) FROM pg_class WHERE relname = 'call_2005_05'") == [(1,)]


def fact(call_id: str, kind: Kind, at: datetime, id_time: datetime = UNTIMED) -> Fact:
    digest = sha256(f"{call_id}{kind}{at}".encode()).digest()[:16]
    return Fact(call_id, id_time, kind, at, "ny-1", None, digest, b"<Call/>", {"start_time": at}, {}, ())


def test_a_writer_does_all_that_the_worker_does(archive: As) -> None:
    """Calls of a month that has no partition yet, facts that come twice, coverage, gaps, quarantine, a checkpoint."""
    conn = archive("walter")
    database.require_schema(conn)
    register(conn, [Recorder("ny-1", "NY", "UTC")], MARGIN)
    state = coverage.subscribed(SessionState(UUID(int=1), "ny-1", "w", (), START), START)
    state = coverage.read(coverage.listed(state, START, START), START + timedelta(hours=1))
    journal = UUID(int=2)
    old = datetime(2011, 7, 3, tzinfo=UTC)
    facts = [fact("a", Kind.START, START), fact("a", Kind.END, START), fact("b", Kind.DETAIL, old, old)]
    writer = Writer(conn)
    refused = Quarantined(START, "ny-1", "stream", "damaged", b"<")
    writer.write(Batch(facts, [refused], [state], journal, 1, START))
    writer.write(Batch([fact("a", Kind.DETAIL, START + timedelta(seconds=1)), *facts], journal=journal, checkpoint=2))
    closed = coverage.closed(state, START + timedelta(hours=2), "drop", MARGIN)
    writer.write(Batch(sessions=[closed]))
    assert rows(conn, "SELECT state FROM cdr.call WHERE call_id IN ('a', 'b')") == [("complete",)] * 2
    assert rows(conn, "SELECT count(*) FROM report.gaps WHERE state = 'open'") == [(1,)]
    assert rows(conn, "SELECT count(*) FROM cdr.call_default") == [(0,)]
    acceptance.accept_call(conn, "full", Author("me@here", "gone"))
    audit.effect(conn, audit.begin(conn, Author("me@here", "old"), "retention erase", {}), {"calls": 1})
    assert rows(conn, "SELECT action, effect FROM cdr.audit ORDER BY id") == [
        ("accept call", {}),
        ("retention erase", {"calls": 1}),
    ]


def test_a_writer_changes_neither_the_record_of_what_was_done_nor_the_schema(archive: As) -> None:
    for statement in (
        "UPDATE cdr.audit SET who = 'x', effect = '{}'",
        "DELETE FROM cdr.audit",
        "UPDATE cdr.mask_key SET made_at = now()",
        "DELETE FROM cdr.sql_file",
        "UPDATE cdr.alembic_version SET version_num = '9'",
        "ALTER TABLE cdr.call ADD COLUMN x integer",
        "CREATE TABLE cdr.x ()",
        "DROP TABLE cdr.call_untimed",
        "SELECT cdr.make_partition('call', '2005-01-01')",
        "SET ROLE cdr_owner",
    ):
        with pytest.raises(InsufficientPrivilege), archive("walter").transaction():
            archive("walter").execute(statement.encode())
