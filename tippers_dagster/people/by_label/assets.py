"""Assets of occupancy by label."""

from collections.abc import Sequence
from functools import partial

import dagster as dg
from pydantic import Field

from tippers_dagster.automation.computation import Computation, DefinitionAsset, definition_assets
from tippers_dagster.automation.nodes import Node, digest
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Kind, LabelledOccupancy
from tippers_dagster.catalog.model import Definition, Ref
from tippers_dagster.learning.keys import labels_path
from tippers_dagster.occupancy.nodes import OCCUPANCY_SOURCES
from tippers_dagster.people.by_label.describe import (
    CHECKS,
    details,
    metadata,
    parts_check,
    unlabelled_check,
)
from tippers_dagster.people.by_label.work import VERSION, bring_up_to_date
from tippers_dagster.settings import Settings


class Options(dg.Config):
    """Options of a manual materialisation."""

    again: bool = Field(
        default=False,
        description="Also recompute chunks that are up to date, if files were lost or damaged.",
    )


# --- nodes --------------------------------------------------------------------------------------
def labelled_nodes(settings: Settings, catalog: Catalog) -> list[Node]:
    """The nodes of all labelled occupancies, with what each depends on; broken definitions have
    none.

    They depend on the labels and on all of occupancy. When any occupancy changes, a run compares
    fingerprints and counts the chunks that changed.
    """
    found = catalog.of_kind(Kind.LABELLED_OCCUPANCY)
    above = tuple(node.key for node in OCCUPANCY_SOURCES)
    nodes = [
        Node(
            definition.ref.asset_path,
            digest("labelled", str(VERSION), definition.body.model_dump_json()),
            (labels_path(labels_of(catalog, definition)), *above),
        )
        for definition in found
    ]
    return [*OCCUPANCY_SOURCES, *nodes] if nodes else []


def labels_of(catalog: Catalog, definition: Definition) -> Ref:
    """The label model or classifier whose labels split a labelled occupancy."""
    assert isinstance(definition.body, LabelledOccupancy)
    return catalog.resolve(definition.body.by, definition.ref.concept).ref


# --- assets -------------------------------------------------------------------------------------
def labelled_assets(
    settings: Settings, catalog: Catalog, nodes: Sequence[Node]
) -> list[dg.AssetsDefinition]:
    """One asset per valid definition."""
    return definition_assets(
        settings, catalog, Kind.LABELLED_OCCUPANCY, nodes, partial(_occupancy, catalog)
    )


def _occupancy(catalog: Catalog, definition: Definition) -> DefinitionAsset:
    return DefinitionAsset(
        grain="One row per non-empty bin of a tracked space: distinct devices per label, and "
        "unlabelled ones.",
        kinds={"python", "parquet"},
        checks=CHECKS,
        compute=partial(_count, definition.ref.name, str(labels_of(catalog, definition))),
        config=Options,
    )


def _count(name: str, by: str, work: Computation) -> None:
    """Count the chunks that changed; failed chunks raise an error after the others are recorded."""
    outcome = bring_up_to_date(
        work.settings,
        name,
        by,
        work.run_id,
        work.context.log,
        again=work.context.op_execution_context.op_config["again"],
        before_writing=work.replacing,
    )
    work.report(parts_check(work.asset, outcome), unlabelled_check(work.asset, outcome))
    outcome.raise_failures()
    shown = metadata(work.settings, name, by, outcome)
    work.succeeded(outcome.rows, details(outcome, by), shown)
