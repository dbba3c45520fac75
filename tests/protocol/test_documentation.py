"""docs/protocol.md says what the code does."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from etl.protocol.dialect import Dialect
from etl.protocol.framing import Rejected
from etl.protocol.subscription import diagram

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")


def shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"`{item}`" for item in value)
    if isinstance(value, float):
        return f"`{value:g}`"
    return f"`{value}`" if isinstance(value, str) else "none"


def test_the_table_of_the_dialect_lists_every_key_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", PAGE.partition("## The dialect")[2], re.MULTILINE))
    default = Dialect()
    assert rows == {item.name: shown(getattr(default, item.name)) for item in fields(Dialect)}


def test_the_state_diagram_is_drawn_from_the_table() -> None:
    assert f"```mermaid\n{diagram()}\n```" in PAGE


def test_every_reason_for_rejected_bytes_is_explained() -> None:
    listed = (Rejected.__doc__ or "").partition("machine word:")[2].partition("or the word")[0]
    explained = PAGE.partition("## Documents")[2].partition("## Messages")[0]
    reasons = re.findall(r"`([a-z_]+)`", listed)
    assert len(reasons) == 6
    assert reasons == re.findall(r"^\| `(\w+)` \|", explained, re.MULTILINE)
