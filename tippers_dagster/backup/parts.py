"""Which parts of a deployment a backup contains, and where they are."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from tippers_dagster.backup.dump import Place, Selection
from tippers_dagster.campus.source.changes import NOTES
from tippers_dagster.platform.lake import Lake, open_lake
from tippers_dagster.platform.lake.store import lake_at
from tippers_dagster.platform.postgres.databases import databases, libpq_url
from tippers_dagster.platform.warehouse.metadata import SCHEMA
from tippers_dagster.settings import Settings
from tippers_dagster.sql.log import SCHEMA as LOG
from tippers_dagster.sql.roles import ANSWERS, WRITTEN

MEANING = (
    *("timezone", "chunk", "open_session_seconds", "longest_session_seconds", "earliest_time"),
    *("latest_time", "observation_gap_seconds", "log_source", "own_realms", "anonymous_users"),
    *("source_schema", "session_table", "space_table", "space_metadata_table", "faculty_table"),
    *("coverage_table", "session_columns", "space_columns"),
)
"""Settings that results depend on: a deployment that has others would compute everything again."""

OTHER = (
    *("sql_engine", "refresh_default", "refresh_seconds", "automate_definitions"),
    *("builder_functions", "max_rejected_share", "smallest_count", "presence_days"),
    *("trusted_issuers", "role_claim", "default_role", "streamlit_user_header"),
)
"""Further settings of a deployment, without places, ports and secrets."""

LIVE: dict[str, tuple[Place, ...]] = {
    "warehouse": ((SCHEMA, "held_lock"),),
    "dagster": (("public", "daemon_heartbeats"),),
    "mlflow": (),
}
"""Tables of what is true only while a deployment runs: they are restored empty."""

MLFLOW_TABLES = frozenset(
    {
        *("experiments", "experiment_tags", "runs", "tags", "params", "metrics", "latest_metrics"),
        *("datasets", "inputs", "input_tags", "registered_models", "registered_model_tags"),
        *("registered_model_aliases", "model_versions", "model_version_tags", "logged_models"),
        *("logged_model_metrics", "logged_model_params", "logged_model_tags"),
    }
)
"""Runs and models. Traces, gateways and other things that tippers does not use are left out."""


def shaped_schemas(settings: Settings) -> frozenset[str]:
    """Schemas whose tables no migration creates, besides those of connections.

    The log's copy for PostgreSQL is not among them: runs fill it from the lake.
    """
    return frozenset({settings.source_schema, *WRITTEN, *ANSWERS} - {LOG})


def selections(settings: Settings) -> dict[str, Selection]:
    """What is copied of each database."""
    shaped = shaped_schemas(settings)
    # Without its triggers it would say that nothing changes.
    notes = settings.source_schema, NOTES

    def is_shaped(place: Place) -> bool:
        return place != notes and (place[0] in shaped or place[0].startswith("connection_"))

    return {
        "warehouse": Selection(
            lambda place: place[0] == SCHEMA or is_shaped(place),
            is_shaped,
            (SCHEMA, "alembic_version"),
        ),
        "dagster": Selection(
            lambda place: place[0] == "public", lambda _: False, ("public", "alembic_version")
        ),
        "mlflow": Selection(
            lambda place: place[0] == "public" and place[1] in MLFLOW_TABLES,
            lambda _: False,
            ("public", "alembic_version"),
        ),
    }


def mlflow_database(settings: Settings) -> str | None:
    """The libpq URL of MLflow's database; None if it is unknown. Never print it."""
    if settings.mlflow_url is None:
        return databases(settings).mlflow
    url = settings.mlflow_database_url
    return None if url is None else libpq_url(url.get_secret_value())


def artifacts_lake(settings: Settings) -> Lake | None:
    """Where an MLflow server keeps its artifacts; None: in the lake, or unknown."""
    if settings.mlflow_url is None or settings.mlflow_artifacts_url is None:
        return None
    return lake_at(settings, settings.mlflow_artifacts_url, "TIPPERS_MLFLOW_ARTIFACTS_URL")


def artifacts_root(settings: Settings) -> str:
    """What the places of artifacts in MLflow's records begin with."""
    if settings.mlflow_url is not None:
        return "mlflow-artifacts:"
    lake = settings.lake_url or str(settings.home_path / "lake")
    if not urlsplit(lake).scheme:
        lake = Path(lake).expanduser().absolute().as_uri()
    return f"{lake.rstrip('/')}/mlflow"


def lake_uri(settings: Settings) -> str:
    """The lake's place as the warehouse records it."""
    return open_lake(settings).uri()
