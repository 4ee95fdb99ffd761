"""Tables for registered models and their predictions."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "model_decision",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False, comment="its name in MLflow's registry"),
        sa.Column("version", sa.Integer(), nullable=False, comment="that was judged or chosen"),
        sa.Column("champion_before", sa.Integer(), comment="null: there was none"),
        sa.Column("decision", sa.Text(), nullable=False, comment="promoted, kept or rolled_back"),
        sa.Column("automatic", sa.Boolean(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False, comment="who, or the Dagster run"),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "applied_at", sa.DateTime(timezone=True), comment="null: the alias is to be moved"
        ),
        sa.Column("metric", sa.Text(), comment="by which it was judged"),
        sa.Column("margin", sa.Double()),
        sa.Column("score", sa.Double(), comment="of the version, on the held-out entities"),
        sa.Column("champion_score", sa.Double(), comment="of the champion before, on the same"),
        sa.Column("majority_score", sa.Double(), comment="of the commonest label for all"),
        sa.Column("entities", sa.BigInteger(), comment="held out, with a confident label"),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("details", JSONB(), nullable=False, server_default="{}"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_decision")),
        schema="tippers",
        comment="one row per decision about which version of a model is champion",
    )
    op.create_index(
        "ix_model_decision_judged_once",
        "model_decision",
        ["model", "version"],
        unique=True,
        schema="tippers",
        postgresql_where=sa.text("automatic"),
    )
    op.create_table(
        "prediction_drift",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False, comment="of the run that predicted"),
        sa.Column("what", sa.Text(), nullable=False, comment="feature or label"),
        sa.Column("name", sa.Text(), nullable=False, comment="of the column; of the label: label"),
        sa.Column("model_version", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "psi", sa.Double(), comment="population stability index; null: nothing to compare"
        ),
        sa.Column("threshold", sa.Double(), comment="above which it has drifted"),
        sa.Column("missing_before", sa.Double(), comment="share of missing values at training"),
        sa.Column("missing_now", sa.Double()),
        sa.Column("drifted", sa.Boolean(), nullable=False),
        sa.Column("details", JSONB(), nullable=False, server_default="{}", comment="shares by bin"),
        sa.PrimaryKeyConstraint(
            "model", "run_id", "what", "name", name=op.f("pk_prediction_drift")
        ),
        schema="tippers",
        comment="one row per column of a prediction: how it differs from training",
    )
