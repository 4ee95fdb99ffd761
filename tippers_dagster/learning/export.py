"""Exports a version of a classifier's model to a folder, for serving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tippers_dagster.learning.mlflow_log import requirements, save_model, signature_of
from tippers_dagster.learning.models import LoadedModel, column_types
from tippers_dagster.learning.saved import parse_model
from tippers_dagster.platform.mlflow.exporting import export_folder
from tippers_dagster.platform.mlflow.model_files import read_model, recorded_file
from tippers_dagster.settings import Settings


def export_classifier(settings: Settings, name: str, version: int, to: Path) -> None:
    """Write a checked version of a model to a new folder.

    Raises
    ------
    ModelRefused, MlflowAway
        As :func:`~tippers_dagster.learning.models.load_model`; then nothing is written.
    BadInput
        When the folder exists, or cannot be written.
    """

    def parsed(content: bytes) -> tuple[bytes, Any]:
        return content, parse_model(content)

    content, model = read_model(settings, name, version, "skops", parsed)
    loaded = LoadedModel(name, version, model, column_types(model))
    signature = signature_of(loaded.columns, loaded.categorical, len(loaded.classes))
    packages = requirements(_needs_lightgbm(model))

    def save(folder: Path) -> None:
        save_model(folder, sk_model=model, signature=signature, pip_requirements=packages)

    export_folder(
        to, recorded_file(settings, name, version), content, _example_request(loaded), save
    )


def _example_request(model: LoadedModel) -> dict[str, Any]:
    """An example request: one row of placeholder values."""
    row = ["" if name in model.categorical else 0.0 for name in model.columns]
    return {"dataframe_split": {"columns": list(model.columns), "data": [row]}}


def _needs_lightgbm(model: Any) -> bool:
    return any(type(step).__module__.startswith("lightgbm") for _, step in model.steps)
