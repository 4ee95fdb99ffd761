"""The registry of vendor prefixes, as a campus loads it."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.create_table(
        "vendor_prefix",
        sa.Column("prefix", sa.Text(), nullable=False, comment="three octets, aa:bb:cc"),
        sa.Column("maker", sa.Text(), nullable=False, comment="as the registry spells it"),
        sa.PrimaryKeyConstraint("prefix", name=op.f("pk_vendor_prefix")),
        schema="tippers",
        comment="one row per vendor prefix of the registry that the campus has loaded",
    )
