"""Brings a database to the schema of this version: alembic's migrations, then the files of `sql/`.

Two upgrades at once wait for each other. The files lie in the source tree, or in the installed package.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from etl.errors import SchemaMismatch
from etl.store import database
from etl.store.errors import translated
from etl.store.schema import SCHEMA, metadata

_PACKAGE = Path(__file__).resolve().parent.parent
_LOCK = "SELECT pg_advisory_lock(hashtextextended('cdr.migrate', 0))"
TRIES = 5
"""How often the files of `sql/` are applied, where each time a deadlock comes of it."""


@dataclass(frozen=True, slots=True)
class Upgraded:
    """What an upgrade did: revisions before and after, and the files of `sql/` that were applied again.

    `administrator` holds the statements that somebody with more rights has to run, where roles are missing that this
    user may not make; another upgrade then grants them what they need.
    """

    before: str | None
    after: str
    files: tuple[str, ...]
    administrator: tuple[str, ...] = ()


def _resource(in_tree: str, in_wheel: str) -> Path:
    tree = _PACKAGE.parent / in_tree
    return tree if (_PACKAGE.parent / "alembic.ini").exists() else _PACKAGE / in_wheel


def _config() -> Config:
    config = Config(str(_resource("alembic.ini", "alembic.ini")))
    config.set_main_option("script_location", str(_resource("migrations", "_migrations")).replace("%", "%%"))
    return config


@contextmanager
def connection(url: str) -> Iterator[Connection]:
    """A connection of SQLAlchemy over one of ours, for alembic."""
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: database.connect(url, application="cdr db"), poolclass=NullPool
    )
    try:
        with engine.connect() as opened:
            yield opened
    except DBAPIError as error:
        if isinstance(error.orig, psycopg.Error):
            raise translated(error.orig, database.safe_url(url)) from error
        raise
    except psycopg.Error as error:
        raise translated(error, database.safe_url(url)) from error
    finally:
        engine.dispose()


def head() -> str:
    """The newest revision this version knows."""
    newest = ScriptDirectory.from_config(_config()).get_current_head()
    if newest is None:
        raise SchemaMismatch("the migrations are missing from this installation: install cdr-archive again")
    return newest


def current(url: str) -> str | None:
    """The database's revision; None where there is no schema yet."""
    with database.connect(url, application="cdr db") as connected:
        return database.revision(connected)


def upgrade(url: str) -> Upgraded:
    """Migrate to the newest revision, then apply the files of `sql/` that changed. Safe to repeat.

    Raises `SchemaMismatch` where the database is newer than this version.
    """
    with connection(url) as connected:
        connected.execute(text(_LOCK))
        if connected.scalar(text("SELECT to_regnamespace(:schema) IS NULL"), {"schema": SCHEMA}):
            connected.execute(text(f"CREATE SCHEMA {SCHEMA}"))
        connected.commit()
        before = _revision(connected)
        _refuse_newer(before, database.safe_url(url))
        config = _config()
        config.attributes["connection"] = connected
        command.upgrade(config, "head")
        connected.commit()
        files = _apply(connected)
        return Upgraded(before, _revision(connected) or "", files, _for_administrator(connected))


def _revision(connected: Connection) -> str | None:
    context = MigrationContext.configure(connected, opts={"version_table_schema": SCHEMA})
    return context.get_current_revision()


def _refuse_newer(found: str | None, where: str) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if found is not None and found not in known:
        raise SchemaMismatch(f"database {where} has revision {found}, which this version does not know: update cdr")


def sql_folder() -> Path:
    """Where `sql/` is, with its questions to run by hand."""
    return _resource("sql", "_sql")


def sql_files() -> dict[str, str]:
    """The files of `sql/`, in the order in which they are applied: by name."""
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(sql_folder().glob("*.sql"))}


