"""Partitions whose files are being replaced, and attempts that failed with the environment."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "replacing",
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("space", sa.Text(), nullable=False, comment="empty for sessions"),
        sa.Column("chunk", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("asset", "space", "chunk", name=op.f("pk_replacing")),
        schema="tippers",
        comment="one row per partition whose files a run replaces, or was replacing when it died: "
        "what partition_figures says of it does not hold",
    )
    op.add_column(
        "attempt",
        sa.Column(
            "held_until",
            sa.DateTime(timezone=True),
            comment="the machine failed, not the work: no try before",
        ),
        schema="tippers",
    )
    op.add_column(
        "asset_state",
        sa.Column(
            "retry_at",
            sa.DateTime(timezone=True),
            comment="the machine failed, not the work: no try before",
        ),
        schema="tippers",
    )
