"""Records of model files, so that only recorded files are read.

Models registered earlier are recorded without a digest. It is computed when they are first used,
since their format cannot execute code. Trained models of forecasters are not recorded: their assets
are stale after the upgrade, and train again.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_table(
        "model_file",
        sa.Column("model", sa.Text(), nullable=False, comment="its name in MLflow's registry"),
        sa.Column("version", sa.Integer(), nullable=False, comment="in MLflow's registry"),
        sa.Column(
            "asset_version",
            sa.Text(),
            nullable=False,
            comment="of the asset it is the model of",
        ),
        sa.Column(
            "format",
            sa.Text(),
            nullable=False,
            comment="which reader takes it: skops or npz",
        ),
        sa.Column(
            "path",
            sa.Text(),
            nullable=False,
            comment="of the file below the model in MLflow",
        ),
        sa.Column(
            "sha256",
            sa.Text(),
            comment="null: from before digests were kept, and not used since",
        ),
        sa.Column("bytes", sa.BigInteger(), comment="size of the file; null as sha256"),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            comment="when the digest was recorded",
        ),
        sa.PrimaryKeyConstraint("model", "version", name=op.f("pk_model_file")),
        schema="tippers",
        comment="one row per registered version of a model: the one file of it that is ever read",
    )
    op.execute(
        "INSERT INTO tippers.model_file (model, version, asset_version, format, path) "
        "SELECT DISTINCT ON (1, 2) concept || '.' || classifier, registered, version, "
        "'skops', 'model.skops' FROM tippers.classifier_result "
        "WHERE registered IS NOT NULL ORDER BY 1, 2, at DESC"
    )
    op.execute(
        "INSERT INTO tippers.model_file (model, version, asset_version, format, path) "
        "SELECT DISTINCT model, version, '', 'skops', 'model.skops' "
        "FROM tippers.model_decision ON CONFLICT DO NOTHING"
    )
    op.create_table(
        "forecast_work_file",
        sa.Column("forecaster", sa.Text(), nullable=False),
        sa.Column("work", sa.Text(), nullable=False, comment="folder of trained models"),
        sa.Column("file", sa.Text(), nullable=False, comment="its name in the folder"),
        sa.Column("sha256", sa.Text(), nullable=False, comment="of its content"),
        sa.PrimaryKeyConstraint("forecaster", "work", "file", name=op.f("pk_forecast_work_file")),
        schema="tippers",
        comment="one row per file of trained models of a forecaster: what it must hold",
    )
