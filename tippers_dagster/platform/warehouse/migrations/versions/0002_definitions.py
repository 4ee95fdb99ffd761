"""Tables for definitions, the state of their assets, and gold labels."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    _create_tables()
    _move_datasets()


def _move_datasets() -> None:
    """Turn datasets into definitions."""
    body = """jsonb_build_object('space', space_id, 'start', start_date, 'end', end_date,
        'interval_seconds', interval_seconds)"""
    op.execute(
        f"""INSERT INTO tippers.definition (kind, concept, name, namespace, description, owner,
            status, version, body, updated_at, updated_by)
        SELECT 'dataset', '', name, 'dataset.', description, owner, 'active', 1, {body},
            created_at, owner
        FROM tippers.dataset"""
    )
    op.execute(
        f"""INSERT INTO tippers.definition_version (kind, concept, name, version, action,
            description, owner, status, body, changed_at, changed_by)
        SELECT 'dataset', '', name, 1, 'create', description, owner, 'active', {body},
            created_at, owner
        FROM tippers.dataset"""
    )
    op.drop_table("dataset", schema="tippers")


def _create_tables() -> None:
    op.create_table(
        "asset_state",
        sa.Column("asset", sa.Text(), nullable=False, comment="its key, parts joined by slashes"),
        sa.Column(
            "version",
            sa.Text(),
            nullable=True,
            comment="of what it was last computed from; null: never",
        ),
        sa.Column("materialized_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("rows", sa.BigInteger(), nullable=True),
        sa.Column(
            "details", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False
        ),
        sa.Column("failed_version", sa.Text(), nullable=True, comment="that could not be computed"),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("asset", name=op.f("pk_asset_state")),
        schema="tippers",
        comment="one row per asset of the definitions: what it was computed from, why it was not",
    )
    op.create_table(
        "definition",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column(
            "concept", sa.Text(), server_default="", nullable=False, comment="empty: in none"
        ),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "namespace",
            sa.Text(),
            nullable=False,
            comment="the concept; in none: the kind before a dot",
        ),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("owner", sa.Text(), server_default="", nullable=False),
        sa.Column("status", sa.Text(), server_default="active", nullable=False),
        sa.Column(
            "version", sa.Integer(), nullable=False, comment="grows by one with every change"
        ),
        sa.Column(
            "body",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="catalog/kinds.py says what it holds",
        ),
        sa.Column(
            "reads",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="[]",
            nullable=False,
            comment="concept.name of each definition that its SQL text reads",
        ),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False),
        sa.CheckConstraint("status IN ('active', 'retired')", name=op.f("ck_definition_status")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_definition")),
        sa.UniqueConstraint("namespace", "name", name=op.f("uq_definition_namespace")),
        schema="tippers",
        comment="one row per definition, in its current version",
    )
    op.create_table(
        "definition_version",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("concept", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column(
            "action", sa.Text(), nullable=False, comment="create, change, retire, delete ..."
        ),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("body", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "reads", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False
        ),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint(
            "kind", "concept", "name", "version", name=op.f("pk_definition_version")
        ),
        schema="tippers",
        comment="one row per version of a definition, those of deleted ones included",
    )
    op.create_table(
        "gold_label",
        sa.Column("concept", sa.Text(), nullable=False),
        sa.Column("entity", sa.Text(), nullable=False, comment="the key, as text"),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("labelled_by", sa.Text(), nullable=False),
        sa.Column("labelled_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("concept", "entity", name=op.f("pk_gold_label")),
        schema="tippers",
        comment="one row per entity of a concept whose label a person knows",
    )
    op.create_table(
        "label_model_score",
        sa.Column("concept", sa.Text(), nullable=False),
        sa.Column("label_model", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False, comment="of the label model's asset"),
        sa.Column("scored_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("entities", sa.BigInteger(), nullable=False, comment="with a gold label"),
        sa.Column("accuracy", sa.Double(), nullable=False),
        sa.Column("macro_f1", sa.Double(), nullable=False),
        sa.Column("majority_accuracy", sa.Double(), nullable=False, comment="of the majority vote"),
        sa.Column("calibration_error", sa.Double(), nullable=False),
        sa.Column(
            "details",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
            comment="confusion, calibration ...",
        ),
        sa.PrimaryKeyConstraint(
            "concept", "label_model", "version", "scored_at", name=op.f("pk_label_model_score")
        ),
        schema="tippers",
        comment="one row per materialization of a label model that has gold labels",
    )
    op.create_table(
        "source_token",
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column(
            "token", sa.Text(), nullable=False, comment="differs whenever the rows may differ"
        ),
        sa.Column("observed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("asset", name=op.f("pk_source_token")),
        schema="tippers",
        comment="one row per source table that definitions read: its content as last looked at",
    )
