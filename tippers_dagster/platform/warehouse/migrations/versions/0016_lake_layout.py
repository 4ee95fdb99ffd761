"""Which lakes have one file per time chunk."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.create_table(
        "lake_layout",
        sa.Column("lake", sa.Text(), nullable=False, comment="folder or bucket"),
        sa.Column("part", sa.Text(), nullable=False, comment="occupancy or labelled"),
        sa.Column(
            "copied_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="when files of the previous layout, if any, were copied",
        ),
        sa.Column(
            "finished_at",
            sa.DateTime(timezone=True),
            comment="null: files of the previous layout are still being deleted",
        ),
        sa.PrimaryKeyConstraint("lake", "part", name=op.f("pk_lake_layout")),
        schema="tippers",
        comment="one row per lake and part of it that has one file per time chunk, not one per "
        "space",
    )
