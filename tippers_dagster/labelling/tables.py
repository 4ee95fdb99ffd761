"""Warehouse tables of gold labels and scores."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from tippers_dagster.platform.warehouse.metadata import metadata

gold_label = sa.Table(
    "gold_label",
    metadata,
    sa.Column("concept", sa.Text, primary_key=True),
    sa.Column("entity", sa.Text, primary_key=True, comment="key of the entity, as text"),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("labelled_by", sa.Text, nullable=False),
    sa.Column("labelled_at", sa.DateTime(timezone=True), nullable=False),
    comment="one row per entity of a concept with a gold label",
)

label_model_score = sa.Table(
    "label_model_score",
    metadata,
    sa.Column("concept", sa.Text, primary_key=True),
    sa.Column("label_model", sa.Text, primary_key=True),
    sa.Column("version", sa.Text, primary_key=True, comment="version of the label model's asset"),
    sa.Column("scored_at", sa.DateTime(timezone=True), primary_key=True),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column(
        "entities", sa.BigInteger, nullable=False, comment="number of entities with a gold label"
    ),
    sa.Column("accuracy", sa.Double, nullable=False),
    sa.Column("macro_f1", sa.Double, nullable=False),
    sa.Column(
        "majority_accuracy", sa.Double, nullable=False, comment="accuracy of the majority vote"
    ),
    sa.Column("calibration_error", sa.Double, nullable=False),
    sa.Column(
        "details",
        JSONB,
        nullable=False,
        server_default="{}",
        comment="confusion matrix, calibration ...",
    ),
    comment="one row per materialization of a label model with gold labels",
)
