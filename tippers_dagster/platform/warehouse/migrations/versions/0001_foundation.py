"""Tables for sources, tracking, occupancy and datasets."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "attempt",
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("space", sa.Text(), nullable=False),
        sa.Column("chunk", sa.Text(), nullable=False),
        sa.Column("wanted", sa.BigInteger(), nullable=False, comment="the fingerprint asked for"),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("asset", "space", "chunk", name=op.f("pk_attempt")),
        schema="tippers",
        comment="one row per partition that automation asked for and that is not fresh yet",
    )
    op.create_table(
        "dataset",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("space_id", sa.Text(), nullable=False),
        sa.Column("start_date", sa.Date(), nullable=False),
        sa.Column("end_date", sa.Date(), nullable=False, comment="excluded"),
        sa.Column("interval_seconds", sa.Integer(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint("start_date < end_date", name=op.f("ck_dataset_not_empty")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_dataset")),
        schema="tippers",
        comment="one row per named selection of occupancy: a space, a range of dates, a bin width",
    )
    op.create_table(
        "grid",
        sa.Column("one_row", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("chunk", sa.Text(), nullable=False),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.CheckConstraint("one_row", name=op.f("ck_grid_one_row")),
        sa.PrimaryKeyConstraint("one_row", name=op.f("pk_grid")),
        schema="tippers",
        comment="the chunk length and time zone that this warehouse was filled with",
    )
    op.create_table(
        "ingested_file",
        sa.Column("sha256", sa.Text(), nullable=False, comment="of the file's bytes"),
        sa.Column("kind", sa.Text(), nullable=False, comment="sessions, spaces, observations ..."),
        sa.Column("name", sa.Text(), nullable=False, comment="the path it was read from"),
        sa.Column("rows", sa.BigInteger(), nullable=False, comment="rows read"),
        sa.Column(
            "loaded", sa.BigInteger(), nullable=False, comment="rows written to the source table"
        ),
        sa.Column("rejected", sa.BigInteger(), nullable=False, comment="rows in reject"),
        sa.Column(
            "ingested_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("sha256", "kind", name=op.f("pk_ingested_file")),
        schema="tippers",
        comment="One row per file (by content) and kind that was ingested.",
    )
    op.create_table(
        "partition_figures",
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("space", sa.Text(), nullable=False, comment="empty for sessions"),
        sa.Column("chunk", sa.Text(), nullable=False),
        sa.Column("input_fingerprint", sa.BigInteger(), nullable=False),
        sa.Column("output_fingerprint", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("rejected", sa.BigInteger(), nullable=False, comment="sessions only"),
        sa.Column("devices", sa.BigInteger(), nullable=False),
        sa.Column("peak", sa.Integer(), nullable=True, comment="most devices in one 15-minute bin"),
        sa.Column("peak_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("computed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("asset", "space", "chunk", name=op.f("pk_partition_figures")),
        schema="tippers",
        comment="one row per computed partition; the record of what is fresh",
    )
    op.create_table(
        "reject",
        sa.Column("reject_id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("file_sha256", sa.Text(), nullable=True, comment="ingested_file.sha256"),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column(
            "row_number",
            sa.BigInteger(),
            nullable=True,
            comment="row of the file, from 1, the header of a CSV not counted",
        ),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column(
            "row",
            postgresql.JSONB(),
            nullable=True,
            comment="the row as text, long values cut",
        ),
        sa.Column(
            "rejected_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("reject_id", name=op.f("pk_reject")),
        schema="tippers",
        comment="One row per input row that could not be used, with the reason.",
    )
    op.create_index(
        op.f("ix_tippers_reject_file_sha256"),
        "reject",
        ["file_sha256"],
        unique=False,
        schema="tippers",
    )
    op.create_table(
        "run_duration",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("partitions", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column(
            "finished_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=True,
        ),
        sa.PrimaryKeyConstraint("run_id", "asset", name=op.f("pk_run_duration")),
        schema="tippers",
        comment="one row per run that computed something: the history that deadlines come from",
    )
    op.create_table(
        "session_reject",
        sa.Column("chunk", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("mac_address", sa.Text(), nullable=True),
        sa.Column("space_id", sa.Text(), nullable=True),
        sa.Column("start_time", sa.DateTime(), nullable=True),
        sa.Column("end_time", sa.DateTime(), nullable=True),
        schema="tippers",
        comment="one row per source row of a chunk that could not be used",
    )
    op.create_index(
        op.f("ix_tippers_session_reject_chunk"),
        "session_reject",
        ["chunk"],
        unique=False,
        schema="tippers",
    )
    op.create_table(
        "session_space",
        sa.Column("chunk", sa.Text(), nullable=False),
        sa.Column("space", sa.Text(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("fingerprint", sa.BigInteger(), nullable=False),
        sa.Column("known", sa.Boolean(), nullable=False, comment="false: rejected, no such space"),
        sa.PrimaryKeyConstraint("chunk", "space", name=op.f("pk_session_space")),
        schema="tippers",
        comment="one row per time chunk and space that its sessions name: their content",
    )
    op.create_table(
        "source_chunk",
        sa.Column("chunk", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("observed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("chunk", name=op.f("pk_source_chunk")),
        schema="tippers",
        comment="one row per time chunk: the last fingerprint seen in the source database",
    )
    op.create_table(
        "tracking",
        sa.Column("space_id", sa.Text(), nullable=False, comment="a root: its subtree is tracked"),
        sa.Column("start_date", sa.Date(), nullable=False),
        sa.Column("end_date", sa.Date(), nullable=False, comment="excluded"),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=True
        ),
        sa.CheckConstraint("start_date < end_date", name=op.f("ck_tracking_not_empty")),
        sa.PrimaryKeyConstraint("space_id", "start_date", "end_date", name=op.f("pk_tracking")),
        schema="tippers",
        comment="one row per tracked root space and range of dates",
    )
