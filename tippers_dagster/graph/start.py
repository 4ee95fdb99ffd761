"""Starts and cancels runs of definition assets in the running deployment."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tippers_dagster.errors import BadInput, TippersError
from tippers_dagster.graph.reload import LOCATION
from tippers_dagster.platform.dagster.addresses import web_address
from tippers_dagster.platform.dagster.internals import ASSET_JOB, REPOSITORY
from tippers_dagster.platform.redaction import redact
from tippers_dagster.settings import Settings

if TYPE_CHECKING:
    from dagster_graphql import DagsterGraphQLClient

BY_TAG = "tippers/by"
"""Tag with the user who started a run."""

ANSWER_SECONDS = 60
"""A web server that does not answer within this counts as unavailable."""

START_SECONDS = 30
"""How long to wait for a run's process to start before trying to cancel the run anyway."""

_FINISHED = ("SUCCESS", "FAILURE", "CANCELED")


def start_run(
    settings: Settings, names: Collection[str], *, by: str, tags: Mapping[str, str] | None = None
) -> str:
    """Start a run of some assets in the running deployment; returns the run's id.

    Parameters
    ----------
    names
        Names of the assets, such as ``device/devices``.
    by
        The user who starts it.
    tags
        Other tags of the run.

    Raises
    ------
    TippersError
        When the deployment is not running, or does not start the run.
    """
    if not names:
        raise BadInput("There is nothing to compute.")
    address = _address(settings)
    from dagster_graphql import DagsterGraphQLClientError  # takes seconds to import

    try:
        return _client(address).submit_job_execution(
            ASSET_JOB,
            repository_location_name=LOCATION,
            repository_name=REPOSITORY,
            asset_selection=[name.split("/") for name in sorted(names)],
            tags={**(tags or {}), BY_TAG: by},
        )
    except (DagsterGraphQLClientError, OSError) as error:
        reason = redact(str(error).splitlines()[0], settings)
        raise TippersError(
            f"Dagster did not start the run: {reason}", "Its Runs page has details."
        ) from error


def stop_run(settings: Settings, run_id: str) -> None:
    """Cancel a run in the running deployment; assets that it has computed are kept.

    Dagster cannot cancel a run whose process is starting, so this waits until it has started.

    Raises
    ------
    TippersError
        When the deployment is not running, or the run cannot be cancelled, as it has finished.
    """
    address = _address(settings)
    from dagster_graphql import DagsterGraphQLClientError  # takes seconds to import

    try:
        client = _client(address)
        status = _started_status(client, run_id)
        if status in _FINISHED:
            raise TippersError(f"The run has already finished: {status.lower()}.")
        client.terminate_run(run_id)
    except (DagsterGraphQLClientError, OSError) as error:
        reason = redact(str(error).splitlines()[0], settings)
        raise TippersError(
            f"Dagster did not cancel the run: {reason}", "Its Runs page has details."
        ) from error


def _started_status(client: DagsterGraphQLClient, run_id: str) -> str:
    """The status of a run once its process has started, or failed to."""
    until = time.monotonic() + START_SECONDS
    while True:
        status: str = client.get_run_status(run_id).value
        if status != "STARTING" or time.monotonic() > until:
            return status
        time.sleep(0.25)


def _address(settings: Settings) -> str:
    """The URL of the web server; an error when none is running."""
    address = web_address(settings)
    if address is None:
        raise TippersError("The deployment is not running.", "Start it with `tippers up`.")
    return address


def _client(address: str) -> DagsterGraphQLClient:
    from dagster_graphql import DagsterGraphQLClient

    parts = urlsplit(address)
    return DagsterGraphQLClient(
        parts.hostname or "",
        port_number=parts.port,
        use_https=parts.scheme == "https",
        timeout=ANSWER_SECONDS,
        path_prefix=parts.path.rstrip("/"),
    )
