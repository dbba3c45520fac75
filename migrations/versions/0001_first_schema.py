"""The first schema: calls, facts, sessions, gaps, quarantine, checkpoints, lookups."""

from __future__ import annotations

from alembic import op

from etl.store.migrate import run_beside

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the SQL beside this file."""
    run_beside(op.get_bind(), __file__)


def downgrade() -> None:
    """An archive is not taken down by a migration."""
    raise NotImplementedError("the first schema cannot be taken back; restore a backup or drop the database")
