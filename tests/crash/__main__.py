"""`python -m tests.crash kills --runs 200 --seed 1`, from the project's folder; see docs/campaign.md."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # as pytest does: `crash` and `support` are importable

from crash import kills, points

PROGRAMMES = {"kills": kills.main, "points": points.main}

if __name__ == "__main__":
    chosen = PROGRAMMES.get(sys.argv[1] if len(sys.argv) > 1 else "")
    sys.exit(chosen(sys.argv[2:]) if chosen else f"which of {', '.join(PROGRAMMES)}?")
