"""Whoever connects to the archive, with whatever program, has the settings that its views need."""

from __future__ import annotations

import os
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql
from support.postgres import Server

from etl.store import migrate

pytestmark = pytest.mark.slow


@pytest.fixture
def upgraded(server: Server) -> Iterator[str]:
    """A database that was upgraded itself: settings are not copied from a template."""
    name = f"settings_{os.getpid()}"
    url = server.create(name)
    try:
        yield url
    finally:
        server.drop(name)


def test_jit_is_off_for_everybody(upgraded: str) -> None:
    migrate.upgrade(upgraded)
    with psycopg.connect(upgraded) as analyst:
        assert analyst.execute("SHOW jit").fetchone() == ("off",)


def test_who_does_not_own_the_database_goes_on_without(server: Server, upgraded: str) -> None:
    """The file as it is applied, by somebody who may make a schema at most."""
    role = f"settings_guest_{os.getpid()}"
    server.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
    try:
        with psycopg.connect(upgraded) as guest:
            guest.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
            guest.execute(migrate.sql_files()["settings.sql"].encode())
        with psycopg.connect(upgraded) as analyst:
            configured = analyst.execute(
                "SELECT 1 FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase"
                " WHERE d.datname = current_database()"
            ).fetchone()
        assert configured is None
    finally:
        server.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))
