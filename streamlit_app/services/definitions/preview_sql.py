"""Preview of the SQL of indexes, rules and features: first rows, and the tables it may read."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from streamlit_app.services.app import App
from streamlit_app.services.definitions.edit import Edit
from streamlit_app.services.definitions.preview import planned
from tippers_dagster.access.model import Role
from tippers_dagster.campus.identities import lake_name
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.errors import BadInput
from tippers_dagster.graph.save import rule_columns as columns_of_rule
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.sql.columns import schema_columns
from tippers_dagster.sql.names import NameTable
from tippers_dagster.sql.planned_schema import PlannedSchema
from tippers_dagster.sql.statistics import ColumnStatistics, table_statistics

SAMPLE_ROWS = 5_000
"""Rows that a preview reads for its column statistics."""


@dataclass(frozen=True)
class Rows:
    """The first rows of a query.

    ``head`` holds the rows to show, as Arrow; ``statistics`` describe ``sampled`` rows;
    ``complete`` says whether these are all rows. ``estimated_rows`` and ``total_cost`` are the
    planner's; DuckDB gives none.
    """

    head: pa.Table
    statistics: tuple[ColumnStatistics, ...]
    sampled: int
    complete: bool
    estimated_rows: int | None
    total_cost: float | None
    seconds: float


def preview_rows(app: App, catalog: Catalog, edit: Edit) -> Rows:
    """Run the SQL of an index, rule or feature as the database reader, for its first rows.

    Raises
    ------
    BadInput
        Why the SQL cannot be used.
    NotAllowed
        If the person may not see entities.
    """
    app.person.require(Role.ANALYST, "see entities")
    made, after = planned(catalog, edit)
    found = PlannedSchema(app.settings, after).preview(made, SAMPLE_ROWS)
    return Rows(
        head=found.rows.slice(0, app.settings.preview_rows),
        statistics=tuple(table_statistics(found.rows)),
        sampled=found.rows.num_rows,
        complete=not found.truncated,
        estimated_rows=found.estimated_rows if found.truncated else found.rows.num_rows,
        total_cost=found.total_cost,
        seconds=found.seconds,
    )


def readable_tables(app: App, catalog: Catalog, concept: str) -> dict[str, list[str]]:
    """The tables that SQL may read, named as inside a concept, with their columns.

    Tables that have not been computed yet have no columns.
    """
    places = NameTable.of(catalog, app.settings).written(concept)
    with warehouse_engine(app.settings).connect() as connection:
        found = schema_columns(connection, {place.schema for place in places.values()})
    return {
        name: [column.name for column in found.get((place.schema, place.table), ())]
        for name, place in places.items()
    }


def rule_columns(app: App, catalog: Catalog, rule: str, concept: str) -> dict[str, pa.DataType]:
    """Names and types of a rule's columns without the key, as its labelling functions see them.

    Empty if they are not known yet.
    """
    try:
        found = catalog.resolve(rule, concept)
        if found.ref.kind != Kind.RULE or found.ref in catalog.problems:
            return {}
        columns = columns_of_rule(app.settings, catalog, found.ref) or {}
        key = lake_name(catalog.key_column(found.ref))
    except BadInput:
        return {}
    return {name: kind for name, kind in columns.items() if name != key}
