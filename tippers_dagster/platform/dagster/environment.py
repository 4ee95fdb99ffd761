"""The environment variables of Dagster's processes, and Dagster's folder in the home."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tippers_dagster.platform.home import private_home
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.platform.warehouse.engine import sqlalchemy_url
from tippers_dagster.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance

_PACKAGE = Path(__file__).parent
_REPOSITORY = _PACKAGE.parents[2]

DEFAULTS = {
    # Events are stored in batches: 10,000 partitions of one run in 5 s instead of 100 s.
    "DAGSTER_EVENT_BATCH_SIZE": "1000",
    # One planned event per range of partitions, not per partition.
    "DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS": "true",
    # A tick over hundreds of thousands of partitions may take longer than the usual minute.
    "DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS": "300",
    "DAGSTER_DISABLE_TELEMETRY": "yes",
}
"""Dagster's own variables; values that are already set win."""


def packaged_file(name: str) -> Path:
    """The path of ``dagster.yaml`` or ``workspace.yaml``.

    Beside this module when tippers is installed, otherwise at the top of the repository.
    """
    return next(
        (path for path in (_PACKAGE / name, _REPOSITORY / name) if path.is_file()),
        _REPOSITORY / name,
    )


def dagster_environment(settings: Settings) -> dict[str, str]:
    """The variables that Dagster needs, in its own processes and in this one.

    Starts the embedded database when it is in use, and updates ``<home>/dagster``. Do not print
    the URL: it may contain a password.
    """
    return {
        **{name: os.environ.get(name, value) for name, value in DEFAULTS.items()},
        "DAGSTER_HOME": str(_dagster_home(settings)),
        "TIPPERS_HOME": str(settings.home_path),
        "TIPPERS_DAGSTER_URL": sqlalchemy_url(databases(settings).dagster),
        "TIPPERS_MAX_CONCURRENT_RUNS": str(settings.max_concurrent_runs),
        "TIPPERS_CODE_SERVER_HOST": settings.code_server_host,
        "TIPPERS_CODE_SERVER_PORT": str(settings.code_server_port),
    }


def use_dagster_environment(settings: Settings) -> None:
    """Set these variables in this process, for ``DagsterInstance.get()``."""
    os.environ.update(dagster_environment(settings))


def _dagster_home(settings: Settings) -> Path:
    """Dagster's folder, with the packaged ``dagster.yaml`` or the one from the settings."""
    folder = private_home(settings.home_path) / "dagster"
    folder.mkdir(exist_ok=True)
    content = (settings.dagster_yaml or packaged_file("dagster.yaml")).read_bytes()
    target = folder / "dagster.yaml"
    if not target.exists() or target.read_bytes() != content:
        with tempfile.NamedTemporaryFile(dir=folder, prefix="dagster.yaml.", delete=False) as file:
            file.write(content)
        os.replace(file.name, target)
    return folder


@contextmanager
def dagster_instance(settings: Settings) -> Iterator[DagsterInstance]:
    """Open this deployment's Dagster instance."""
    use_dagster_environment(settings)
    from dagster import DagsterInstance

    with DagsterInstance.get() as instance:
        yield instance
