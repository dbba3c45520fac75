"""A minimum age for deletion by age, and exports that were destroyed."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the SQL beside this file; several statements, so straight through the driver."""
    driver = op.get_bind().connection.driver_connection
    assert driver is not None
    driver.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    """Evidence is not thrown away by a migration."""
    raise NotImplementedError("how long calls must be kept cannot be forgotten; restore a backup")
