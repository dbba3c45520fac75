"""The database as commands meet it: away, wanting a password, without a schema, upgraded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from etl.cli.archive import opened
from etl.config import load
from etl.errors import DatabaseRefused, DatabaseUnavailable
from etl.store import embedded, migrate
from etl.store.database import connect, environment
from etl.store.migrate import head

Cdr = Callable[..., Any]
Configure = Callable[..., Path]

READING = (
    ("status",),
    ("status", "--json"),
    ("db", "current"),
    ("db", "check"),
    ("db", "upgrade"),
    ("db", "sql", "-c", "select 1"),
    ("quarantine", "list"),
    ("quarantine", "show", "1"),
    ("quarantine", "retry", "--all"),
    ("quarantine", "discard", "--all"),
    ("rebuild",),
    ("call", "x"),
    ("accept", "gap", "1", "--reason", "y"),
    ("accept", "call", "x", "--reason", "y"),
    ("recorder", "retire", "x"),
)


@pytest.fixture
def empty(guarded: Any) -> str:
    """The name of an empty database of the guarded server."""
    with psycopg.connect(guarded.admin, autocommit=True) as connection:
        number = connection.execute("SELECT count(*) FROM pg_database").fetchone()
        name = f"empty_{number[0] if number else 0}"
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return name


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_a_database_out_of_reach_is_code_3(
    here: Cdr, configure: Configure, free_port: Callable[[], int], words: tuple[str, ...]
) -> None:
    """The place is named, the password is not, and stdout stays empty."""
    port = free_port()
    file = configure(f"postgresql://cdr:geheim@127.0.0.1:{port}/cdr")
    done = here(*words, "--config", str(file))
    assert (done.code, done.out) == (3, "")
    assert f"cdr@127.0.0.1:{port}/cdr is out of reach: Connection refused" in done.err
    assert "geheim" not in done.err


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_a_wrong_password_is_code_3_and_not_shown(
    here: Cdr, configure: Configure, guarded: Any, words: tuple[str, ...]
) -> None:
    """Waiting does not help here: the message says what to check."""
    done = here(*words, "--config", str(configure(guarded.url("ge%2Fheim"))))
    assert (done.code, done.out) == (3, "")
    assert "refused the connection" in done.err
    assert "check user and password" in done.err
    assert not {"ge/heim", "ge%2Fheim"} & set(done.err.replace(":", " ").replace("@", " ").split())
    assert "heim" not in done.err


@pytest.mark.slow
def test_a_missing_password_and_a_missing_database_are_told_apart(guarded: Any, secret: str) -> None:
    """libpq gives no SQLSTATE for either."""
    with pytest.raises(DatabaseRefused, match=r"wants a password: put it into database\.url"):
        connect(guarded.url(None))
    with pytest.raises(DatabaseRefused, match='database "nowhere" does not exist'):
        connect(guarded.url(secret, "nowhere"))
    with pytest.raises(DatabaseUnavailable, match=r'takes no connection: FATAL: .*"nowhere" does not exist'):
        connect(guarded.admin.replace("/postgres?", "/nowhere?"))


def test_a_host_without_an_address_is_out_of_reach() -> None:
    """The resolver's words, and that it is tried again."""
    with pytest.raises(DatabaseUnavailable, match=r"cdr@nowhere\.invalid/cdr is out of reach: .*nowhere\.invalid"):
        connect("postgresql://cdr:geheim@nowhere.invalid/cdr")


def test_programs_get_the_url_without_showing_it() -> None:
    """Whatever libpq can take from the environment; psql finds the same database as this program."""
    assert environment("postgresql+psycopg://cdr:ge%2Fheim@db:5433/calls?sslmode=require") == {
        "PGUSER": "cdr",
        "PGPASSWORD": "ge/heim",
        "PGHOST": "db",
        "PGPORT": "5433",
        "PGDATABASE": "calls",
        "PGSSLMODE": "require",
    }


@pytest.mark.parametrize("words", [("status",), ("status", "--json")], ids=" ".join)
def test_a_missing_schema_is_code_3_and_says_what_to_run(
    here: Cdr, configure: Configure, guarded: Any, secret: str, empty: str, words: tuple[str, ...]
) -> None:
    """Reading commands change nothing in a database that is not ours yet."""
    done = here(*words, "--config", str(configure(guarded.url(secret, empty))))
    assert (done.code, done.out) == (3, "")
    assert "schema is missing" in done.err
    assert "run 'cdr db upgrade'" in done.err


@pytest.mark.slow
def test_upgrade_makes_the_schema_once(here: Cdr, configure: Configure, guarded: Any, secret: str, empty: str) -> None:
    """`current` and `check` agree with it before and after, in words and in JSON."""
    config = ("--config", str(configure(guarded.url(secret, empty))))
    assert here("db", "current", *config).out == f"no schema (newest: {head()})\n"
    assert here("db", "check", *config).code == 3
    first = here("db", "upgrade", "--json", *config)
    assert (first.code, first.err) == (0, "")
    told = json.loads(first.out)
    assert told == {"before": None, "after": head(), "files": told["files"], "administrator": told["administrator"]}
    second = here("db", "upgrade", *config)
    assert (second.code, second.out) == (0, "")
    assert f"schema {head()} already; 0 files" in second.err
    assert json.loads(here("db", "current", "--json", *config).out) == {"database": head(), "newest": head()}
    assert json.loads(here("db", "check", "--json", *config).out) == {"differences": []}
    assert here("status", *config).code == 0


