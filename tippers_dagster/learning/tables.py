"""Warehouse tables of classifiers; those of the registry are in ``registry_tables.py``."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

import tippers_dagster.learning.registry_tables  # noqa: F401 - all tables of the domain
from tippers_dagster.learning.scores import METRICS
from tippers_dagster.platform.warehouse.metadata import metadata

EVALUATED_ON = ("cross_validated", "held_out", "gold")
"""Training rows, out of fold; held-out entities, by the label model's labels and by gold labels."""

classifier_result = sa.Table(
    "classifier_result",
    metadata,
    sa.Column("concept", sa.Text, primary_key=True),
    sa.Column("classifier", sa.Text, primary_key=True),
    sa.Column("version", sa.Text, primary_key=True, comment="version of the classifier's asset"),
    sa.Column("run_id", sa.Text, primary_key=True, comment="Dagster run"),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("best", sa.Text, nullable=False, comment="model that ranks first"),
    sa.Column("metric", sa.Text, nullable=False, comment="metric of the ranking"),
    sa.Column("threshold", sa.Double, nullable=False, comment="confidence threshold in use"),
    sa.Column(
        "trained", sa.BigInteger, nullable=False, comment="number of entities in the training set"
    ),
    sa.Column(
        "held_out",
        sa.BigInteger,
        nullable=False,
        comment="number of held-out entities with a confident label",
    ),
    sa.Column(
        "gold",
        sa.BigInteger,
        nullable=False,
        comment="number of held-out entities with a gold label",
    ),
    sa.Column("seconds", sa.Double, nullable=False),
    sa.Column("mlflow_run", sa.Text),
    sa.Column("registered", sa.Integer, comment="version of the registered model"),
    sa.Column(
        "details",
        JSONB,
        nullable=False,
        server_default="{}",
        comment="steps, counts, confusion matrix ...",
    ),
    comment="one row per materialization of a classifier",
)

classifier_model_result = sa.Table(
    "classifier_model_result",
    metadata,
    sa.Column("concept", sa.Text, primary_key=True),
    sa.Column("classifier", sa.Text, primary_key=True),
    sa.Column("version", sa.Text, primary_key=True),
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, primary_key=True, comment="model of the bank"),
    sa.Column("rank", sa.Integer, nullable=False, comment="rank, from 1"),
    sa.Column("status", sa.Text, nullable=False, comment="trained, failed or left out"),
    sa.Column("error", sa.Text, comment="why it was not trained"),
    sa.Column("seconds", sa.Double, comment="training time on one thread"),
    *(
        sa.Column(f"{judged}_{metric}", sa.Double, comment="null: nothing to evaluate on")
        for judged in EVALUATED_ON
        for metric in METRICS
    ),
    sa.ForeignKeyConstraint(
        ["concept", "classifier", "version", "run_id"],
        [
            "tippers.classifier_result.concept",
            "tippers.classifier_result.classifier",
            "tippers.classifier_result.version",
            "tippers.classifier_result.run_id",
        ],
        ondelete="CASCADE",
        name="fk_classifier_model_result_of",
    ),
    comment="one row per materialization of a classifier and model of its bank",
)
