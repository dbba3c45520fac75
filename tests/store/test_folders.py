"""What a file backfill stores before its ledger may reach the disk after the commit, but never after the ledger's."""

from __future__ import annotations

from etl.store import database, folders


def test_only_the_connection_that_is_relaxed_does_not_wait_for_the_disk(embedded_database: str) -> None:
    """The ledger's own connection goes on waiting: by then all commits before it are on disk, too."""
    with database.connect(embedded_database) as stores, database.connect(embedded_database) as ledger:
        folders.relax(stores)
        shown = [each.execute("SHOW synchronous_commit").fetchone() for each in (stores, ledger)]
    assert shown == [("off",), ("on",)]
