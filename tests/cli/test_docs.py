"""The pages for users: what they tell to type can be typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from etl.cli.main import application

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)#:]+)(#[^)]*)?\)")


def commands(page: Path) -> list[list[str]]:
    """Each `cdr …` in the page's code blocks, and in its lines between backticks, without comments."""
    text = page.read_text()
    lines = [
        line.strip().removeprefix("$ ")
        for language, block in _BLOCK.findall(text)
        if not language
        for line in block.splitlines()
    ]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("cdr ") and "…" not in line]


ALL = [(page.name, words) for page in PAGES for words in commands(page)]


@pytest.mark.parametrize(("page", "words"), ALL, ids=[f"{page}-{' '.join(words)}" for page, words in ALL])
def test_a_command_in_the_docs_exists_with_its_options(page: str, words: list[str]) -> None:
    """Parsed as it would be, but not run."""
    command: Any = typer.main.get_command(application())
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    command.make_context("cdr", words)


def test_the_readme_and_the_operations_page_have_commands() -> None:
    """The test above would pass without any."""
    assert {"README.md", "operations.md"} <= {page for page, _ in ALL}
    assert len(ALL) >= 12


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """To a file, and to a heading that is there."""
    for target, anchor in _LINK.findall(page.read_text()):
        found = (page.parent / target).resolve()
        assert found.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", found.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor[1:] in slugs, f"{target}{anchor}"
