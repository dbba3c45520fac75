"""A minimum age for deletion by age, and exports that were destroyed."""

from __future__ import annotations

from alembic import op

from etl.store.migrate import run_beside

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the SQL beside this file."""
    run_beside(op.get_bind(), __file__)


def downgrade() -> None:
    """Evidence is not thrown away by a migration."""
    raise NotImplementedError("how long calls must be kept cannot be forgotten; restore a backup")
