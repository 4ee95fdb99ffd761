"""Which materializations Dagster may not have yet."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    op.create_table(
        "unreported",
        sa.Column("run_id", sa.Text(), primary_key=True),
        sa.Column("asset", sa.Text(), primary_key=True),
        schema="tippers",
        comment="one row per run and asset of which Dagster may not have all materializations yet",
    )
    op.create_table(
        "wipe",
        sa.Column("asset", sa.Text(), primary_key=True),
        sa.Column("wiped_at", sa.DateTime(timezone=True), nullable=False),
        schema="tippers",
        comment="the last time an asset's materializations were wiped in Dagster and reported "
        "again",
    )
