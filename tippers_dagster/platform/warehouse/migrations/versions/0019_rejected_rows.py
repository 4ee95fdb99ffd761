"""What rows said that were rejected when sessions were extracted."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.add_column(
        "session_reject",
        sa.Column(
            "row",
            sa.Text(),
            comment="JSON: the row of a log source as it was read, without user names",
        ),
        schema="tippers",
    )
