"""Makes a running deployment reload the definitions."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from tippers_dagster.catalog.store import load_catalog
from tippers_dagster.errors import TippersError
from tippers_dagster.graph.changes import definitions_stamp
from tippers_dagster.platform.dagster.addresses import web_address
from tippers_dagster.platform.redaction import redact
from tippers_dagster.settings import Settings
from tippers_dagster.sql.project import rendered_project

LOCATION = "tippers"
"""The code location's name in workspace.yaml."""

TIMEOUT_SECONDS = 170
"""How long to wait for a reload; the limit in dagster.yaml is a little longer."""

GRACE_SECONDS = 8
"""Saving reloads the definitions; if they are not reloaded after this long, the sensor does it."""

PATIENCE_SECONDS = 30
"""Minimum time between two reloads by the sensor."""


@dataclass(frozen=True)
class Reloaded:
    """The result of a reload; ``message`` is a sentence for the user."""

    state: Literal["reloaded", "nothing_running", "failed"]
    message: str


def reload_definitions(settings: Settings) -> Reloaded:
    """Make the running deployment reload the definitions, and wait until it has.

    Problems of the deployment do not raise: what is saved is saved, and a code location notices
    changes on its own.
    """
    address = web_address(settings)
    if address is None:
        return Reloaded(
            "nothing_running",
            "The deployment is not running. It loads the change when it starts (`tippers up`).",
        )
    with ThreadPoolExecutor(1) as pool:
        reload = pool.submit(_reload, settings, address)
        # While the code server starts Python, this process parses the project for it.
        with suppress(TippersError):  # the code server reports these
            rendered_project(settings, load_catalog(settings))
        return reload.result()


def _reload(settings: Settings, address: str) -> Reloaded:
    from dagster_graphql import (
        DagsterGraphQLClient,
        DagsterGraphQLClientError,
        ReloadRepositoryLocationStatus,
    )

    parts = urlsplit(address)
    try:
        client = DagsterGraphQLClient(
            parts.hostname or "",
            port_number=parts.port,
            use_https=parts.scheme == "https",
            timeout=TIMEOUT_SECONDS,
            path_prefix=parts.path.rstrip("/"),
        )
        answer = client.reload_repository_location(LOCATION)
    except (DagsterGraphQLClientError, OSError) as error:
        reason = redact(str(error).splitlines()[0], settings)
        return Reloaded(
            "failed",
            f"Dagster's web server did not reload the definitions: {reason} A running deployment "
            "reloads them on its own within a minute.",
        )
    if answer.status == ReloadRepositoryLocationStatus.SUCCESS:
        return Reloaded("reloaded", "Live in Dagster.")
    return Reloaded(
        "failed",
        f"The definitions could not be loaded: {redact(answer.message or '', settings)}",
    )


class Watch:
    """Notices when the definitions differ from those that a code location has loaded.

    It reloads the code location if nothing else does: they may have been saved from elsewhere, or
    changed by hand in a file or a row.
    """

    def __init__(self, settings: Settings, stamp: str) -> None:
        self._settings, self._stamp = settings, stamp
        self._reload_at: float | None = None

    def __call__(self) -> str | None:
        """Why the loaded definitions are out of date; None when they are not."""
        if definitions_stamp(self._settings) == self._stamp:
            self._reload_at = None
            return None
        changed = "The definitions have changed since they were loaded"
        now = time.monotonic()
        if self._reload_at is None:
            self._reload_at = now + GRACE_SECONDS
        if now < self._reload_at:
            return f"{changed}; a reload is pending."
        self._reload_at = now + PATIENCE_SECONDS
        done = reload_definitions(self._settings)
        if done.state == "reloaded":
            return f"{changed}, and have been reloaded."
        return f"{changed}: reload the code location. {done.message}"
