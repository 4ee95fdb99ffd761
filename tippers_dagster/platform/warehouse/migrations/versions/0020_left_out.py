"""How many rows of a log its mapping leaves out."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.add_column(
        "ingested_file",
        sa.Column(
            "left_out",
            sa.BigInteger(),
            nullable=False,
            server_default=sa.text("0"),
            comment="rows that do not count, by the mapping",
        ),
        schema="tippers",
    )
