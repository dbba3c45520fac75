"""What all commands print."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from etl.cli.common import print_json, print_json_list


def test_a_list_at_the_end_is_written_as_it_comes(capsys: pytest.CaptureFixture[str]) -> None:
    """And is the same document as if it had been there as a whole: `cdr verify --json` may find millions."""
    shown: list[str] = []

    def items() -> Iterator[object]:
        for number in range(3):
            yield {"number": number, "name": "Łódź"}
            shown.append(capsys.readouterr().out)

    head = {"from": datetime(2024, 5, 1, tzinfo=UTC), "agrees": False}
    print_json_list(head, "findings", items())
    assert [json.dumps(number) in text for number, text in enumerate(shown)] == [True, True, True]
    streamed = "".join(shown) + capsys.readouterr().out
    print_json(head | {"findings": [{"number": number, "name": "Łódź"} for number in range(3)]})
    assert streamed == capsys.readouterr().out


def test_a_list_at_the_end_may_be_empty(capsys: pytest.CaptureFixture[str]) -> None:
    print_json_list({"left": 0}, "findings", [])
    assert json.loads(capsys.readouterr().out) == {"left": 0, "findings": []}
