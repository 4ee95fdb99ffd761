"""The files of registered models: recorded in the warehouse, and checked before they are read.

MLflow has no login, and when it loads a model it takes the format, the types to trust and even
code from the model's own ``MLmodel``. So nothing is loaded through MLflow here. One file per
version is fetched: the warehouse records its path, size, SHA-256 and format. MLflow's answers are
not trusted, and the bytes that were checked in memory are the ones that are parsed.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
import posixpath
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from tippers_dagster.errors import TippersError
from tippers_dagster.platform.mlflow.client import mlflow_client
from tippers_dagster.platform.mlflow.search import versions_of
from tippers_dagster.platform.mlflow.tables import model_file
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

Format = Literal["skops", "npz"]
"""Formats that cannot execute code: skops with the types in ``learning.saved``, numpy arrays
without objects."""

MAX_BYTES = 2**30
"""Limit for a file whose size is not recorded yet."""

T = TypeVar("T")

_log = logging.getLogger(__name__)


class ModelRefused(TippersError):
    """A model differs from the one that was registered, or has an unsupported format."""


@dataclass(frozen=True)
class ModelFile:
    """The record of a version of a model; the columns of ``model_file``.

    ``sha256`` and ``bytes`` are None for a version that was registered before they were recorded
    and has not been used since.
    """

    model: str
    version: int
    asset_version: str
    format: Format
    path: str
    sha256: str | None
    bytes: int | None
    recorded_at: dt.datetime | None

    def __str__(self) -> str:
        return f"Version {self.version} of {self.model}"


# --- the record -----------------------------------------------------------------------------------
def record_model(
    settings: Settings,
    model: str,
    version: int,
    asset_version: str,
    format_: Format,
    path: str,
    content: bytes,
) -> None:
    """Record the file of a version, replacing any record of the same number."""
    values = {
        "asset_version": asset_version,
        "format": format_,
        "path": path,
        "sha256": digest_of(content),
        "bytes": len(content),
        "recorded_at": dt.datetime.now(dt.UTC),
    }
    with warehouse_engine(settings).begin() as connection:
        connection.execute(
            insert(model_file)
            .values(model=model, version=version, **values)
            .on_conflict_do_update(index_elements=["model", "version"], set_=values)
        )


def model_files(settings: Settings, model: str) -> list[ModelFile]:
    """The records of a model, newest version first."""
    query = (
        sa.select(model_file)
        .where(model_file.c.model == model)
        .order_by(model_file.c.version.desc())
    )
    with warehouse_engine(settings).connect() as connection:
        return [ModelFile(**row) for row in connection.execute(query).mappings()]


def recorded_file(settings: Settings, model: str, version: int) -> ModelFile:
    """The record of a version.

    Raises
    ------
    ModelRefused
        When there is none.
    """
    found = next((f for f in model_files(settings, model) if f.version == version), None)
    if found is None:
        raise ModelRefused(
            f"Version {version} of {model} is not loaded: this deployment has no record of "
            "registering it.",
            "MLflow has no login, so anyone who can reach it can register a model. "
            + _retraining_hint(model),
        )
    return found


def digest_of(content: bytes) -> str:
    """SHA-256 in hexadecimal, as recorded."""
    return hashlib.sha256(content).hexdigest()


def intact_version(settings: Settings, client: Any, model: str, asset_version: str) -> int | None:
    """The version that was registered for a version of the asset, according to the record.

    None unless its file in MLflow is unchanged.
    """
    there = {int(one.version) for one in versions_of(client, model)}
    recorded = (f for f in model_files(settings, model) if f.asset_version == asset_version)
    return next((f.version for f in recorded if f.version in there and is_intact(f)), None)


def is_there(settings: Settings, model: str, version: int | None) -> bool:
    """Whether MLflow has a version of a model, with the recorded file; None: it has not.

    Raises
    ------
    MlflowUnavailable
        When it cannot be asked.
    """
    with mlflow_client(settings) as client:
        there = {int(one.version) for one in versions_of(client, model)}
        files = [f for f in model_files(settings, model) if f.version == version]
        return version in there and any(is_intact(file) for file in files)


# --- reading --------------------------------------------------------------------------------------
def read_model(
    settings: Settings, model: str, version: int, format_: Format, parse: Callable[[bytes], T]
) -> T:
    """A version of a model, checked against its record, then parsed.

    A version from before digests were recorded is accepted unchecked; after parsing, its digest is
    recorded, and checked from then on.

    Parameters
    ----------
    format_
        What ``parse`` reads; parsing must not execute anything from the file.

    Raises
    ------
    ModelRefused
        When it is not recorded, has another format, or differs from the record.
    MlflowAway
        When it cannot be fetched.
    """
    recorded = recorded_file(settings, model, version)
    if recorded.format != format_:
        raise ModelRefused(
            f"{recorded} is not loaded: its recorded format is {recorded.format}, expected "
            f"{format_}."
        )
    with mlflow_client(settings):
        content = fetch(recorded)
    checked = _checked(recorded, content)
    try:
        parsed = parse(checked)
    except ModelRefused as error:
        hint = _retraining_hint(recorded.model)
        raise ModelRefused(f"{recorded} is not loaded. {error.message}", hint) from None
    if recorded.sha256 is None:
        _pin(settings, recorded, checked)
    return parsed


def is_intact(recorded: ModelFile) -> bool:
    """Whether MLflow still has the recorded file; MLflow's store must be set."""
    content = fetch(recorded)
    return content is not None and digest_of(content) == recorded.sha256


