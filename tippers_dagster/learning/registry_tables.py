"""Warehouse tables of the registry and of predictions."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from tippers_dagster.platform.warehouse.metadata import metadata

model_decision = sa.Table(
    "model_decision",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("model", sa.Text, nullable=False, comment="name in MLflow's registry"),
    sa.Column("version", sa.Integer, nullable=False, comment="version that was compared or chosen"),
    sa.Column("champion_before", sa.Integer, comment="null: none"),
    sa.Column("decision", sa.Text, nullable=False, comment="promoted, kept or rolled_back"),
    sa.Column("automatic", sa.Boolean, nullable=False),
    sa.Column("by", sa.Text, nullable=False, comment="user or Dagster run"),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    sa.Column(
        "applied_at", sa.DateTime(timezone=True), comment="null: the alias has not been moved yet"
    ),
    sa.Column("metric", sa.Text, comment="metric of the comparison"),
    sa.Column("margin", sa.Double),
    sa.Column("score", sa.Double, comment="score of the version on the held-out entities"),
    sa.Column(
        "champion_score", sa.Double, comment="score of the previous champion on the same entities"
    ),
    sa.Column("majority_score", sa.Double, comment="score of the majority class"),
    sa.Column(
        "entities", sa.BigInteger, comment="number of held-out entities with a confident label"
    ),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("details", JSONB, nullable=False, server_default="{}"),
    comment="one row per decision about the champion of a model",
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
    sa.Column("run_id", sa.Text, primary_key=True, comment="Dagster run that predicted"),
    sa.Column("what", sa.Text, primary_key=True, comment="feature or label"),
    sa.Column("name", sa.Text, primary_key=True, comment="name of the column; of the label: label"),
    sa.Column("model_version", sa.Integer, nullable=False),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("psi", sa.Double, comment="population stability index; null: nothing to compare"),
    sa.Column("threshold", sa.Double, comment="drift above this"),
    sa.Column("missing_before", sa.Double, comment="share of missing values in training"),
    sa.Column("missing_now", sa.Double),
    sa.Column("drifted", sa.Boolean, nullable=False),
    sa.Column("details", JSONB, nullable=False, server_default="{}", comment="shares by bin"),
    comment="one row per column of a prediction: its drift since training",
)
