"""`python -m tests.fuzz run --for 60s`, from the project's folder; see docs/fuzzing.md."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # as pytest does: `fuzz` and `support` are importable

from fuzz.run import main

sys.exit(main(sys.argv[1:]))
