"""Names in MLflow's registry."""

from __future__ import annotations

from tippers_dagster.catalog.model import Ref

CHAMPION = "champion"
CHALLENGER = "challenger"
"""Aliases of model versions: the one in use, and the newest, which wants to take its place."""

RUN_TAG = "dagster_run_id"
VERSION_TAG = "asset_version"
METRIC_TAG = "promotion_metric"
VALUE_TAG = "promotion_value"
"""Tags of a model version: Dagster's run, the version of the classifier's asset, the metric by
which it is promoted, and the value that it has on the held-out entities."""


def registered_name(classifier: Ref) -> str:
    """The name under which a classifier's models are registered."""
    return f"{classifier.concept}.{classifier.name}"
