"""MLflow's store of runs and models: where it is, and how this process uses it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import sqlalchemy as sa

from tippers_dagster.platform.dagster.addresses import is_server
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.platform.warehouse.engine import sqlalchemy_url, warehouse_engine
from tippers_dagster.settings import Settings

REQUEST_SECONDS = 10
REQUEST_RETRIES = 2
"""MLflow's own defaults are two minutes and seven retries."""

NOT_CONFIGURED = "No MLflow server is configured: set TIPPERS_MLFLOW_URL."


def tracking_uri(settings: Settings) -> str | None:
    """MLflow's store: a server, or a database of the embedded server; None if there is none.

    Never print it: it may contain a password.
    """
    if settings.mlflow_url is not None:
        return settings.mlflow_url
    embedded = databases(settings).mlflow
    return None if embedded is None else sqlalchemy_url(embedded)


def shorten_timeouts(uri: str) -> None:
    """Make an unresponsive server or database an error soon, not after minutes."""
    from mlflow import environment_variables as variables

    if not is_server(uri):
        engine = sa.create_engine(uri)
        engine.connect().close()
        engine.dispose()
    if not variables.MLFLOW_HTTP_REQUEST_TIMEOUT.is_set():
        variables.MLFLOW_HTTP_REQUEST_TIMEOUT.set(REQUEST_SECONDS)
    if not variables.MLFLOW_HTTP_REQUEST_MAX_RETRIES.is_set():
        variables.MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(REQUEST_RETRIES)


def use_store(settings: Settings, uri: str) -> None:
    """Set this process's MLflow to this store and the lake's S3 server; forbid unsafe loading."""
    import mlflow
    from mlflow import environment_variables as variables

    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)  # otherwise it keeps an earlier value
    variables.MLFLOW_ALLOW_PICKLE_DESERIALIZATION.set(False)  # pickles, and skops of foreign types
    if settings.s3_endpoint_url is not None and not variables.MLFLOW_S3_ENDPOINT_URL.is_set():
        variables.MLFLOW_S3_ENDPOINT_URL.set(settings.s3_endpoint_url)


@contextmanager
def first_use(settings: Settings) -> Iterator[None]:
    """One process at a time: MLflow creates its tables at first use."""
    with warehouse_engine(settings).begin() as connection:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtextextended('mlflow', 0))"))
        yield


def make_experiment(settings: Settings, uri: str, experiment: str) -> None:
    """Create the experiment; without a server, its artifacts are kept in the lake.

    One process at a time: MLflow creates its tables at first use, where two processes would
    conflict.
    """
    import mlflow

    use_store(settings, uri)
    with first_use(settings):
        if mlflow.get_experiment_by_name(experiment) is None:
            place = None if is_server(uri) else _artifacts(settings, experiment)
            mlflow.create_experiment(experiment, artifact_location=place)


def _artifacts(settings: Settings, experiment: str) -> str:
    lake = settings.lake_url or str(settings.home_path / "lake")
    if not urlsplit(lake).scheme:
        lake = Path(lake).expanduser().absolute().as_uri()
    return f"{lake.rstrip('/')}/mlflow/{experiment}"
