"""Makes a failing schedule smaller: steps that are not needed for the breach are left out, as long as any can be."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from explore.run import Outcome, explore


def shrunk(outcome: Outcome, folder: Path) -> Outcome:
    """The smallest schedule, by leaving out one step after the other, that breaks a law in the same way."""
    wanted = _kind(outcome)
    smaller = True
    while smaller:
        smaller = False
        for step in outcome.schedule.steps:
            steps = tuple(each for each in outcome.schedule.steps if each is not step)
            found = explore(replace(outcome.schedule, steps=steps), folder)
            if found.broken and _kind(found) == wanted:
                outcome, smaller = found, True
                break
    return outcome


def _kind(outcome: Outcome) -> str:
    """What a breach is about, without the names and numbers in it."""
    return re.sub(r"[0-9a-f]{8}|\d+(\.\d+)?", "#", outcome.broken[0])
