"""The laws of every entry of foreign bytes, in short: all that was found once, and a few hundred new inputs.

`make fuzz` looks for longer, guided by coverage; see docs/fuzzing.md.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from fuzz import keep as keeping
from fuzz.keep import keep, lines_of
from fuzz.law import Target
from fuzz.mutate import LONGEST, mutate
from fuzz.targets import TARGETS
from fuzz.wire import DOCUMENTS
from hypothesis import given, settings
from hypothesis import strategies as st

NEW = 25
"""New inputs for each target; hypothesis shrinks and prints one that breaks a law."""

names = pytest.mark.parametrize("name", TARGETS)


@names
def test_what_was_found_once_stays_mended(name: str) -> None:
    target = TARGETS[name]
    for data in target.seeds:
        target.law(data)
    for path in target.kept():
        try:
            target.law(path.read_bytes())
        except BaseException as error:
            error.add_note(f"replay: .venv/bin/python -m tests.fuzz replay {name} {path}")
            raise


@names
def test_the_law_holds_for_new_inputs(name: str) -> None:
    target = TARGETS[name]
    inputs = target.inputs()

    @settings(max_examples=NEW)
    @given(st.sampled_from(inputs), st.integers(0, 2**32))
    def holds(data: bytes, seed: int) -> None:
        target.law(mutate(data, Random(seed), target.words, inputs))

    holds()


@given(st.sampled_from(DOCUMENTS), st.integers(0, 2**32))
def test_the_same_dice_give_the_same_bytes_and_never_too_many(data: bytes, seed: int) -> None:
    changed = mutate(data, Random(seed), others=DOCUMENTS)
    assert changed == mutate(data, Random(seed), others=DOCUMENTS)
    assert len(changed) <= LONGEST


def test_only_what_reaches_something_new_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fuzz.law.CORPUS", tmp_path)
    monkeypatch.setattr(keeping, "CORPUS", tmp_path)
    words = TARGETS["words"]
    target = Target("words", words.law, (b"5m",))
    assert keep(target, [b"6m", b"2026-03-01T08:00+01:00", b"2026-03-01T09:00+01:00", b"x" * 2000]) == 1
    assert [path.read_bytes() for path in target.kept()] == [b"2026-03-01T08:00+01:00"]
    assert lines_of(target, b"5m") == lines_of(target, b"7m")
