"""`docs/facts.md` says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from etl.calls.facts import DURATION_TOLERANCE, FLAGS, ZONE_REACH, ZONE_SLACK
from etl.model import PRECEDENCE

PAGE = (Path(__file__).parents[2] / "docs" / "facts.md").read_text()


def rows(section: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    text = PAGE.split(f"## {section}")[1].split("\n## ")[0]
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| `")
    ]


def test_the_table_of_kinds_is_the_precedence_of_the_merge() -> None:
    table = {kind.strip("`"): int(rank) for kind, _, rank in rows("Kinds and who speaks first")}
    assert table == {kind.value: rank for kind, rank in PRECEDENCE.items()}


def test_the_table_of_flags_is_the_one_in_the_code() -> None:
    assert {flag.strip("`"): says for flag, says in rows("Quality")} == FLAGS


def test_the_tolerances_are_those_of_the_code() -> None:
    assert f"by more than {DURATION_TOLERANCE.seconds} s" in FLAGS["duration_differs"]
    said = re.search(r"allows (\d+) s .* up to (\d+) hours", PAGE)
    assert said
    assert int(said[1]) == ZONE_SLACK.total_seconds()
    assert int(said[2]) == ZONE_REACH.total_seconds() / 3600
