"""The pages that are made from the database are those in docs, and nothing in the database is without words."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import dictionary
from support.pages import pages
from support.postgres import Server, connection, fresh_database

from etl.store.schema import metadata

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def fresh(embedded_server: Server) -> dict[Path, str]:
    with fresh_database(embedded_server) as url:
        return pages(url)


@pytest.mark.parametrize("name", ["dictionary.md", "cookbook.md"])
def test_the_page_is_the_one_in_docs(fresh: dict[Path, str], name: str) -> None:
    path, text = next((path, text) for path, text in fresh.items() if path.name == name)
    assert path.exists(), "run: make dictionary"
    assert path.read_text(encoding="utf-8") == text, f"docs/{name} is stale, run: make dictionary"


def test_spans_of_time_on_the_page_are_those_of_psql(fresh: dict[Path, str]) -> None:
    """It said `-1 day, 22:41:39` where psql says `-01:18:21`."""
    text = next(text for path, text in fresh.items() if path.name == "cookbook.md")
    assert "| 07:13:25 | -01:18:21 |" in text
    assert "-1 day" not in text


def test_every_table_view_column_and_function_has_a_comment(embedded_database: str) -> None:
    with connection(embedded_database) as opened:
        assert dictionary.read(opened).uncommented() == []


def test_what_has_no_comment_is_found(embedded_database: str) -> None:
    with connection(embedded_database) as opened:
        with opened.transaction():
            opened.execute("CREATE TABLE cdr.bare (x int)")
            opened.execute("CREATE VIEW report.bare AS SELECT 1 AS y")
            opened.execute("CREATE FUNCTION report.bare(z int) RETURNS int LANGUAGE sql AS 'SELECT 1'")
        found = dictionary.read(opened).uncommented()
    assert found == ["cdr.bare", "report.bare", "cdr.bare.x", "report.bare.y", "report.bare(z integer)"]


def test_the_dictionary_tells_of_every_table_once_and_of_no_partition(fresh: dict[Path, str]) -> None:
    text = next(text for path, text in fresh.items() if path.name == "dictionary.md")
    for table in metadata.tables.values():
        assert text.count(f"### {table.fullname}\n") == 1
    assert "call_2" not in text
    assert "call_untimed" not in text


def test_no_table_stands_in_two_groups() -> None:
    named = [name for names in dictionary.GROUPS.values() for name in names]
    assert len(named) == len(set(named))
