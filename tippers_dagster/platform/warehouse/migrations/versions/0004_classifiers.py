"""Tables for classifiers."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0004"
down_revision = "0003"

_KEY = ("concept", "classifier", "version", "run_id")
_JUDGED_ON = ("cross_validated", "held_out", "gold")
_METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "calibration_error")


def upgrade() -> None:
    op.create_table(
        "classifier_result",
        sa.Column("concept", sa.Text(), nullable=False),
        sa.Column("classifier", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False, comment="of the classifier's asset"),
        sa.Column("run_id", sa.Text(), nullable=False, comment="of the Dagster run"),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("best", sa.Text(), nullable=False, comment="the model that ranks first"),
        sa.Column("metric", sa.Text(), nullable=False, comment="by which models are ranked first"),
        sa.Column("threshold", sa.Double(), nullable=False, comment="the one in use"),
        sa.Column("trained", sa.BigInteger(), nullable=False, comment="entities trained on"),
        sa.Column(
            "held_out", sa.BigInteger(), nullable=False, comment="of them with a confident label"
        ),
        sa.Column("gold", sa.BigInteger(), nullable=False, comment="held out, with a gold label"),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("mlflow_run", sa.Text()),
        sa.Column("registered", sa.Integer(), comment="version of the registered model"),
        sa.Column(
            "details",
            JSONB(),
            nullable=False,
            server_default="{}",
            comment="steps, counts, confusion ..",
        ),
        sa.PrimaryKeyConstraint(*_KEY, name=op.f("pk_classifier_result")),
        schema="tippers",
        comment="one row per materialization of a classifier",
    )
    op.create_table(
        "classifier_model_result",
        sa.Column("concept", sa.Text(), nullable=False),
        sa.Column("classifier", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False, comment="of the bank"),
        sa.Column("rank", sa.Integer(), nullable=False, comment="from 1"),
        sa.Column("status", sa.Text(), nullable=False, comment="trained, failed or left out"),
        sa.Column("error", sa.Text(), comment="why it was not trained"),
        sa.Column("seconds", sa.Double(), comment="of training, on one thread"),
        *(
            sa.Column(
                f"{judged}_{metric}", sa.Double(), comment="null: there is nothing to judge it on"
            )
            for judged in _JUDGED_ON
            for metric in _METRICS
        ),
        sa.ForeignKeyConstraint(
            _KEY,
            [f"tippers.classifier_result.{column}" for column in _KEY],
            ondelete="CASCADE",
            name=op.f("fk_classifier_model_result_of"),
        ),
        sa.PrimaryKeyConstraint(*_KEY, "model", name=op.f("pk_classifier_model_result")),
        schema="tippers",
        comment="one row per materialization of a classifier and model of its bank",
    )
