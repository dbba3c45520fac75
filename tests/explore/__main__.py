"""`python -m tests.explore --seeds 1..10000`, from the project's folder; see docs/exploration.md."""

from __future__ import annotations

import os
import sys
from pathlib import Path

if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets must be the same in each run, or a seed says nothing
    os.execve(
        sys.executable, [sys.executable, "-m", "tests.explore", *sys.argv[1:]], {**os.environ, "PYTHONHASHSEED": "0"}
    )

sys.path.insert(0, str(Path(__file__).parent.parent))  # as pytest does: `explore` and `support` are importable

from explore.command import main

sys.exit(main(sys.argv[1:]))
