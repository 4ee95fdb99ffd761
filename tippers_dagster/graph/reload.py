"""Having a running deployment load the definitions anew."""

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
"""The code location's name, as workspace.yaml has it."""

LONGEST_SECONDS = 170
"""A reload is waited for so long; dagster.yaml's own limit is a little longer."""

GRACE_SECONDS = 8
"""Whoever saves has the definitions loaded; a sensor does when it has not happened after this."""

PATIENCE_SECONDS = 30
"""Between two reloads that a sensor asks for."""


@dataclass(frozen=True)
class Reloaded:
    """What became of a reload; ``message`` is a sentence for whoever asked for it."""

    state: Literal["reloaded", "nothing_running", "failed"]
    message: str


def reload_definitions(settings: Settings) -> Reloaded:
    """Have the running deployment load the definitions anew, and wait until it has.

    Never raises because of the deployment: what is saved is saved, and a code location that was
    not told finds out by itself.
    """
    address = web_address(settings)
    if address is None:
        return Reloaded(
            "nothing_running",
            "Nothing runs at the moment (`tippers up`): it is taken up at the next start.",
        )
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(_ask, settings, address)
        # The other process starts Python meanwhile, and finds the project parsed.
        with suppress(TippersError):  # it tells of them itself
            rendered_project(settings, load_catalog(settings))
        return asked.result()


def _ask(settings: Settings, address: str) -> Reloaded:
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
            timeout=LONGEST_SECONDS,
            path_prefix=parts.path.rstrip("/"),
        )
        answer = client.reload_repository_location(LOCATION)
    except (DagsterGraphQLClientError, OSError) as error:
        reason = redact(str(error).splitlines()[0], settings)
        return Reloaded(
            "failed",
            f"Dagster's web server did not take it up: {reason} A running deployment finds out by "
            "itself within a minute.",
        )
    if answer.status == ReloadRepositoryLocationStatus.SUCCESS:
        return Reloaded("reloaded", f"Loaded by {address}.")
    return Reloaded(
        "failed",
        f"The definitions could not be loaded: {redact(answer.message or '', settings)}",
    )


class Watch:
    """Tells a code location that the definitions are not those that it loaded.

    And has it loaded anew when nobody else does: the one who saved may not have known of this
    deployment, or somebody changed a file or a row by hand.
    """

    def __init__(self, settings: Settings, stamp: str) -> None:
        self._settings, self._stamp = settings, stamp
        self._reload_at: float | None = None

    def __call__(self) -> str | None:
        """Why nothing is to be computed by what was loaded; None: it is right."""
        if definitions_stamp(self._settings) == self._stamp:
            self._reload_at = None
            return None
        changed = "The definitions are not those that were loaded"
        now = time.monotonic()
        if self._reload_at is None:
            self._reload_at = now + GRACE_SECONDS
        if now < self._reload_at:
            return f"{changed}; they are about to be loaded."
        self._reload_at = now + PATIENCE_SECONDS
        done = reload_definitions(self._settings)
        if done.state == "reloaded":
            return f"{changed}, and were loaded anew."
        return f"{changed}: reload the code location. {done.message}"
