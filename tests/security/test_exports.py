"""What leaves the archive for people: no page runs anything, and no file is one that a spreadsheet would obey."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.command import Here
from support.hostile_texts import FORMULAS, HTML, TERMINAL
from support.postgres import Server, connection, fresh_database
from support.readers import insert

from etl.report.page import POLICY

pytestmark = pytest.mark.slow

TEXTS = (*HTML, *FORMULAS, *TERMINAL[:6])
DAYS = ("--from", "2024-05-01T00:00Z", "--to", "2024-05-03T00:00Z")
GAP = """
INSERT INTO cdr.gap (recorder, from_time, to_time, reason, state)
VALUES (%s, '2024-05-01 13:00+00', '2024-05-01 14:00+00', %s, 'open')
"""
RUNNING = {"script", "iframe", "object", "embed", "form", "input", "base", "video", "audio", "foreignobject", "animate"}
"""What runs, loads, or asks in a browser."""


@pytest.fixture(scope="module")
def file(embedded_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Options that name an archive with a call, and a gap, of a recorder, an extension and a name for each text."""
    with fresh_database(embedded_server) as url:
        with connection(url) as opened, opened.transaction():
            for number, text in enumerate(TEXTS):
                names = ("recorder", "recorded_extension", "source_name", "source_caller_id", "location", "modality_id")
                insert(opened, str(number), dict.fromkeys(names, text))
                opened.execute(GAP, [text, text])
        path = tmp_path_factory.mktemp("exports") / "cdr.toml"
        path.write_text(f'database.url = "{url}"\n')
        yield "--config", str(path)


class Page(HTMLParser):
    """What a browser makes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture
def page(here: Here, file: tuple[str, str], tmp_path: Path) -> Page:
    done = here("report", *DAYS, "--out", "page", *file)
    assert done.code == 5, done.said
    page = Page()
    (found,) = (tmp_path / "page").glob("*.html")
    page.feed(found.read_text())
    return page


def test_a_report_holds_names_as_text_and_nothing_that_runs_or_loads(page: Page) -> None:
    """Names of recorders and extensions, reasons of gaps; in tables and in plots."""
    assert not page.tags & RUNNING
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    targets = [value for name, value in page.attributes if name in ("href", "src", "xlink:href", "action")]
    assert all(value.startswith(("#", "data:,", "data:image/png")) for value in targets), targets
    text = "".join(page.texts)
    for each in HTML[:2]:
        assert each in text


def test_a_report_tells_browsers_to_run_and_load_nothing(page: Page) -> None:
    assert ("content", POLICY) in page.attributes
    assert "default-src 'none'" in POLICY
    assert "script-src" not in POLICY


def test_a_report_holds_no_character_that_turns_or_steers_text(page: Page) -> None:
    for text in page.texts:
        assert not [char for char in text if not char.isprintable() and char not in "\n\t"], text


def test_an_export_is_typed_and_literal_and_no_file_for_a_spreadsheet(
    here: Here, file: tuple[str, str], tmp_path: Path
) -> None:
    """A formula in a name stays a text: Parquet has no formulas. There is no CSV."""
    done = here("export", *DAYS, "--out", "lake", *file)
    assert done.code == 0, done.said
    files = [path for path in (tmp_path / "lake").rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"calls.parquet", "manifest.json"}
    rows = [row for path in files if path.suffix == ".parquet" for row in pq.ParquetFile(path).read().to_pylist()]
    assert {row["source_name"] for row in rows} == {row["location"] for row in rows} == set(TEXTS)
