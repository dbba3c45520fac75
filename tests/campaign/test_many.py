"""Many campaigns: what becomes of each is written down, whatever it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from campaign import many
from campaign.many import Campaign
from support import ledger

RESULT = {"checked": 3, "excused": 1, "broken": [], "faults": {"drop": 1}, "recovery": {"drop": [1.5]}}
FAKE = """
import json, sys, time
path = sys.argv[sys.argv.index("--result") + 1]
{what}
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program instead of a campaign; write into the file what it does."""
    program = tmp_path / "fake.py"
    monkeypatch.setattr(Campaign, "command", property(lambda self: f"python {program} --seed {self.seed}"))
    monkeypatch.setattr(many, "commit", lambda: "abc")
    return program


def run(tmp_path: Path, *words: str) -> int:
    return many.main(
        ["--seeds", "1..2", "--ledger", str(tmp_path / "ledger"), "--keep", str(tmp_path / "kept"), *words]
    )


def test_results_go_to_the_ledger_and_are_not_made_twice(tmp_path: Path, fake: Path) -> None:
    fake.write_text(FAKE.format(what=f"open(path, 'w').write('{json.dumps(RESULT)}')"))
    assert run(tmp_path) == 0
    found = ledger.read("campaign", tmp_path / "ledger")
    assert sorted((each.seed, each.checked, each.commit, each.broken) for each in found) == [
        (1, 3, "abc", []), (2, 3, "abc", []),
    ]  # fmt: skip
    assert run(tmp_path) == 0
    assert len(ledger.read("campaign", tmp_path / "ledger")) == 2
    assert run(tmp_path, "--again") == 0
    assert len(ledger.read("campaign", tmp_path / "ledger")) == 4
    assert not [*(tmp_path / "kept").glob("*/*")], "those that broke nothing leave nothing behind"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("raise ZeroDivisionError('oh')", "ZeroDivisionError: oh"),
        ("sys.exit(3)", "exit code 3"),
        ("time.sleep(1000)", "had not ended after 1 s"),
    ],
)
def test_a_campaign_that_fails_by_itself_is_a_failure_in_the_ledger(
    tmp_path: Path,
    fake: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    what: str,
    told: str,
) -> None:
    fake.write_text(FAKE.format(what=what))
    monkeypatch.setattr(many, "ALLOWANCE", 0.5)
    assert run(tmp_path, "--for", "500ms") == 1
    found = ledger.read("campaign", tmp_path / "ledger")
    assert [len(each.broken) for each in found] == [1, 1]
    assert told in found[0].broken[0]
    assert "replay it: python" in capsys.readouterr().out
    assert len([*(tmp_path / "kept").glob("*/*/campaign.log")]) == 2
