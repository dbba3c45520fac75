"""One target under atheris, in a process of its own: `python -m tests.fuzz.engine TARGET OPTIONS OF LIBFUZZER`."""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parent.parent))  # as pytest does: `fuzz` and `support` are importable

import atheris

with atheris.instrument_imports(include=["etl"]):
    from fuzz.targets import TARGETS

from fuzz.mutate import mutate

_OWN = 0.6
"""The share of changes that know about XML; the rest is the fuzzer's own, which knows what it has covered."""


def main(name: str, options: list[str]) -> None:
    target = TARGETS[name]
    inputs = target.inputs()

    def change(data: bytes, longest: int, seed: int) -> bytes:
        dice = Random(seed)
        if dice.random() > _OWN:
            own: bytes = atheris.Mutate(data, longest)
            return own
        return mutate(data, dice, target.words, inputs)[:longest]

    atheris.Setup([sys.argv[0], *options], target.law, custom_mutator=change)
    atheris.Fuzz()


main(sys.argv[1], sys.argv[2:])
