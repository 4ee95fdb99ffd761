"""The warehouse table of users' roles."""

import sqlalchemy as sa

from tippers_dagster.platform.warehouse.metadata import metadata

person_role = sa.Table(
    "person_role",
    metadata,
    sa.Column("email", sa.Text, primary_key=True, comment="that the role was given to, lower case"),
    sa.Column("role", sa.Text, nullable=False, comment="viewer, analyst or admin"),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("issuer", sa.Text, comment="of the login; none: nobody has logged in yet"),
    sa.Column("subject", sa.Text, comment="who it is, as the issuer says"),
    sa.Column("bound_at", sa.DateTime(timezone=True), comment="when they first logged in"),
    sa.UniqueConstraint("issuer", "subject"),
    sa.CheckConstraint("(issuer IS NULL) = (subject IS NULL)", name="bound"),
    comment="one row per person who was given a role",
)
