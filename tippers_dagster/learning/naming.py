"""Names in MLflow's registry."""

from __future__ import annotations

from tippers_dagster.catalog.model import Ref

CHAMPION = "champion"
CHALLENGER = "challenger"
"""Aliases of model versions: the one in use, and the newest, which may replace it."""

RUN_TAG = "dagster_run_id"
VERSION_TAG = "asset_version"
METRIC_TAG = "promotion_metric"
VALUE_TAG = "promotion_value"
"""Tags of a model version: Dagster's run, the version of the classifier's asset, the promotion
metric, and its value on the held-out entities."""


def registered_name(classifier: Ref) -> str:
    """A classifier's model name in the registry."""
    return f"{classifier.concept}.{classifier.name}"
