"""The warehouse table of model files."""

import sqlalchemy as sa

from tippers_dagster.platform.warehouse.metadata import metadata

model_file = sa.Table(
    "model_file",
    metadata,
    sa.Column("model", sa.Text, primary_key=True, comment="its name in MLflow's registry"),
    sa.Column("version", sa.Integer, primary_key=True, comment="in MLflow's registry"),
    sa.Column("asset_version", sa.Text, nullable=False, comment="of the asset it is the model of"),
    sa.Column("format", sa.Text, nullable=False, comment="which reader takes it: skops or npz"),
    sa.Column("path", sa.Text, nullable=False, comment="of the file below the model in MLflow"),
    sa.Column("sha256", sa.Text, comment="null: from before digests were kept, and not used since"),
    sa.Column("bytes", sa.BigInteger, comment="size of the file; null as sha256"),
    sa.Column("recorded_at", sa.DateTime(timezone=True), comment="when the digest was recorded"),
    comment="one row per registered version of a model: the one file of it that is ever read",
)
