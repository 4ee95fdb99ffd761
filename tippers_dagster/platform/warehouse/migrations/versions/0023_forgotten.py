"""Devices and persons that are left out of the log."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    op.create_table(
        "forgotten",
        sa.Column(
            "hash",
            sa.BigInteger(),
            autoincrement=False,
            nullable=False,
            comment="keyed hash, another one than in the lake",
        ),
        sa.Column("kind", sa.Text(), nullable=False, comment="device or person"),
        sa.Column("forgotten_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column(
            "removed",
            postgresql.JSONB(),
            nullable=False,
            comment="numbers of rows and files, by place",
        ),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_forgotten")),
        schema="tippers",
        comment="one row per device or person that is to be left out of the log",
    )
