"""Requests to MLflow outside a materialisation's run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from tippers_dagster.errors import TippersError
from tippers_dagster.platform.mlflow.store import (
    NOT_CONFIGURED,
    first_use,
    shorten_timeouts,
    tracking_uri,
    use_store,
)
from tippers_dagster.platform.redaction import redact
from tippers_dagster.settings import Settings

_ready: set[str] = set()
"""Stores whose tables this process has created or seen."""


class MlflowUnavailable(TippersError):
    """MLflow is unavailable or refuses a request; nothing can be done without it."""


@contextmanager
def mlflow_client(settings: Settings) -> Iterator[Any]:
    """An ``MlflowClient`` of the deployment's store of runs and models.

    Keep only client calls in the block: other errors in it would be blamed on MLflow.

    Raises
    ------
    MlflowAway
        When there is no MLflow, it cannot be reached, or it refuses.
    """
    uri = tracking_uri(settings)
    if uri is None:
        raise MlflowUnavailable(NOT_CONFIGURED, "The model registry is kept there.")
    from botocore.exceptions import BotoCoreError, ClientError
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient
    from requests.exceptions import RequestException

    try:
        shorten_timeouts(uri)
        use_store(settings, uri)
        client = MlflowClient(uri, uri)
        if uri not in _ready:
            with first_use(settings):
                client.search_registered_models(max_results=1)
            _ready.add(uri)
        yield client
    except (
        *(MlflowException, RequestException, sa.exc.SQLAlchemyError, OSError),
        *(BotoCoreError, ClientError),  # artifacts may be in S3
    ) as error:
        first = " ".join(str(error).strip().splitlines()[:1])
        reason = redact(f"{type(error).__name__}: {first}", settings)
        raise MlflowUnavailable(
            f"MLflow request failed: {reason}",
            "Check with `tippers doctor` whether it can be reached; TIPPERS_MLFLOW_URL is its "
            "address.",
        ) from error
