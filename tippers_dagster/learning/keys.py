"""Asset keys and the table of what follows a classifier."""

from __future__ import annotations

from tippers_dagster.catalog.model import Ref

SCHEMA = "predictions"
"""Schema of the warehouse, and folder of the lake, of predictions."""


def champion_path(classifier: Ref) -> tuple[str, str]:
    """Key of the asset that tells which version of a classifier is its champion."""
    return classifier.concept, f"{classifier.name}__champion"


def predictions_path(classifier: Ref) -> tuple[str, str]:
    """Key of the asset of a classifier's predictions; what reads these depends on it.

    The rows are in the warehouse as ``predictions.<concept>__<name>`` (``classifier.model_name``),
    with the key column first, ``label``, ``confidence`` and ``p_<label>`` as in a table of labels.
    """
    return classifier.concept, f"{classifier.name}__predictions"
