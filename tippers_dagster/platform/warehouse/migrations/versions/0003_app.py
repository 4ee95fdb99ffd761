"""Tables for the app: positions of nodes on the canvas, and users' roles."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "canvas_position",
        sa.Column("concept", sa.Text(), nullable=False, comment="whose picture it is"),
        sa.Column("node", sa.Text(), nullable=False, comment="its asset, parts joined by slashes"),
        sa.Column("x", sa.Double(), nullable=False, comment="pixels at zoom 1, to the right"),
        sa.Column("y", sa.Double(), nullable=False, comment="pixels at zoom 1, downwards"),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("concept", "node", name=op.f("pk_canvas_position")),
        schema="tippers",
        comment="one row per node that somebody moved in the picture of a concept",
    )
    op.create_table(
        "person_role",
        sa.Column("email", sa.Text(), nullable=False, comment="lower case, as the login says it"),
        sa.Column("role", sa.Text(), nullable=False, comment="viewer, analyst or admin"),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("email", name=op.f("pk_person_role")),
        schema="tippers",
        comment="one row per person who was given a role",
    )
