"""Tables for head counts and calibrations."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "head_count",
        sa.Column("space_id", sa.Text(), nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False, comment="or the bin's begin"),
        sa.Column(
            "interval_seconds",
            sa.Integer(),
            nullable=False,
            comment="width of the bin in which people were counted; 0: at that moment",
        ),
        sa.Column("people", sa.Integer(), nullable=False),
        sa.Column("counted_by", sa.Text(), nullable=False),
        sa.Column("imported_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("space_id", "time", "interval_seconds", name=op.f("pk_head_count")),
        schema="tippers",
        comment="one row per space and time at which people were counted by other means",
    )
    op.create_table(
        "people_calibration",
        sa.Column("name", sa.Text(), nullable=False, comment="of the people count"),
        sa.Column("version", sa.Text(), nullable=False, comment="of its asset"),
        sa.Column("run_id", sa.Text(), nullable=False, comment="of the Dagster run"),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "body",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="the definition's, as it was",
        ),
        sa.Column(
            "reason", sa.Text(), nullable=True, comment="why it is not calibrated; null: it is"
        ),
        sa.Column(
            "calibration",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="ratio and interval; null: not calibrated",
        ),
        sa.Column(
            "evaluation",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="errors and coverage on the days held out",
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_people_calibration")),
        schema="tippers",
        comment="one row per people count that was materialised: how devices become people",
    )
