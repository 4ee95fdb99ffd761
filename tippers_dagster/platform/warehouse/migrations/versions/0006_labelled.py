"""Tables for occupancy by label, and for retention."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "labelled_chunk",
        sa.Column("definition", sa.Text(), nullable=False),
        sa.Column("chunk", sa.Text(), nullable=False),
        sa.Column("labels_of", sa.Text(), nullable=False, comment="label model or classifier"),
        sa.Column(
            "labels_version", sa.Text(), nullable=False, comment="of its table, when counted"
        ),
        sa.Column(
            "labels_fingerprint", sa.BigInteger(), nullable=False, comment="of who has which"
        ),
        sa.Column(
            "input_fingerprint", sa.BigInteger(), nullable=False, comment="labels and presence"
        ),
        sa.Column("spaces", sa.Integer(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False, comment="bins with somebody in them"),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("computed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("definition", "chunk", name=op.f("pk_labelled_chunk")),
        schema="tippers",
        comment="one row per labelled occupancy and time chunk: what it was counted from",
    )
    op.create_table(
        "sealed_chunk",
        sa.Column("chunk", sa.Text(), nullable=False),
        sa.Column(
            "fingerprint", sa.BigInteger(), nullable=False, comment="of the source, when computed"
        ),
        sa.Column("rows", sa.BigInteger(), nullable=False, comment="of the source, when computed"),
        sa.Column("sealed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "deleted_at", sa.DateTime(timezone=True), comment="null: files are still being deleted"
        ),
        sa.Column(
            "late_rows", sa.BigInteger(), comment="what the source had more, when last looked at"
        ),
        sa.Column("looked_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("chunk", name=op.f("pk_sealed_chunk")),
        schema="tippers",
        comment="one row per time chunk whose sessions and presence were given up: counts stay",
    )
