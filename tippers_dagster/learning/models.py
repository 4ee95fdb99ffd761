"""Trained models out of the registry, ready to predict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tippers_dagster.experiments.client import mlflow_client
from tippers_dagster.learning.promotion import apply_model, model_columns
from tippers_dagster.settings import Settings

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A version of a model.

    Attributes
    ----------
    model
        A scikit-learn pipeline: a frame with ``columns`` goes in, a probability for each of
        ``classes`` comes out.
    types
        Of its columns, as its signature in MLflow says: ``double``, ``string``; empty when it was
        registered without one.
    """

    name: str
    version: int
    model: Any
    types: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"Version {self.version} of {self.name}"

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels that it gives."""
        return tuple(str(label) for label in self.model.classes_)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that it takes."""
        return model_columns(self.model)

    @property
    def typed(self) -> bool:
        """Whether the types of its columns are known."""
        return bool(self.types)

    @property
    def categorical(self) -> tuple[str, ...]:
        """Those of its columns that are known to be text."""
        return tuple(name for name in self.columns if self.types.get(name) == "string")

    def probabilities(self, frame: pd.DataFrame) -> np.ndarray:
        """float64 [n, classes].

        Raises
        ------
        BadInput
            When a column is not there, or of another type.
        """
        return apply_model(self.model, frame, str(self))


def load_model(settings: Settings, name: str, version: int) -> LoadedModel:
    """Load a version of a model from where MLflow keeps it.

    Raises
    ------
    MlflowAway
        When it cannot be read.
    """
    import mlflow.sklearn
    from mlflow.environment_variables import MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR as PROGRESS

    PROGRESS.set(False)
    place = f"models:/{name}/{version}"
    with mlflow_client(settings):
        signature = mlflow.models.get_model_info(place).signature
        model = mlflow.sklearn.load_model(place)
    inputs = None if signature is None else signature.inputs
    types = {} if inputs is None else {c.name: c.type.name for c in inputs.inputs}
    return LoadedModel(name, version, model, types)
