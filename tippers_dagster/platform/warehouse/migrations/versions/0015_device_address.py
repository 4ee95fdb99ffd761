"""Devices' addresses, the fingerprint of a chunk's log, and chunks counted before normalising."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.create_table(
        "device_address",
        sa.Column(
            "device",
            sa.BigInteger(),
            autoincrement=False,
            nullable=False,
            comment="device id in the lake, as a signed integer",
        ),
        sa.Column("mac_address", sa.Text(), nullable=False, comment="normalised"),
        sa.PrimaryKeyConstraint("device", name=op.f("pk_device_address")),
        schema="tippers",
        comment="one row per device of the log: from its id in the lake to its address",
    )
    op.add_column(
        "partition_figures",
        sa.Column(
            "log_fingerprint",
            sa.BigInteger(),
            comment="sessions only: of the rows that start in the chunk, as labelling reads them",
        ),
        schema="tippers",
    )
    # What is sealed now was counted from addresses as they were spelled, and stays as it is.
    op.add_column(
        "sealed_chunk",
        sa.Column(
            "before_normalising",
            sa.Boolean(),
            nullable=False,
            server_default=sa.true(),
            comment="counted before device addresses were normalised: a device in several "
            "spellings counted as several; the fingerprint does not cover access points",
        ),
        schema="tippers",
    )
    op.alter_column(
        "sealed_chunk", "before_normalising", server_default=sa.false(), schema="tippers"
    )
