"""Assets of occupancy by label."""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import dagster as dg
from pydantic import Field

from tippers_dagster.automation.nodes import Node, digest
from tippers_dagster.automation.specs import assets_of_kind, check_specs, definition_spec, recording
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Kind, LabelledOccupancy
from tippers_dagster.catalog.model import Definition, Ref
from tippers_dagster.learning.keys import predictions_path
from tippers_dagster.occupancy.nodes import OCCUPANCY_SOURCES
from tippers_dagster.people.by_label.describe import (
    CHECKS,
    details,
    metadata,
    parts_check,
    unlabelled_check,
)
from tippers_dagster.settings import Settings

GRAIN = (
    "One row per non-empty bin of a tracked space: distinct devices per label, and unlabelled ones."
)


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
    from tippers_dagster.people.by_label.work import VERSION

    found = catalog.of_kind(Kind.LABELLED_OCCUPANCY)
    above = tuple(node.key for node in OCCUPANCY_SOURCES)
    nodes = [
        Node(
            definition.ref.asset_path,
            digest("labelled", str(VERSION), definition.body.model_dump_json()),
            (_labels_key(catalog, definition), *above),
        )
        for definition in found
    ]
    return [*OCCUPANCY_SOURCES, *nodes] if nodes else []


def _labels_key(catalog: Catalog, definition: Definition) -> tuple[str, ...]:
    """The asset with the labels: the label model, or the predictions of the classifier."""
    by = labels_of(catalog, definition)
    return predictions_path(by) if by.kind == Kind.CLASSIFIER else by.asset_path


def labels_of(catalog: Catalog, definition: Definition) -> Ref:
    """The label model or classifier whose labels split a labelled occupancy."""
    assert isinstance(definition.body, LabelledOccupancy)
    return catalog.resolve(definition.body.by, definition.ref.concept).ref


# --- assets -------------------------------------------------------------------------------------
def labelled_assets(
    settings: Settings, catalog: Catalog, nodes: Sequence[Node]
) -> list[dg.AssetsDefinition]:
    """One asset per valid definition."""
    make = partial(_asset, settings, catalog)
    return assets_of_kind(catalog, Kind.LABELLED_OCCUPANCY, nodes, make)


def _asset(
    settings: Settings,
    catalog: Catalog,
    nodes: dict[tuple[str, ...], Node],
    definition: Definition,
) -> dg.AssetsDefinition:
    ref, by = definition.ref, str(labels_of(catalog, definition))
    path = ref.asset_path
    key = dg.AssetKey(path)
    spec = definition_spec(catalog, nodes[path], definition, GRAIN, kinds={"python", "parquet"})

    @dg.multi_asset(
        name=f"{ref.kind.value}__{ref.name}", specs=[spec], check_specs=check_specs(key, CHECKS)
    )
    def labelled_occupancy(
        context: dg.AssetExecutionContext, config: Options
    ) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[Any]]:
        yield from _count(context, settings, nodes, ref, by, again=config.again)

    return labelled_occupancy


def _count(
    context: dg.AssetExecutionContext,
    settings: Settings,
    nodes: dict[tuple[str, ...], Node],
    ref: Ref,
    by: str,
    *,
    again: bool,
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[Any]]:
    """Count and record the changed chunks; report failed ones once the others are recorded."""
    from tippers_dagster.people.by_label.work import bring_up_to_date

    started, path = time.monotonic(), ref.asset_path
    key = dg.AssetKey(path)
    with recording(settings, context, list(nodes.values()), path) as record:
        outcome = bring_up_to_date(
            settings,
            ref.name,
            by,
            context.run.run_id,
            context.log,
            again=again,
            before_writing=lambda: record.replacing(path),
        )
        yield parts_check(key, outcome)
        yield unlabelled_check(key, outcome)
        outcome.raise_failures()
        version = record.succeeded(
            path,
            outcome.rows,
            time.monotonic() - started,
            details(outcome, by),
        )
    yield dg.MaterializeResult(
        asset_key=key,
        metadata=metadata(settings, ref.name, by, outcome),
        data_version=dg.DataVersion(version),
    )
