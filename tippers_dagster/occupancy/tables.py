"""Warehouse tables of the domain: observations, computed figures, attempts and durations.

Fingerprints are 64-bit, stored as PostgreSQL's signed bigint.
"""

import sqlalchemy as sa

from tippers_dagster.platform.warehouse.metadata import metadata

source_chunk = sa.Table(
    "source_chunk",
    metadata,
    sa.Column("chunk", sa.Text, primary_key=True),
    sa.Column("fingerprint", sa.BigInteger, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("observed_at", sa.DateTime(timezone=True), nullable=False),
    comment="one row per time chunk: the last observed fingerprint of the source",
)

session_space = sa.Table(
    "session_space",
    metadata,
    sa.Column("chunk", sa.Text, primary_key=True),
    sa.Column("space", sa.Text, primary_key=True),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("fingerprint", sa.BigInteger, nullable=False),
    sa.Column(
        "known", sa.Boolean, nullable=False, comment="false: rejected, the space does not exist"
    ),
    comment="one row per time chunk and space of its sessions: a fingerprint of their content",
)

session_reject = sa.Table(
    "session_reject",
    metadata,
    sa.Column("chunk", sa.Text, nullable=False, index=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("mac_address", sa.Text),
    sa.Column("space_id", sa.Text),
    sa.Column("start_time", sa.DateTime),
    sa.Column("end_time", sa.DateTime),
    sa.Column(
        "row",
        sa.Text,
        comment="JSON: the row of a log source as it was read, without user names",
    ),
    comment="one row per rejected source row of a chunk",
)

partition_figures = sa.Table(
    "partition_figures",
    metadata,
    sa.Column("asset", sa.Text, primary_key=True),
    sa.Column("space", sa.Text, primary_key=True, comment="empty for assets per time chunk"),
    sa.Column("chunk", sa.Text, primary_key=True),
    sa.Column("input_fingerprint", sa.BigInteger, nullable=False),
    sa.Column("output_fingerprint", sa.BigInteger, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("rejected", sa.BigInteger, nullable=False, comment="sessions only"),
    sa.Column("devices", sa.BigInteger, nullable=False),
    sa.Column("peak", sa.Integer, comment="largest count in a 15-minute bin"),
    sa.Column("peak_time", sa.DateTime(timezone=True)),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("computed_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column(
        "log_fingerprint",
        sa.BigInteger,
        comment="sessions only: of the rows that start in the chunk, as labelling reads them",
    ),
    comment="one row per computed partition: the record of what is fresh",
)

replacing = sa.Table(
    "replacing",
    metadata,
    sa.Column("asset", sa.Text, primary_key=True),
    sa.Column("space", sa.Text, primary_key=True, comment="empty for assets per time chunk"),
    sa.Column("chunk", sa.Text, primary_key=True),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("since", sa.DateTime(timezone=True), nullable=False),
    comment="one row per partition whose files a run is replacing, or was replacing when it died: "
    "its row in partition_figures is void",
)

unreported = sa.Table(
    "unreported",
    metadata,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("asset", sa.Text, primary_key=True),
    comment="one row per run and asset of which Dagster may not have all materializations yet",
)

wipe = sa.Table(
    "wipe",
    metadata,
    sa.Column("asset", sa.Text, primary_key=True),
    sa.Column("wiped_at", sa.DateTime(timezone=True), nullable=False),
    comment="the last time an asset's materializations were wiped in Dagster and reported again",
)

attempt = sa.Table(
    "attempt",
    metadata,
    sa.Column("asset", sa.Text, primary_key=True),
    sa.Column("space", sa.Text, primary_key=True),
    sa.Column("chunk", sa.Text, primary_key=True),
    sa.Column("wanted", sa.BigInteger, nullable=False, comment="requested fingerprint"),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column(
        "held_until",
        sa.DateTime(timezone=True),
        comment="after a failure of the environment: no attempt before",
    ),
    comment="one row per partition that automation has requested and that is not fresh yet",
)

lake_layout = sa.Table(
    "lake_layout",
    metadata,
    sa.Column("lake", sa.Text, primary_key=True, comment="folder or bucket"),
    sa.Column("part", sa.Text, primary_key=True, comment="occupancy or labelled"),
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
    comment="one row per lake and part of it that has one file per time chunk, not one per space",
)

run_duration = sa.Table(
    "run_duration",
    metadata,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("asset", sa.Text, primary_key=True),
    sa.Column("partitions", sa.Integer, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("finished_at", sa.DateTime(timezone=True), server_default=sa.func.now()),
    comment="one row per run that computed something: the history for deadlines",
)

sealed_chunk = sa.Table(
    "sealed_chunk",
    metadata,
    sa.Column("chunk", sa.Text, primary_key=True),
    sa.Column(
        "fingerprint",
        sa.BigInteger,
        nullable=False,
        comment="fingerprint of the source when the chunk was computed",
    ),
    sa.Column(
        "rows",
        sa.BigInteger,
        nullable=False,
        comment="rows in the source when the chunk was computed",
    ),
    sa.Column("sealed_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column(
        "deleted_at", sa.DateTime(timezone=True), comment="null: files are still being deleted"
    ),
    sa.Column(
        "late_rows", sa.BigInteger, comment="additional rows in the source at the last observation"
    ),
    sa.Column("looked_at", sa.DateTime(timezone=True)),
    sa.Column(
        "before_normalising",
        sa.Boolean,
        nullable=False,
        server_default=sa.false(),
        comment="counted before device addresses were normalised: a device in several spellings "
        "counted as several; the fingerprint does not cover access points",
    ),
    comment="one row per time chunk whose sessions and presence were deleted; its counts stay",
)