@pytest.mark.slow
def test_upgrade_tells_which_statements_are_left_to_an_administrator(
    here: Cdr, configure: Configure, guarded: Any, secret: str, empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On stderr, one a line; with --json in the document."""
    left = ("CREATE ROLE cdr_owner NOLOGIN;", "GRANT cdr_owner TO cdr;")
    monkeypatch.setattr(migrate, "upgrade", lambda _: migrate.Upgraded("0004", "0004", (), left))
    config = ("--config", str(configure(guarded.url(secret, empty))))
    told = here("db", "upgrade", *config)
    assert (told.code, told.out) == (0, "")
    assert [line.strip() for line in told.err.splitlines() if line.strip().endswith(";")] == list(left)
    assert json.loads(here("db", "upgrade", "--json", *config).out)["administrator"] == list(left)


@pytest.mark.slow
def test_a_changed_schema_is_told(here: Cdr, configure: Configure, guarded: Any, secret: str, empty: str) -> None:
    """A column that somebody dropped is found; the exit code is that of a schema that is not the one needed."""
    config = ("--config", str(configure(guarded.url(secret, empty))))
    here("db", "upgrade", *config)
    with psycopg.connect(guarded.url(secret, empty), autocommit=True) as connection:
        connection.execute("ALTER TABLE cdr.quarantine DROP COLUMN note")
    told = here("db", "check", *config)
    assert (told.code, told.out) == (3, "")
    assert "note" in told.err
    listed = here("db", "check", "--json", *config)
    assert (listed.code, listed.err) == (3, "")
    assert any("note" in each for each in json.loads(listed.out)["differences"])


@pytest.mark.slow
def test_psql_opens_the_configured_database(
    cdr: Cdr, configure: Configure, guarded: Any, secret: str, empty: str
) -> None:
    """With its password; an SQL error is a failure (1), whatever psql calls it."""
    config = ("--config", str(configure(guarded.url(secret, empty))))
    done = cdr("db", "sql", "-c", "select current_user, current_database()", *config)
    assert (done.code, done.err) == (0, "")
    assert f"cdr          | {empty}" in done.out
    assert cdr("db", "sql", "-c", "select nonsense", *config).code == 1
    both = cdr("db", "sql", "-c", "select 'first'", "-c", "select 'second'", *config)
    assert both.code == 0
    assert both.out.index("first") < both.out.index("second")


@pytest.mark.slow
def test_psql_knows_where_the_questions_are(
    cdr: Cdr, configure: Configure, guarded: Any, secret: str, empty: str, tmp_path: Path
) -> None:
    """From a folder that has none of them, and whatever was set before: it stays set."""
    config = ("--config", str(configure(guarded.url(secret, empty))))
    cdr("db", "upgrade", *config)
    asked = [r"\set from 2025-03-10", r"\set to 2025-03-17", r"\i :cookbook/01_calls_per_day.sql"]
    done = cdr("db", "sql", *(word for each in asked for word in ("-c", each)), *config)
    assert (done.code, done.err) == (0, "")
    assert "talk_time" in done.out
    asked = [r"\i :lake/setup/postgresql.sql", r"\i :lake/02_busy_hour.sql"]
    done = cdr("db", "sql", *(word for each in asked for word in ("-c", each)), *config)
    assert (done.code, done.err) == (0, "")
    assert "(0 rows)" in done.out


@pytest.mark.slow
def test_whoever_leaves_an_embedded_database_last_stops_it(here: Cdr, public_folder: Path) -> None:
    """Not whoever started it: others would lose it in the middle of their work."""
    (public_folder / "cdr.toml").write_text("[database]\nembedded = true\n")
    config = public_folder / "cdr.toml"
    cluster = embedded.cluster(public_folder / "var")
    with opened(load(config)):
        assert here("db", "upgrade", "--config", str(config)).code == 0
        assert cluster.running(), "it was started by a command that is over, and we still use it"
    assert not cluster.running()
    with opened(load(config)) as archive:
        archive.start()
        assert here("db", "current", "--config", str(config)).code == 0
        assert cluster.running()
    assert not cluster.running()


@pytest.mark.slow
def test_an_embedded_database_runs_only_while_it_is_needed(here: Cdr, public_folder: Path) -> None:
    """The first upgrade says what it made; a command that started the server stops it."""
    (public_folder / "cdr.toml").write_text("[database]\nembedded = true\n")
    config = ("--config", str(public_folder / "cdr.toml"))
    assert json.loads(here("db", "upgrade", "--json", *config).out)["before"] is None
    cluster = embedded.cluster(public_folder / "var")
    assert not cluster.running()
    assert here("db", "current", *config).out == f"{head()} (newest: {head()})\n"
    shutil.rmtree(cluster.socket)
