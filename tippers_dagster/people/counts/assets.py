"""People counts, as assets."""

from collections.abc import Sequence
from functools import partial

import dagster as dg

from tippers_dagster.automation.computation import Computation, DefinitionAsset, definition_assets
from tippers_dagster.automation.nodes import Node, Table, digest
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Kind, PeopleCount
from tippers_dagster.catalog.model import Definition
from tippers_dagster.learning.keys import labels_path
from tippers_dagster.people.counts import describe
from tippers_dagster.people.counts.describe import CHECKS
from tippers_dagster.people.counts.reading import fit_data_key
from tippers_dagster.people.counts.tables import head_count
from tippers_dagster.people.counts.work import VERSION, calibrate_people, write_calibrated
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.settings import Settings

HEAD_COUNTS = Node(
    ("source", "head_count"),
    source=Table(str(head_count.schema), head_count.name),
    entered=True,
)
"""The head counts that people counts are calibrated on."""


def headcount_nodes(settings: Settings, catalog: Catalog) -> list[Node]:
    """The nodes of all people counts, with what each depends on; broken definitions have none.

    They do not depend on sessions: a calibration is valid until labels or head counts change.
    """
    found = catalog.of_kind(Kind.PEOPLE_COUNT)
    nodes = [_node(catalog, definition, VERSION) for definition in found]
    return [HEAD_COUNTS, *nodes] if nodes else []


def _node(catalog: Catalog, definition: Definition, version: int) -> Node:
    body = definition.body
    assert isinstance(body, PeopleCount)
    deps = (labels_path(dep) for dep in catalog.dependencies(definition.ref))
    parts = ("people count", str(version), body.model_dump_json())
    return Node(definition.ref.asset_path, digest(*parts), (*deps, HEAD_COUNTS.key))


def headcount_assets(
    settings: Settings, catalog: Catalog, nodes: Sequence[Node]
) -> list[dg.AssetsDefinition]:
    """One asset per valid definition."""
    return definition_assets(settings, catalog, Kind.PEOPLE_COUNT, nodes, _people_count)


def _people_count(definition: Definition) -> DefinitionAsset:

    return DefinitionAsset(
        grain="One calibration, which converts devices in any space and bin into people.",
        kinds={"people_count", "postgres"},
        checks=CHECKS,
        compute=partial(_calibrate, definition),
        experiment=str(definition.ref),
    )


def _calibrate(definition: Definition, work: Computation) -> None:
    """Read head counts and devices, fit the ratio, write it."""
    settings, name, body = work.settings, definition.ref.name, definition.body
    assert isinstance(body, PeopleCount)
    version = work.version
    calibrated = calibrate_people(settings, body)
    work.replacing()
    write_calibrated(settings, name, version, work.run_id, calibrated)
    plot = describe.people_plot(calibrated)
    work.log_result(
        describe.mlflow_params(calibrated),
        describe.figures(calibrated),
        describe.mlflow_files(calibrated, plot),
    )
    if calibrated.reason is not None:
        work.context.log.warning("Not calibrated: %s", calibrated.reason)
    place = open_lake(settings).uri(fit_data_key(name))
    work.succeeded(
        len(calibrated.observed),
        describe.people_details(calibrated, work.log.run_id),
        describe.people_metadata(calibrated, place, plot, work.log.url),
    )
    work.report(*describe.people_checks(work.asset, calibrated))
