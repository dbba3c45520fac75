"""What was shown so far: a line of JSON for each run of a programme against faults, kept in `tests/ledger/`.

The files are in the repository, so that runs of many days and machines add up; docs/reliability.md is made from them.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

LEDGER = Path(__file__).parent.parent / "ledger"


@dataclass(frozen=True, slots=True)
class Run:
    """One run: `seed` replays it, `command` is the whole line that does, `commit` is the code that ran.

    `at` is when it began (UTC, ISO 8601), `seconds` how long it took. `faults` counts what was injected, by name;
    `recovery` has, by fault, how long it took each time until all was well again (seconds). `checked` counts the
    obligations that were held against the truth, `excused` those of them that lie in a listed gap; `broken` has a line
    for each that did not hold. `load` is how much else the machine had to do: its load average at the end.
    """

    programme: str
    seed: int
    command: str
    commit: str
    at: str
    seconds: float
    checked: int
    excused: int = 0
    broken: Sequence[str] = ()
    faults: Mapping[str, int] = field(default_factory=dict)
    recovery: Mapping[str, Sequence[float]] = field(default_factory=dict)
    load: float = 0.0


def append(run: Run, folder: Path = LEDGER) -> None:
    """Add a run to the file of its programme. Several processes may do so at once."""
    folder.mkdir(exist_ok=True)
    line = json.dumps(asdict(run), sort_keys=True) + "\n"
    with (folder / f"{run.programme}.jsonl").open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(line)


def read(programme: str, folder: Path = LEDGER) -> list[Run]:
    """All runs of a programme, in the order in which they ended; none if it never ran."""
    path = folder / f"{programme}.jsonl"
    if not path.exists():
        return []
    return [Run(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