def _apply(connected: Connection, tries: int = TRIES) -> tuple[str, ...]:
    """Apply the files, once more where a worker was in the way: it writes as soon as the revision is right, and locks
    the same tables in another order."""
    try:
        files = _apply_files(connected)
        connected.commit()
    except (DBAPIError, psycopg.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if tries == 1 or not isinstance(cause, psycopg.errors.DeadlockDetected):
            raise
        connected.rollback()
        return _apply(connected, tries - 1)
    return files


def _apply_files(connected: Connection) -> tuple[str, ...]:
    """When one file changed all are applied again: a later view may stand on an earlier one. Roles come and go with
    the server, whatever the files say."""
    files = sql_files()
    sums, stored = _checksums(files), _stored_checksums(connected)
    if stored == sums:
        return _apply_roles(connected, files[_ROLES_FILE])
    for content in files.values():
        _run(connected, content)
    connected.execute(text("DELETE FROM cdr.sql_file"))
    insert = text("INSERT INTO cdr.sql_file (name, checksum) VALUES (:name, :checksum)")
    connected.execute(insert, [{"name": name, "checksum": checksum} for name, checksum in sums.items()])
    return tuple(name for name in files if stored.get(name) != sums[name])


def _checksums(files: Mapping[str, str]) -> dict[str, str]:
    return {name: hashlib.sha256(content.encode()).hexdigest() for name, content in files.items()}


def _stored_checksums(connected: Connection) -> dict[str, str]:
    rows = connected.execute(text("SELECT name, checksum FROM cdr.sql_file")).all()
    return {row.name: row.checksum for row in rows}


def run_beside(connected: Connection, migration: str) -> None:
    """Run the SQL file that lies beside a migration; `migration` is its `__file__`."""
    _run(connected, Path(migration).with_suffix(".sql").read_text(encoding="utf-8"))


def _run(connected: Connection, content: str) -> None:
    """A file holds several statements: straight through the driver."""
    driver = connected.connection.driver_connection
    assert driver is not None
    driver.execute(content)


# Roles ----------------------------------------------------------------------------------------------------------

ROLES = ("cdr_owner", "cdr_writer", "cdr_analyst", "cdr_investigator")
"""What each may do stands in `sql/roles.sql`."""

_ROLES_FILE = "roles.sql"

_UNSETTLED = text("""
SELECT bool_or(CASE
    WHEN to_regrole(name) IS NULL THEN me.rolsuper OR me.rolcreaterole
    WHEN name = 'cdr_owner' THEN pg_has_role(name, 'USAGE') AND EXISTS (
        SELECT FROM pg_class
        WHERE relnamespace IN ('cdr'::regnamespace, 'report'::regnamespace) AND relkind IN ('r', 'p', 'v')
            AND relowner <> to_regrole(name))
    ELSE NOT has_schema_privilege(name, 'report', 'USAGE') END)
FROM unnest(CAST(:roles AS text[])) name, pg_roles me
WHERE me.rolname = current_user
""")
"""Whether a role can be made, or be given what it lacks, since the files were applied."""

_MISSING = text("""
SELECT name, quote_ident(current_user) AS me FROM unnest(CAST(:roles AS text[])) name WHERE to_regrole(name) IS NULL
""")


def _apply_roles(connected: Connection, content: str) -> tuple[str, ...]:
    if not connected.scalar(_UNSETTLED, {"roles": list(ROLES)}):
        return ()
    _run(connected, content)
    return (_ROLES_FILE,)


def _for_administrator(connected: Connection) -> tuple[str, ...]:
    missing = connected.execute(_MISSING, {"roles": list(ROLES)}).all()
    made = [f"CREATE ROLE {row.name} NOLOGIN;" for row in missing]
    joined = [f"GRANT {row.name} TO {row.me};" for row in missing if row.name == "cdr_owner"]
    return (*made, *joined)


def include_name(name: str | None, kind: str, _parents: Any) -> bool:
    """Of all schemas only ours is compared."""
    return name == SCHEMA if kind == "schema" else True


def include_object(connected: Connection) -> Callable[..., bool]:
    """Of all tables in our schema, partitions and alembic's own are not compared."""
    rows = connected.execute(
        text("SELECT relname FROM pg_class WHERE relispartition AND relnamespace = to_regnamespace(:schema)"),
        {"schema": SCHEMA},
    )
    skipped = {row.relname for row in rows} | {"alembic_version"}

    def wanted(_object: Any, name: str | None, kind: str, _reflected: bool, _compare_to: Any) -> bool:
        return kind != "table" or name not in skipped

    return wanted


def check(url: str) -> list[str]:
    """How the database differs from what this version expects, in words; empty when it does not."""
    with connection(url) as connected:
        found = _revision(connected)
        if found != head():
            return [f"revision is {found or 'missing'}, not {head()}: run 'cdr db upgrade'"]
        options = {
            "version_table_schema": SCHEMA,
            "include_schemas": True,
            "include_name": include_name,
            "include_object": include_object(connected),
            "compare_type": True,
        }
        context = MigrationContext.configure(connected, opts=options)
        differences = [repr(difference) for difference in compare_metadata(context, metadata)]
        return differences + _unapplied(connected)


def _unapplied(connected: Connection) -> list[str]:
    sums, stored = _checksums(sql_files()), _stored_checksums(connected)
    changed = sorted(name for name in sums.keys() | stored.keys() if sums.get(name) != stored.get(name))
    return [f"not applied as they are here: sql/{', sql/'.join(changed)}: run 'cdr db upgrade'"] if changed else []
