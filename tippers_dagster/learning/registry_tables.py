"""Warehouse tables of the registry and of predictions."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from tippers_dagster.platform.warehouse.metadata import metadata

model_decision = sa.Table(
    "model_decision",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("model", sa.Text, nullable=False, comment="its name in MLflow's registry"),
    sa.Column("version", sa.Integer, nullable=False, comment="that was judged or chosen"),
    sa.Column("champion_before", sa.Integer, comment="null: there was none"),
    sa.Column("decision", sa.Text, nullable=False, comment="promoted, kept or rolled_back"),
    sa.Column("automatic", sa.Boolean, nullable=False),
    sa.Column("by", sa.Text, nullable=False, comment="who, or the Dagster run"),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("applied_at", sa.DateTime(timezone=True), comment="null: the alias is to be moved"),
    sa.Column("metric", sa.Text, comment="by which it was judged"),
    sa.Column("margin", sa.Double),
    sa.Column("score", sa.Double, comment="of the version, on the held-out entities"),
    sa.Column("champion_score", sa.Double, comment="of the champion before, on the same"),
    sa.Column("majority_score", sa.Double, comment="of the commonest label for all"),
    sa.Column("entities", sa.BigInteger, comment="held out, with a confident label"),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("details", JSONB, nullable=False, server_default="{}"),
    comment="one row per decision about which version of a model is champion",
)

sa.Index(
    "ix_model_decision_judged_once",
    model_decision.c.model,
    model_decision.c.version,
    unique=True,
    postgresql_where=model_decision.c.automatic,
)

prediction_drift = sa.Table(
    "prediction_drift",
    metadata,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("run_id", sa.Text, primary_key=True, comment="of the run that predicted"),
    sa.Column("what", sa.Text, primary_key=True, comment="feature or label"),
    sa.Column("name", sa.Text, primary_key=True, comment="of the column; of the label: label"),
    sa.Column("model_version", sa.Integer, nullable=False),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("psi", sa.Double, comment="population stability index; null: nothing to compare"),
    sa.Column("threshold", sa.Double, comment="above which it has drifted"),
    sa.Column("missing_before", sa.Double, comment="share of missing values at training"),
    sa.Column("missing_now", sa.Double),
    sa.Column("drifted", sa.Boolean, nullable=False),
    sa.Column("details", JSONB, nullable=False, server_default="{}", comment="shares by bin"),
    comment="one row per column of a prediction: how it differs from training",
)
