"""The pages that are made from the database: the data dictionary and the cookbook."""

from __future__ import annotations

from pathlib import Path

from psycopg.types.string import TextLoader
from support import cookbook, dictionary, known_archive
from support.postgres import connection

DOCS = Path(__file__).parents[2] / "docs"


def pages(url: str) -> dict[Path, str]:
    """Each page with its file: of an empty migrated database, in which the known archive is then stored."""
    with connection(url) as opened:
        words = dictionary.render(dictionary.read(opened))
        known_archive.store(opened)
        opened.adapters.register_loader("interval", TextLoader)  # spans of time as psql shows them
        answered = [(each, cookbook.ask(opened, each)) for each in cookbook.questions()]
    return {DOCS / "dictionary.md": words, DOCS / "cookbook.md": cookbook.render(answered)}
