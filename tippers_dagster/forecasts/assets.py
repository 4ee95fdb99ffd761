"""Forecasters, as assets."""

from collections.abc import Sequence

import dagster as dg

from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.refresh.nodes import Node
from tippers_dagster.settings import Settings


def forecast_nodes(settings: Settings, catalog: Catalog) -> list[Node]:
    """What each is computed from; definitions that cannot work are not among them."""
    return []


def forecast_assets(
    settings: Settings, catalog: Catalog, nodes: Sequence[Node]
) -> list[dg.AssetsDefinition]:
    """One asset or more per definition that can work."""
    return []
