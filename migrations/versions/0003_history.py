"""History: backfills, what was read for gaps, verify runs, and calls that were erased."""

from __future__ import annotations

from alembic import op

from etl.store.migrate import run_beside

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the SQL beside this file."""
    run_beside(op.get_bind(), __file__)


def downgrade() -> None:
    """Evidence is not thrown away by a migration."""
    raise NotImplementedError("what was read of the history cannot be taken back; restore a backup")
