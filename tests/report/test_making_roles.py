"""Roles are made where that is allowed; elsewhere nothing fails, and an administrator is told what to run."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import count
from multiprocessing import get_context
from pathlib import Path

import pytest
from psycopg.errors import InsufficientPrivilege
from support.postgres import Server, connection, postgresql_15
from support.readers import fill, make_user, rows, url_of

from etl.store import embedded, migrate
from etl.store.write import Writer

pytestmark = pytest.mark.slow

_names = count(1)


@pytest.fixture(params=["embedded", "postgresql-15"])
def fresh(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server that knows no roles of ours."""
    programs = embedded.programs() if request.param == "embedded" else postgresql_15()
    if programs is None:
        pytest.skip("no programs of PostgreSQL 15 found: install Debian's postgresql-15, or set TEST_PG_BIN")
    home = Path(tempfile.mkdtemp(prefix="cdr-test-"))
    home.chmod(0o755)
    cluster = embedded.Cluster(programs, home / "data", ("fsync=off",))
    try:
        cluster.start()
        yield Server(request.param, cluster)
    finally:
        cluster.stop("immediate")
        shutil.rmtree(home, ignore_errors=True)
        shutil.rmtree(cluster.socket, ignore_errors=True)


def database_of(server: Server, user: str, options: str = "") -> str:
    """The URL of an empty database that belongs to a user who may log in."""
    name = f"made_{next(_names)}"
    server.create(name)
    with connection(server.cluster.url()) as admin:
        make_user(admin, user, options=options)
        with admin.transaction():
            admin.execute(f"ALTER DATABASE {name} OWNER TO {user}".encode())
    return url_of(server.cluster.url(name), user)


def run(server: Server, *statements: str) -> None:
    with connection(server.cluster.url()) as admin, admin.transaction():
        for statement in statements:
            admin.execute(statement.encode())


def owners(url: str) -> set[str]:
    query = """SELECT DISTINCT relowner::regrole::text FROM pg_class
        WHERE relnamespace IN ('cdr'::regnamespace, 'report'::regnamespace)
        UNION SELECT proowner::regrole::text FROM pg_proc WHERE pronamespace = 'report'::regnamespace
        UNION SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname IN ('cdr', 'report')"""
    with connection(url) as conn:
        return {row[0] for row in rows(conn, query)}


def name_seen(url: str) -> object:
    with connection(url) as conn:
        return rows(conn, "SELECT source_name FROM report.calls WHERE call_id = 'full'")[0][0]


def test_a_user_who_may_make_no_roles_owns_all_sees_all_and_is_told_what_to_run(fresh: Server) -> None:
    """Then an administrator runs just that, and the next upgrade grants each role what it needs."""
    url = database_of(fresh, "plain_user")
    done = migrate.upgrade(url)
    assert done.administrator == (
        *(f"CREATE ROLE {role} NOLOGIN;" for role in migrate.ROLES),
        "GRANT cdr_owner TO plain_user;",
    )
    assert owners(url) == {"plain_user"}
    assert migrate.check(url) == []
    with connection(url) as conn:
        fill(conn)
    assert name_seen(url) == "plain-source_name"
    assert migrate.upgrade(url).files == ()

    run(fresh, *done.administrator)
    again = migrate.upgrade(url)
    assert (again.files, again.administrator) == (("roles.sql",), ())
    assert owners(url) == {"cdr_owner"}
    assert name_seen(url) == "plain-source_name"
    with connection(fresh.cluster.url()) as admin:
        for user, role in (("alice", "cdr_analyst"), ("ivan", "cdr_investigator")):
            make_user(admin, user, role)
    assert str(name_seen(url_of(fresh.cluster.url(url_name(url)), "alice"))).startswith("#")
    assert name_seen(url_of(fresh.cluster.url(url_name(url)), "ivan")) == "plain-source_name"
    assert migrate.upgrade(url) == migrate.Upgraded(migrate.head(), migrate.head(), (), ())


def url_name(url: str) -> str:
    return url.partition("@/")[2].partition("?")[0]


