"""Asking the running deployment for a run of some assets of the definitions."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tippers_dagster.errors import BadInput, TippersError
from tippers_dagster.graph.reload import LOCATION
from tippers_dagster.platform.dagster.addresses import web_address
from tippers_dagster.platform.redaction import redact
from tippers_dagster.settings import Settings

if TYPE_CHECKING:
    from dagster_graphql import DagsterGraphQLClient

BY_TAG = "tippers/by"
"""Who asked for a run."""

ANSWER_SECONDS = 60
"""A web server that does not answer for so long is taken to be away."""

START_SECONDS = 30
"""How long the process of a run may take to begin before cancelling it is tried all the same."""

ENDED = ("SUCCESS", "FAILURE", "CANCELED")

_JOB, _REPOSITORY = "__ASSET_JOB", "__repository__"


def start_run(
    settings: Settings, names: Collection[str], *, by: str, tags: Mapping[str, str] | None = None
) -> str:
    """Have the running deployment compute some assets in one run; returns the run's id.

    Parameters
    ----------
    names
        Names of the assets, as ``device/devices``.
    by
        Who asks.
    tags
        Other tags of the run.

    Raises
    ------
    TippersError
        When nothing runs, or it does not start the run.
    """
    if not names:
        raise BadInput("There is nothing to compute.")
    address = _address(settings, "compute it")
    from dagster_graphql import DagsterGraphQLClientError  # it takes seconds

    try:
        return _client(address).submit_job_execution(
            _JOB,
            repository_location_name=LOCATION,
            repository_name=_REPOSITORY,
            asset_selection=[name.split("/") for name in sorted(names)],
            tags={**(tags or {}), BY_TAG: by},
        )
    except (DagsterGraphQLClientError, OSError) as error:
        reason = redact(str(error).splitlines()[0], settings)
        raise TippersError(
            f"Dagster did not start the run: {reason}", "Its page of runs says more."
        ) from error


def stop_run(settings: Settings, run_id: str) -> None:
    """Have the running deployment cancel a run; what it has computed is kept.

    Dagster cancels no run whose process is just being started: that is waited for.

    Raises
    ------
    TippersError
        When nothing runs, or the run cannot be cancelled, as one that has ended.
    """
    address = _address(settings, "cancel it")
    from dagster_graphql import DagsterGraphQLClientError  # it takes seconds

    try:
        client = _client(address)
        status = _once_begun(client, run_id)
        if status in ENDED:
            raise TippersError(f"The run has ended before: {status.lower()}.")
        client.terminate_run(run_id)
    except (DagsterGraphQLClientError, OSError) as error:
        reason = redact(str(error).splitlines()[0], settings)
        raise TippersError(
            f"Dagster did not cancel the run: {reason}", "Its page of runs says more."
        ) from error


def _once_begun(client: DagsterGraphQLClient, run_id: str) -> str:
    """The status of a run, when its process has begun or failed to."""
    until = time.monotonic() + START_SECONDS
    while True:
        status: str = client.get_run_status(run_id).value
        if status != "STARTING" or time.monotonic() > until:
            return status
        time.sleep(0.25)


def _address(settings: Settings, what: str) -> str:
    """Where the web server is; an error when there is none."""
    address = web_address(settings)
    if address is None:
        raise TippersError(
            f"Nothing runs at the moment that could {what}.",
            "Start the deployment with `tippers up`.",
        )
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
