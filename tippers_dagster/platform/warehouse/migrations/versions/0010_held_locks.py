"""The holders of locks."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "held_lock",
        sa.Column(
            "name", sa.Text(), nullable=False, comment="of what is locked, or 'run ' and its id"
        ),
        sa.Column("token", sa.BigInteger(), nullable=False, comment="another one each time"),
        sa.Column(
            "place", sa.Text(), nullable=False, comment="host and process namespace of the holder"
        ),
        sa.Column("pid", sa.BigInteger(), nullable=False),
        sa.Column(
            "began", sa.Double(), nullable=False, comment="start of the process, Unix seconds"
        ),
        sa.Column(
            "taken_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("name", "token", name=op.f("pk_held_lock")),
        schema="tippers",
        comment="one row per lock that a process holds, or held when it was killed",
    )
