"""The warehouse table of model files."""

import sqlalchemy as sa

from tippers_dagster.platform.warehouse.metadata import metadata

model_file = sa.Table(
    "model_file",
    metadata,
    sa.Column("model", sa.Text, primary_key=True, comment="name in MLflow's registry"),
    sa.Column("version", sa.Integer, primary_key=True, comment="version in MLflow's registry"),
    sa.Column("asset_version", sa.Text, nullable=False, comment="version of the model's asset"),
    sa.Column("format", sa.Text, nullable=False, comment="skops or npz"),
    sa.Column(
        "path", sa.Text, nullable=False, comment="path of the file within the model in MLflow"
    ),
    sa.Column(
        "sha256", sa.Text, comment="null: registered by an earlier version, and not used since"
    ),
    sa.Column("bytes", sa.BigInteger, comment="size of the file; null like sha256"),
    sa.Column("recorded_at", sa.DateTime(timezone=True), comment="when the digest was recorded"),
    comment="one row per registered version of a model: the only file of it that is read",
)
