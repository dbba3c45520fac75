"""`python -m tests.campaign --seed S --for 60s`, from the project's folder; see docs/campaign.md."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # as pytest does: `campaign` and `support` are importable

from campaign.run import main

sys.exit(main(sys.argv[1:]))
