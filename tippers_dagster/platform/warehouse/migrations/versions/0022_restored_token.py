"""Tokens of tables that were restored from a backup, with those of the same rows before."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    op.create_table(
        "restored_token",
        sa.Column("token", sa.Text(), nullable=False, comment="of a table that was restored"),
        sa.Column(
            "stands_for",
            sa.Text(),
            nullable=False,
            comment="token of the same rows before the backup",
        ),
        sa.PrimaryKeyConstraint("token", name=op.f("pk_restored_token")),
        schema="tippers",
        comment="one row per table restored from a backup: the database counts its rows as new "
        "ones",
    )
