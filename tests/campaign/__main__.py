"""`python -m tests.campaign --seed S --for 60s`, from the project's folder, or `python -m tests.campaign many --seeds
1000..1199`; see docs/campaign.md."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # as pytest does: `campaign` and `support` are importable

from campaign import many, run

for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.default_int_handler)  # whoever has us end: clean up first
words = sys.argv[1:]
sys.exit(many.main(words[1:]) if words[:1] == ["many"] else run.main(words))