def fetch(recorded: ModelFile) -> bytes | None:
    """The current file of a version in MLflow; None if it is missing or too large.

    Only this file is copied, to a private folder; other files beside it are ignored. MLflow's
    errors are left to the caller.
    """
    from mlflow.environment_variables import MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR as PROGRESS
    from mlflow.store.artifact.models_artifact_repo import ModelsArtifactRepository

    PROGRESS.set(False)
    limit = MAX_BYTES if recorded.bytes is None else recorded.bytes
    place = ModelsArtifactRepository(f"models:/{recorded.model}/{recorded.version}").repo
    listed = place.list_artifacts(posixpath.dirname(recorded.path) or None)
    entry = next((f for f in listed if f.path == recorded.path and not f.is_dir), None)
    if entry is None or (entry.file_size or 0) > limit:
        return None
    with TemporaryDirectory(prefix="tippers-model-") as folder:
        place.download_artifacts(recorded.path, folder)
        with (Path(folder) / recorded.path).open("rb") as file:
            content = file.read(limit + 1)
    return content if len(content) <= limit else None


def _checked(recorded: ModelFile, content: bytes | None) -> bytes:
    if content is None:
        raise ModelRefused(
            f"{recorded} is not loaded: its file {recorded.path} is missing in MLflow, or larger "
            "than registered.",
            _retraining_hint(recorded.model),
        )
    if recorded.sha256 is not None and digest_of(content) != recorded.sha256:
        raise ModelRefused(
            f"{recorded} is not loaded: its file in MLflow was changed after it was registered.",
            "Find out who could write to MLflow's artifacts. " + _retraining_hint(recorded.model),
        )
    return content


def _pin(settings: Settings, recorded: ModelFile, content: bytes) -> None:
    """Record the digest of a version from before digests were recorded."""
    c = model_file.c
    with warehouse_engine(settings).begin() as connection:
        connection.execute(
            sa.update(model_file)
            .where(c.model == recorded.model, c.version == recorded.version, c.sha256.is_(None))
            .values(
                sha256=digest_of(content),
                bytes=len(content),
                recorded_at=dt.datetime.now(dt.UTC),
            )
        )
    _log.warning(
        "%s was registered before digests were recorded. Its digest has now been recorded and "
        "will be checked from now on.",
        recorded,
    )


def _retraining_hint(model: str) -> str:
    return f"To train it again: `tippers pipeline materialize {model} --no-stale-only`."
