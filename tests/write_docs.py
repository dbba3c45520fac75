"""`python -m tests.write_docs`, from the project's folder: writes the pages that are made from the database.

They are the data dictionary, from the COMMENTs of a migrated database, and the cookbook, with the answers of the known
archive. The tests in `tests/cookbook` fail where a page is stale.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # as pytest does: `support` is importable

from support.pages import pages
from support.postgres import fresh_database, serving

from etl.store import embedded


def main() -> None:
    with serving("embedded", embedded.programs()) as server, fresh_database(server) as url:
        for path, text in pages(url).items():
            path.write_text(text, encoding="utf-8")
            print(path.relative_to(Path.cwd()))


if __name__ == "__main__":
    main()
