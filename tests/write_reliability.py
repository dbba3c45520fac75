"""`python -m tests.write_reliability`, from the project's folder: the tables of docs/reliability.md anew."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # as pytest does: `support` is importable

from support.reliability import PAGE, ledgers, renewed


def main() -> None:
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8"), ledgers()), encoding="utf-8")
    print(PAGE.relative_to(Path.cwd()))


if __name__ == "__main__":
    main()
