"""`python -m tests.longrun --messages 5000000`, from the project's folder; see docs/long-run.md."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # as pytest does: `longrun` and `support` are importable

from longrun.run import main

sys.exit(main(sys.argv[1:]))
