"""The first schema: calls, facts, sessions, gaps, quarantine, checkpoints, lookups."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the SQL beside this file; several statements, so straight through the driver."""
    driver = op.get_bind().connection.driver_connection
    assert driver is not None
    driver.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    """An archive is not taken down by a migration."""
    raise NotImplementedError("the first schema cannot be taken back; restore a backup or drop the database")
