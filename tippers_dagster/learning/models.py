"""Loads trained models from the registry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tippers_dagster.learning.bank import CATEGORIES, NUMBERS
from tippers_dagster.learning.promotion import apply_model, model_columns
from tippers_dagster.learning.saved import parse_model
from tippers_dagster.platform.mlflow.model_files import read_model
from tippers_dagster.settings import Settings

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A version of a trained model.

    Attributes
    ----------
    model
        A scikit-learn pipeline: takes a frame with ``columns``, and gives a probability for each
        of ``classes``.
    types
        The types of its columns, ``double`` or ``string``; empty if unknown.
    """

    name: str
    version: int
    model: Any
    types: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"Version {self.version} of {self.name}"

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels that it predicts."""
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
        """The probabilities of rows, float64 [n, classes].

        Raises
        ------
        BadInput
            When a column is missing, or has another type.
        """
        return apply_model(self.model, frame, str(self))


def load_model(settings: Settings, name: str, version: int) -> LoadedModel:
    """Load a version of a model, if its file matches the record of its registration.

    Raises
    ------
    ModelRefused
        When it does not match, or was not recorded.
    MlflowAway
        When it cannot be fetched.
    """
    model = read_model(settings, name, version, "skops", parse_model)
    return LoadedModel(name, version, model, column_types(model))


def column_types(model: Any) -> dict[str, str]:
    """``double`` or ``string`` for each column that a model of the bank takes; empty if unknown."""
    columns = getattr(model, "named_steps", {}).get("columns")
    if columns is None:
        return {}
    kinds = {NUMBERS: "double", CATEGORIES: "string"}
    return {
        str(name): kinds[part]
        for part, _, names in columns.transformers
        for name in names
        if part in kinds
    }
