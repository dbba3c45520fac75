"""What goes wrong between us and PostgreSQL is said in our words, without a password."""

from __future__ import annotations

import socket

import psycopg
import pytest
from sqlalchemy import select
from support.postgres import Server

from etl.errors import DatabaseError, DatabaseRefused, DatabaseUnavailable, SchemaMismatch, UsageError
from etl.store import database as db
from etl.store import schema
from etl.store.database import Connection
from etl.store.errors import DatabaseConflict, translate, translated


def test_a_shown_url_holds_no_password() -> None:
    for url in (
        "postgresql://me:secret@db.example:5433/cdr?password=secret",
        "postgresql+psycopg://me:secret@db.example:5433/cdr",
    ):
        assert db.safe_url(url) == "me@db.example:5433/cdr"


def test_what_is_no_url_is_refused_without_repeating_it() -> None:
    with pytest.raises(UsageError) as caught:
        db.connect("postgresql://me:secret@[half/cdr")
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_closed_port_is_unavailable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(DatabaseUnavailable, match=r"127\.0\.0\.1") as caught:
            db.connect(f"postgresql://me:secret@127.0.0.1:{taken.getsockname()[1]}/cdr")
    assert "secret" not in str(caught.value)


@pytest.mark.slow
def test_an_unknown_database_or_user_is_told_in_the_servers_words(server: Server) -> None:
    for url, word in (
        (server.cluster.url("nowhere"), "nowhere"),
        (server.cluster.url().replace("postgres@", "stranger@"), "stranger"),
    ):
        with pytest.raises(DatabaseError, match=f'takes no connection.*"{word}" does not exist'):
            db.connect(url)


@pytest.mark.slow
def test_a_stopped_server_is_unavailable_and_serves_again(server: Server) -> None:
    server.crash()
    with pytest.raises(DatabaseUnavailable):
        db.connect(server.cluster.url())
    server.restart()
    db.connect(server.cluster.url()).close()


@pytest.mark.slow
def test_a_connection_has_the_settings_the_merge_relies_on(conn: Connection) -> None:
    shown = [conn.execute(f"SHOW {name}").fetchone() for name in ("jit", "transaction_isolation", "timezone")]
    assert shown == [("off",), ("read committed",), ("UTC",)]
    assert not conn.autocommit


@pytest.mark.slow
def test_a_missing_table_is_a_schema_mismatch(conn: Connection) -> None:
    with pytest.raises(SchemaMismatch, match="cdr db upgrade"), translate():
        conn.execute("SELECT 1 FROM cdr.nothing")


@pytest.mark.slow
def test_statements_of_sqlalchemy_run_on_our_connection(conn: Connection) -> None:
    query = select(schema.cause.c.name).where(schema.cause.c.id.in_([3, 500])).order_by(schema.cause.c.id)
    assert db.run(conn, query).fetchall() == [("hold",), ("undefined",)]


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (psycopg.errors.AdminShutdown, DatabaseUnavailable),
        (psycopg.errors.DiskFull, DatabaseUnavailable),
        (psycopg.errors.TooManyConnections, DatabaseUnavailable),
        (psycopg.errors.InsufficientPrivilege, DatabaseRefused),
        (psycopg.errors.UndefinedColumn, SchemaMismatch),
        (psycopg.errors.DeadlockDetected, DatabaseConflict),
        (psycopg.OperationalError, DatabaseUnavailable),
    ],
)
def test_errors_become_ours_by_sqlstate(error: type[psycopg.Error], ours: type[Exception]) -> None:
    assert type(translated(error("said"), "db")) is ours
