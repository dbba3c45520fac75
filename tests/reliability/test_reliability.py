"""docs/reliability.md says what the ledgers say, and nothing is left out of either."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import ledger
from support.ledger import Run
from support.reliability import BEGIN, END, PAGE, ledgers, renewed, standing


def run(seed: int = 1, **more: object) -> Run:
    fields = {
        "programme": "campaign", "seed": seed, "command": f"run --seed {seed}", "commit": "abc", "at": "2026-01-01",
        "seconds": 1800.0, "checked": 1000, "excused": 10, "faults": {"drop": 3}, "recovery": {"drop": [1.0, 2.0, 9.0]},
    }  # fmt: skip
    return Run(**(fields | more))  # type: ignore[arg-type]


def tables(*runs: Run) -> list[str]:
    return renewed(f"{BEGIN}{END}", {"campaign": runs}).splitlines()


def test_the_page_agrees_with_the_ledgers() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == renewed(text, ledgers()), "run `make reliability`"


def test_runs_add_up() -> None:
    lines = tables(run(1), run(2, recovery={}, faults={"drop": 4, "kill -9": 1}, commit="def"))
    assert "| campaign | 2 | 1.0 | 8 | 2,000 | 20 | 0 | 0 | `abc` .. `def` |" in lines
    assert "| drop | 7 | nothing | 2.0 s | 9.0 s | `run --seed 2` |" in lines
    assert "| kill -9 | 1 | nothing | - | - | `run --seed 2` |" in lines


def test_a_run_that_broke_something_is_told_until_it_was_repeated_and_broke_nothing() -> None:
    broken = run(1, broken=["a call is gone", "so is another"])
    assert "| drop | 3 | 2 breaches | 2.0 s | 9.0 s | `run --seed 1` |" in tables(broken)
    assert "| campaign | 1 | 0.5 | 3 | 1,000 | 10 | 1 | 0 | `abc` |" in tables(broken)
    assert "| campaign | 2 | 1.0 | 6 | 2,000 | 20 | 0 | 1 | `abc` |" in tables(broken, run(1))
    assert standing([run(1), broken]) == [broken], "what held once does not excuse what broke later"
    assert standing([broken, run(2)]) == [broken], "another run mends nothing"


def test_what_stands_around_the_tables_is_kept() -> None:
    page = renewed(f"before\n{BEGIN}\nold\n{END}\nafter\n", {"campaign": [run()]})
    assert page.startswith(f"before\n{BEGIN}\n")
    assert page.endswith(f"{END}\nafter\n")
    assert "old" not in page


def test_a_page_without_room_for_tables_is_refused() -> None:
    with pytest.raises(ValueError, match="needs the lines"):
        renewed("nothing", {})


def test_every_programme_with_a_ledger_has_its_place(tmp_path: Path) -> None:
    ledger.append(run(), tmp_path)
    ledger.append(run(programme="kills", command="kill"), tmp_path)
    found = ledgers(tmp_path)
    assert [*found] == ["campaign", "kills"]
    assert "### kills" in renewed(f"{BEGIN}{END}", found)
