"""Warehouse tables of the campus's log, and of what is known about its devices."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from tippers_dagster.platform.warehouse.metadata import metadata

device_address = sa.Table(
    "device_address",
    metadata,
    sa.Column(
        "device",
        sa.BigInteger,
        primary_key=True,
        autoincrement=False,
        comment="device id in the lake, as a signed integer",
    ),
    sa.Column("mac_address", sa.Text, nullable=False, comment="normalised"),
    comment="one row per device of the log: from its id in the lake to its address",
)

vendor_prefix = sa.Table(
    "vendor_prefix",
    metadata,
    sa.Column("prefix", sa.Text, primary_key=True, comment="three octets, aa:bb:cc"),
    sa.Column("maker", sa.Text, nullable=False, comment="as the registry spells it"),
    comment="one row per vendor prefix of the registry that the campus has loaded",
)

forgotten = sa.Table(
    "forgotten",
    metadata,
    sa.Column(
        "hash",
        sa.BigInteger,
        primary_key=True,
        autoincrement=False,
        comment="keyed hash, another one than in the lake",
    ),
    sa.Column("kind", sa.Text, nullable=False, comment="device or person"),
    sa.Column("forgotten_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("removed", JSONB, nullable=False, comment="numbers of rows and files, by place"),
    comment="one row per device or person that is to be left out of the log",
)
