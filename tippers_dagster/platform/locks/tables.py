"""Warehouse tables of the locks."""

import sqlalchemy as sa

from tippers_dagster.platform.warehouse.metadata import metadata

held_lock = sa.Table(
    "held_lock",
    metadata,
    sa.Column(
        "name", sa.Text, primary_key=True, comment="name of the lock; of a run: 'run ' and its id"
    ),
    sa.Column(
        "token",
        sa.BigInteger,
        primary_key=True,
        comment="unique for each time that the lock is taken",
    ),
    sa.Column("place", sa.Text, nullable=False, comment="host and process namespace of the holder"),
    sa.Column("pid", sa.BigInteger, nullable=False),
    sa.Column("began", sa.Double, nullable=False, comment="start of the process, Unix seconds"),
    sa.Column("taken_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    comment="one row per lock that a process holds, or held when it was killed",
)