def test_roles_that_others_made_are_granted_what_they_need_by_whoever_owns_the_archive(fresh: Server) -> None:
    """Without a membership in cdr_owner the archive stays theirs, and every role does its work all the same."""
    run(fresh, *(f"CREATE ROLE {role}" for role in migrate.ROLES))
    url = database_of(fresh, "plain_user")
    assert migrate.upgrade(url).administrator == ()
    assert owners(url) == {"plain_user"}
    assert migrate.upgrade(url).files == ()
    with connection(url) as conn:
        fill(conn)
    with connection(fresh.cluster.url()) as admin:
        make_user(admin, "alice", "cdr_analyst")
        make_user(admin, "walter", "cdr_writer")
    assert str(name_seen(url.replace("plain_user@", "alice@"))).startswith("#")
    with connection(url.replace("plain_user@", "walter@")) as writer:
        assert len(rows(writer, "SELECT cdr.ensure_partitions('{2005-05-05}')")) == 4


def test_a_user_who_may_make_roles_makes_them_and_stays_in_charge(fresh: Server) -> None:
    """As a member of cdr_owner: the next migration is theirs, too."""
    url = database_of(fresh, "role_maker", "CREATEROLE")
    assert migrate.upgrade(url).administrator == ()
    assert owners(url) == {"cdr_owner"}
    with connection(url) as conn:
        fill(conn)
        rows(conn, "UPDATE cdr.sql_file SET checksum = 'old' RETURNING name")
    assert name_seen(url) == "plain-source_name"
    assert "report.sql" in migrate.upgrade(url).files
    assert migrate.check(url) == []


def test_whoever_owned_an_archive_goes_on_as_before_when_an_administrator_upgrades_it(fresh: Server) -> None:
    """The worker's user owns all, but makes no roles. The administrator may; the user is a member of the owner then."""
    url = database_of(fresh, "plain_user")
    migrate.upgrade(url)
    migrate.upgrade(fresh.cluster.url(url_name(url)))
    assert owners(url) == {"cdr_owner"}
    with connection(url) as conn:
        fill(conn)
        rows(conn, "SELECT cdr.ensure_partitions('{2005-05-05}')")
    assert name_seen(url) == "plain-source_name"


def test_a_member_of_the_owners_role_migrates_without_further_rights(fresh: Server) -> None:
    """Neither on the database nor to make roles; what they make belongs to the role."""
    url = fresh.create("handed_over")
    migrate.upgrade(url)
    with connection(url) as admin:
        make_user(admin, "olga", "cdr_owner")
        rows(admin, "UPDATE cdr.sql_file SET checksum = 'old' RETURNING name")
        with admin.transaction():
            admin.execute("DROP VIEW report.calls CASCADE")
    assert "report_calls.sql" in migrate.upgrade(url_of(url, "olga")).files
    assert owners(url) == {"cdr_owner"}


def test_archives_of_one_server_can_be_made_at_the_same_moment(fresh: Server) -> None:
    urls = [fresh.create(f"side_by_side_{number}") for number in range(3)]
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as processes:
        done = list(processes.map(migrate.upgrade, urls))
    assert {each.administrator for each in done} == {()}
    for url in urls:
        migrate.upgrade(url)
        assert owners(url) == {"cdr_owner"}


def test_a_database_that_grants_nothing_to_everybody_still_serves_a_writer(fresh: Server) -> None:
    """A writer stages facts in a temporary table: that right is granted where everybody has lost it."""
    url = fresh.create("strict")
    run(fresh, "REVOKE ALL ON DATABASE strict FROM PUBLIC")
    migrate.upgrade(url)
    with connection(fresh.cluster.url()) as admin:
        make_user(admin, "walter", "cdr_writer")
    run(fresh, "GRANT CONNECT ON DATABASE strict TO walter")
    with connection(url_of(url, "walter")) as writer:
        Writer(writer)
        with pytest.raises(InsufficientPrivilege):
            rows(writer, "CREATE SCHEMA mine")
