"""Loads definitions as Dagster assets: catalog, dbt project, nodes, assets.

A problem of one definition is not an error here: its node is marked as broken, with the reason. A
problem of the deployment is an error: without a database there are no definitions.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import sqlalchemy as sa

from tippers_dagster.automation.nodes import Node
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.catalog.model import Definition, Ref
from tippers_dagster.catalog.store import load_catalog
from tippers_dagster.connections.assets import connection_assets, connection_nodes
from tippers_dagster.errors import SettingsError, TippersError
from tippers_dagster.forecasting.assets import forecast_assets, forecast_nodes
from tippers_dagster.graph.broken import Key, broken_assets, broken_node, mark_broken_nodes
from tippers_dagster.graph.changes import definitions_stamp
from tippers_dagster.graph.refresh import definitions_by_asset, with_refresh
from tippers_dagster.labelling.assets import labelling_assets, labelling_nodes
from tippers_dagster.learning.assets import learning_assets, learning_nodes
from tippers_dagster.occupancy.nodes import OCCUPANCY_SOURCES
from tippers_dagster.people.by_label.assets import labelled_assets, labelled_nodes
from tippers_dagster.people.counts.assets import headcount_assets, headcount_nodes
from tippers_dagster.platform.redaction import redact
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.sql.log import LOG_TABLES
from tippers_dagster.sql.nodes import dbt_nodes
from tippers_dagster.sql.project import DbtError, Project, rendered_project

if TYPE_CHECKING:
    import dagster as dg

WAIT_SECONDS = 60.0
"""How long to wait for a database that is starting."""

OCCUPANCY_ASSETS = {
    *(node.key for node in OCCUPANCY_SOURCES),
    *((table.asset,) for table in LOG_TABLES.values()),
}
"""Sources of definitions that are assets of the occupancy package."""

KINDS_WITHOUT_ASSET = (Kind.CONCEPT, Kind.DATASET, Kind.LOG_SOURCE)
"""Kinds of definitions without an asset."""


@dataclass(frozen=True, eq=False)
class Pipeline:
    """The definitions at one time, and their nodes.

    Attributes
    ----------
    stamp
        The result of :func:`~tippers_dagster.graph.changes.definitions_stamp` before loading.
    project
        The parsed dbt project; None when dbt cannot even read the hand-written files.
    nodes
        All assets and sources, each after its inputs.
    """

    settings: Settings
    stamp: str
    catalog: Catalog
    project: Project | None
    nodes: list[Node]

    @cached_property
    def by_name(self) -> dict[str, Node]:
        """The nodes, by name."""
        return {node.name: node for node in self.nodes}

    @cached_property
    def definitions(self) -> dict[str, Definition]:
        """The definition of each asset that has one, by asset name."""
        return definitions_by_asset(self.catalog, self.by_name)


@dataclass(frozen=True, eq=False)
class Loaded:
    """A pipeline with its Dagster assets."""

    pipeline: Pipeline
    assets: Sequence[dg.AssetsDefinition | dg.AssetSpec]


def load_pipeline(settings: Settings) -> Pipeline:
    """Read the definitions, and build the graph of their nodes.

    Raises
    ------
    TippersError
        When the warehouse is unavailable.
    """
    _wait_for_warehouse(settings)
    stamp = definitions_stamp(settings)
    catalog = load_catalog(settings)
    project, broken = _project(settings, catalog)
    return Pipeline(settings, stamp, catalog, project, _nodes(settings, catalog, project, broken))


def load(settings: Settings) -> Loaded:
    """The definitions as Dagster assets; see :func:`load_pipeline`."""
    from tippers_dagster.sql.assets import dbt_assets

    pipeline = load_pipeline(settings)
    catalog, nodes = pipeline.catalog, pipeline.nodes
    groups = {ref.asset_path: ref.concept for ref in catalog.definitions if ref.concept}
    assets: list[dg.AssetsDefinition | dg.AssetSpec] = [
        *source_specs(nodes),
        *connection_assets(settings, catalog, nodes),
        *labelling_assets(settings, catalog, nodes),
        *learning_assets(settings, catalog, nodes),
        *labelled_assets(settings, catalog, nodes),
        *headcount_assets(settings, catalog, nodes),
        *forecast_assets(settings, catalog, nodes),
    ]
    if pipeline.project is not None:
        assets += dbt_assets(settings, pipeline.project, nodes)
    made = {tuple(key.path) for asset in assets for key in _keys_of(asset)}
    assets += broken_assets((node for node in nodes if node.key not in made), groups)
    return Loaded(pipeline, assets)


def _keys_of(asset: dg.AssetsDefinition | dg.AssetSpec) -> Iterable[dg.AssetKey]:
    import dagster as dg

    return (asset.key,) if isinstance(asset, dg.AssetSpec) else asset.keys


def source_specs(nodes: Iterable[Node]) -> list[dg.AssetSpec]:
    """The source tables as external assets, except for those of the occupancy package."""
    import dagster as dg

    return [
        dg.AssetSpec(
            dg.AssetKey(node.key),
            group_name="staging",
            kinds={"postgres"},
            description=f"One row per row of the source table {node.source.schema}."
            f"{node.source.name}, which is only read.",
            metadata={"dagster/table_name": f"{node.source.schema}.{node.source.name}"},
        )
        for node in nodes
        if node.source is not None
        # Otherwise it is part of a table that is an asset.
        and (node.source.query is None or node.key[-1] == node.source.name)
        and node.key not in OCCUPANCY_ASSETS
    ]


def _nodes(
    settings: Settings, catalog: Catalog, project: Project | None, broken: Mapping[Ref, str]
) -> list[Node]:

    nodes: dict[Key, Node] = {}
    if project is not None:
        nodes |= {node.key: node for node in dbt_nodes(project)}
    for nodes_of in (
        labelling_nodes,
        connection_nodes,
        learning_nodes,
        labelled_nodes,
        headcount_nodes,
        forecast_nodes,
    ):
        nodes |= {node.key: node for node in nodes_of(settings, catalog)}
    for ref, reason in broken.items():
        if ref.kind not in KINDS_WITHOUT_ASSET:
            deps = [
                dep.asset_path
                for dep in catalog.dependencies(ref)
                if dep.kind not in KINDS_WITHOUT_ASSET
            ]
            node = broken_node(ref.asset_path, reason, deps)
            nodes[node.key] = node
    for place, reason in catalog.unusable.items():
        node = broken_node(("unusable", place), f"{place}: {reason}")
        nodes[node.key] = node
    return with_refresh(settings, catalog, mark_broken_nodes(nodes.values()))


def _project(settings: Settings, catalog: Catalog) -> tuple[Project | None, Mapping[Ref, str]]:
    """The dbt project and its broken definitions; without a project, all with SQL are broken."""
    try:
        project = rendered_project(settings, catalog)
    except (DbtError, SettingsError) as error:
        reason = redact(error.message, settings)
        return None, {
            ref: catalog.problems.get(ref, reason)
            for ref in catalog.definitions
            if ref.kind.has_sql or ref in catalog.problems
        }
    return project, project.broken


def _wait_for_warehouse(settings: Settings) -> None:
    """Wait for a database that is starting: a code location that failed to load is not retried."""
    until = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            with warehouse_engine(settings).connect():
                return
        except sa.exc.OperationalError as error:
            if time.monotonic() > until:
                raise TippersError(
                    f"The warehouse is unavailable: {redact(str(error.orig), settings)}",
                    "Run `tippers doctor` for details. Definitions cannot be loaded without it.",
                ) from None
            time.sleep(1)
