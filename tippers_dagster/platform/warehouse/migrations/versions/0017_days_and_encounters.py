"""Comments: more assets have a partition per time chunk, and a range may be tracked without a
space.
"""

from alembic import op

revision = "0017"
down_revision = "0016"

_SPACE = {
    "partition_figures": "empty for assets per time chunk",
    "replacing": "empty for assets per time chunk",
    "tracking": "root space, whose subtree is tracked; empty: the log only",
}


def upgrade() -> None:
    for table, comment in _SPACE.items():
        op.alter_column(
            table, "space_id" if table == "tracking" else "space", comment=comment, schema="tippers"
        )
    op.create_table_comment(
        "tracking",
        "one row per tracked root space, or the log only, and range of dates",
        schema="tippers",
    )
