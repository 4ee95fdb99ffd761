"""Syncs tables and records the results, so that dependent assets become stale."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from logging import Logger

from tippers_dagster.automation.nodes import Node, digest
from tippers_dagster.automation.runs import asset_locks
from tippers_dagster.automation.state import Recorder, recorder
from tippers_dagster.catalog.kinds import Connection, ConnectionTable
from tippers_dagster.connections.sync import Synced, sync_table
from tippers_dagster.errors import TippersError
from tippers_dagster.settings import Settings

Key = tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """The result of one table: the sync and its version, or the error."""

    table: ConnectionTable
    synced: Synced | None = None
    version: str | None = None
    error: TippersError | None = None


def key_of(name: str, table: str) -> Key:
    """The asset key path of a connection's table."""
    return ("connection", name, table)


def connection_nodes_of(connections: dict[str, Connection]) -> list[Node]:
    """A node for each synced table.

    Its content is the address of its rows: another address means another table; a new password
    does not.
    """
    return [
        Node(
            key_of(name, table.name),
            content=digest(
                *map(str, (body.dialect, body.host, body.port, body.database)),
                table.model_dump_json(),
            ),
            every_seconds=body.sync_seconds,
        )
        for name, body in connections.items()
        for table in body.tables
    ]


def sync_tables(
    settings: Settings,
    name: str,
    body: Connection,
    tables: Sequence[ConnectionTable],
    *,
    nodes: Iterable[Node],
    run_id: str,
    log: Logger,
    afresh: bool = False,
) -> Iterator[Outcome]:
    """Sync tables one after the other and record each; if one fails, the others continue.

    Parameters
    ----------
    nodes
        At least the nodes of the tables.
    run_id
        The Dagster run's id, or another unique text.
    """
    keys = [key_of(name, table.name) for table in tables]
    with asset_locks(settings, run_id, keys, log):
        records = recorder(settings, nodes, run_id)
        for table in tables:
            yield _sync(settings, name, body, table, records, afresh=afresh)


def _sync(
    settings: Settings,
    name: str,
    body: Connection,
    table: ConnectionTable,
    records: Recorder,
    *,
    afresh: bool,
) -> Outcome:
    key = key_of(name, table.name)
    try:
        synced = sync_table(settings, name, body, table, afresh=afresh)
    except TippersError as error:
        records.failed(key, str(error))
        return Outcome(table, error=error)
    version = records.succeeded(
        key,
        rows=synced.change.rows,
        seconds=synced.seconds,
        details=details(synced),
        token=synced.change.content,
    )
    return Outcome(table, synced, version)


def details(synced: Synced) -> dict[str, object]:
    """The details of a sync, for people."""
    return {
        "rows_read": synced.read,
        "bytes_read": synced.bytes,
        "everything_read": synced.everything,
        "inserted": synced.change.inserted,
        "updated": synced.change.updated,
        "deleted": synced.change.deleted,
        "last_cursor": synced.last_cursor,
    }
