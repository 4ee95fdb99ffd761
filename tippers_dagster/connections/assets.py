"""Assets for the tables of connections."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import dagster as dg

from tippers_dagster.automation.conditions import up_to_date
from tippers_dagster.automation.nodes import Node
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Connection
from tippers_dagster.connections.bodies import connections, schema_of
from tippers_dagster.connections.running import (
    Outcome,
    connection_nodes_of,
    details,
    key_of,
    sync_tables,
)
from tippers_dagster.connections.sync import Synced
from tippers_dagster.settings import Settings

GROUP = "connections"
_KINDS = {"postgresql": "postgres", "mysql": "mysql", "sqlite": "sqlite", "mssql": "sqlserver"}


def connection_nodes(settings: Settings, catalog: Catalog) -> list[Node]:
    """A node for each synced table; it is due again after its connection's ``sync_seconds``."""
    return connection_nodes_of(connections(settings, catalog))


def connection_assets(
    settings: Settings, catalog: Catalog, nodes: Iterable[Node]
) -> list[dg.AssetsDefinition]:
    """One asset for each synced table; the tables of a connection are synced in one step.

    Parameters
    ----------
    nodes
        At least those of :func:`connection_nodes`.
    """
    by_key = {node.key: node for node in nodes}
    return [
        _assets(settings, name, body, by_key)
        for name, body in connections(settings, catalog).items()
        if body.tables
    ]


def _assets(
    settings: Settings, name: str, body: Connection, nodes: dict[tuple[str, ...], Node]
) -> dg.AssetsDefinition:
    tables = {dg.AssetKey(key_of(name, table.name)): table for table in body.tables}
    own = [nodes[tuple(key.path)] for key in tables]

    @dg.multi_asset(
        name=f"connection_{name}",
        specs=[_spec(name, body, node) for node in own],
        can_subset=True,
    )
    def connection(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        wanted = [table for key, table in tables.items() if key in context.selected_asset_keys]
        failed: list[Outcome] = []
        for outcome in sync_tables(
            settings, name, body, wanted, nodes=own, run_id=context.run.run_id, log=context.log
        ):
            if outcome.synced is None:
                context.log.error(str(outcome.error))
                failed.append(outcome)
                continue
            yield dg.MaterializeResult(
                asset_key=key_of(name, outcome.table.name),
                metadata=_metadata(name, outcome.synced),
                data_version=dg.DataVersion(outcome.version or ""),
            )
        if failed:
            _fail(failed, len(wanted))

    return connection


def _spec(name: str, body: Connection, node: Node) -> dg.AssetSpec:
    return dg.AssetSpec(
        dg.AssetKey(node.key),
        group_name=GROUP,
        owners=["team:platform"],
        kinds={_KINDS[body.dialect], "postgres"},
        skippable=True,  # if one fails, the others are still recorded
        code_version=node.content,
        automation_condition=up_to_date(),
        description=f"One row per row of {node.key[-1]} in the database of the connection {name}, "
        f"as of the last sync. Synced every {body.sync_seconds} s.",
        metadata={"dagster/table_name": f"{schema_of(name)}.{node.key[-1]}"},
    )


def _metadata(name: str, synced: Synced) -> dict[str, Any]:
    columns = [dg.TableColumn(column, kind) for column, kind in synced.columns.items()]
    found = {label: value for label, value in details(synced).items() if value is not None}
    return {
        "dagster/row_count": synced.change.rows,
        "dagster/column_schema": dg.TableSchema(columns),
        "dagster/table_name": f"{schema_of(name)}.{synced.table}",
        "seconds": round(synced.seconds, 3),
        **found,
    }


def _fail(failed: Sequence[Outcome], wanted: int) -> None:
    names = [outcome.table.name for outcome in failed]
    raise dg.Failure(
        f"Tables not synced: {len(failed)} of {wanted}. First error: {failed[0].error}",
        metadata={"failed_tables": names},
        allow_retries=False,
    )
