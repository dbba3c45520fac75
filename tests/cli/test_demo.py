"""`cdr demo`, the first command that anyone types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from etl.simulator.truth import load

Cdr = Any


@pytest.mark.slow
def test_the_demo_archives_every_call_and_can_be_looked_into(cdr: Cdr, public_folder: Path) -> None:
    """One JSON document on stdout; the truth is beside it; the commands that it recommends work afterwards."""
    keep = public_folder / "demo"
    done = cdr("demo", "--seconds", "6", "--json", "--keep", str(keep))
    assert done.code == 0, done.err
    results = {each["recorder"]: each for each in json.loads(done.out)}
    assert set(results) == {"new-york", "budapest", "london"}
    for name, each in results.items():
        assert each["happened"] == len(load(keep / f"{name}.truth.jsonl").calls) > 0
        assert (each["unexplained"], each["contradictions"]) == ([], [])
        assert each["complete"] + each["started"] + each["in_gaps"] == each["happened"]
        assert each["complete"] == each["happened"], "the history had what nobody heard"
        assert each["filled"] >= each["gaps"] - 1, "all but the one that the end of the demo began"
    assert any(each["recovered"] for each in results.values())
    file = ("--config", str(keep / "cdr.toml"))
    shown = cdr("status", "--json", *file)
    assert shown.code == 5  # the end of the demo is a gap
    assert {each["name"] for each in json.loads(shown.out)["recorders"]} == set(results)
    counted = cdr("db", "sql", "-c", "select count(*) from cdr.call", *file)
    assert str(sum(each["complete"] + each["started"] for each in results.values())) in counted.out


def test_a_demo_is_not_mixed_with_an_earlier_one(here: Cdr, tmp_path: Path) -> None:
    """Its recorders would know nothing of the calls of the other."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "cdr.toml").write_text("")
    done = here("demo", "--keep", "kept")
    assert (done.code, done.out) == (2, "")
    assert "--keep kept: it is not empty" in done.err
    nowhere = here("demo", "--keep", "kept/cdr.toml/x")
    assert (nowhere.code, "Not a directory" in nowhere.err) == (2, True)
