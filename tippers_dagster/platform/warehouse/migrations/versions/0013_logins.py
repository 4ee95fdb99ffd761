"""The logins that roles belong to."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Make a role that was given to an address an invitation until the first login."""
    for column in (
        sa.Column("issuer", sa.Text(), comment="of the login; none: nobody has logged in yet"),
        sa.Column("subject", sa.Text(), comment="who it is, as the issuer says"),
        sa.Column("bound_at", sa.DateTime(timezone=True), comment="when they first logged in"),
    ):
        op.add_column("person_role", column, schema="tippers")
    op.alter_column(
        "person_role",
        "email",
        existing_type=sa.Text(),
        existing_nullable=False,
        comment="that the role was given to, lower case",
        existing_comment="lower case, as the login says it",
        schema="tippers",
    )
    op.create_unique_constraint(
        op.f("uq_person_role_issuer"), "person_role", ["issuer", "subject"], schema="tippers"
    )
    op.create_check_constraint(
        op.f("ck_person_role_bound"),
        "person_role",
        "(issuer IS NULL) = (subject IS NULL)",
        schema="tippers",
    )
