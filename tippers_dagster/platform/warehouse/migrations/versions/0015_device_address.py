"""Devices' addresses in one form: a table of them, gold labels, and chunks counted before that.

Sessions are extracted again after the upgrade, under normalised addresses. Sealed chunks cannot be:
they are marked.
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

_FORM = r"""
    CASE WHEN btrim(lower(entity), E' \t\n\r') ~ '^[0-9a-f]{2}([-:. ]?[0-9a-f]{2}){5}$'
        AND btrim(entity, E' \t\n\r') !~ '^[0-9]{12}$'
    THEN regexp_replace(
        regexp_replace(btrim(lower(entity), E' \t\n\r'), '[-:. ]', '', 'g'),
        '^(..)(..)(..)(..)(..)(..)$', '\1:\2:\3:\4:\5:\6')
    ELSE entity END
"""
"""The form of an entity's key in which gold labels are stored from now on."""


def upgrade() -> None:
    _join_spellings_of_gold()
    op.create_table(
        "device_address",
        sa.Column(
            "device",
            sa.BigInteger(),
            autoincrement=False,
            nullable=False,
            comment="device id in the lake, as a signed integer",
        ),
        sa.Column("mac_address", sa.Text(), nullable=False, comment="normalised"),
        sa.PrimaryKeyConstraint("device", name=op.f("pk_device_address")),
        schema="tippers",
        comment="one row per device of the log: from its id in the lake to its address",
    )
    op.add_column(
        "partition_figures",
        sa.Column(
            "log_fingerprint",
            sa.BigInteger(),
            comment="sessions only: of the rows that start in the chunk, as labelling reads them",
        ),
        schema="tippers",
    )
    # What is sealed now was counted from addresses as they were spelled, and stays as it is.
    op.add_column(
        "sealed_chunk",
        sa.Column(
            "before_normalising",
            sa.Boolean(),
            nullable=False,
            server_default=sa.true(),
            comment="counted before device addresses were normalised: a device in several "
            "spellings counted as several; the fingerprint does not cover access points",
        ),
        schema="tippers",
    )
    op.alter_column(
        "sealed_chunk", "before_normalising", server_default=sa.false(), schema="tippers"
    )


def _join_spellings_of_gold() -> None:
    """The newest label of an entity stays."""
    op.execute(
        "DELETE FROM tippers.gold_label g USING "
        "(SELECT concept, entity, row_number() OVER (PARTITION BY concept, form "
        "ORDER BY labelled_at DESC, entity) AS place "
        f"FROM (SELECT concept, entity, labelled_at, {_FORM} AS form "
        "FROM tippers.gold_label) forms) ranked "
        "WHERE ranked.place > 1 AND g.concept = ranked.concept AND g.entity = ranked.entity"
    )
    op.execute(f"UPDATE tippers.gold_label SET entity = {_FORM} WHERE entity <> {_FORM}")
