"""Asset keys and table of a classifier's champion and predictions."""

from __future__ import annotations

from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.catalog.model import Ref

SCHEMA = "predictions"
"""The warehouse schema and lake folder of predictions."""


def champion_path(classifier: Ref) -> tuple[str, str]:
    """The key of the asset that decides which version of a classifier is its champion."""
    return classifier.concept, f"{classifier.name}__champion"


def predictions_path(classifier: Ref) -> tuple[str, str]:
    """The key of the asset of a classifier's predictions; whatever reads these depends on it.

    The rows are in the warehouse as ``predictions.<concept>__<name>`` (``classifier.model_name``),
    with the key column first, then ``label``, ``confidence`` and ``p_<label>`` as in a table of
    labels.
    """
    return classifier.concept, f"{classifier.name}__predictions"


def labels_path(ref: Ref) -> tuple[str, ...]:
    """The key of the asset with the labels of a label model or, as predictions, a classifier."""
    return predictions_path(ref) if ref.kind == Kind.CLASSIFIER else ref.asset_path
