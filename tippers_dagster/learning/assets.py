"""Classifiers, their registry and their predictions, as assets."""

from collections.abc import Sequence

import dagster as dg

from tippers_dagster.automation.nodes import Node
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.learning.classifier_assets import classifier_assets, classifier_nodes
from tippers_dagster.learning.prediction_assets import prediction_assets, prediction_nodes
from tippers_dagster.learning.registry_assets import champion_assets, champion_nodes
from tippers_dagster.settings import Settings


def learning_nodes(settings: Settings, catalog: Catalog) -> list[Node]:
    """The refresh nodes of classifiers, champions and predictions that can work."""
    return [
        *classifier_nodes(settings, catalog),
        *champion_nodes(settings, catalog),
        *prediction_nodes(settings, catalog),
    ]


def learning_assets(
    settings: Settings, catalog: Catalog, nodes: Sequence[Node]
) -> list[dg.AssetsDefinition]:
    """One or more assets for each definition that can work."""
    return [
        *classifier_assets(settings, catalog, nodes),
        *champion_assets(settings, catalog, nodes),
        *prediction_assets(settings, catalog, nodes),
    ]
