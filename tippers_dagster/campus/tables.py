"""Warehouse tables of the campus's log, and of what is known about its devices."""

import sqlalchemy as sa

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
