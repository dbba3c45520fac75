"""Calls of more than 25 hours can be found."""

from __future__ import annotations

from alembic import op

from etl.store.migrate import run_beside

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the SQL beside this file."""
    run_beside(op.get_bind(), __file__)


def downgrade() -> None:
    """The version before knows nothing of the index."""
    op.execute("DROP INDEX cdr.call_long")
