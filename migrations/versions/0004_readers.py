"""The side of the readers: masks, legal holds, deletion by age, exports, and what maintenance came to."""

from __future__ import annotations

from alembic import op

from etl.store.migrate import run_beside

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the SQL beside this file."""
    run_beside(op.get_bind(), __file__)


def downgrade() -> None:
    """Evidence is not thrown away by a migration."""
    raise NotImplementedError("holds, tombstones and the key of the masks cannot be taken back; restore a backup")
