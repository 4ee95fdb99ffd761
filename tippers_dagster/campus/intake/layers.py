"""Undo for tables whose rows files replace by key: keeps the rows of each ingest for each key.

A key of such a table (the id of a space, a room, a person) has a layer for each ingest that wrote
it, with its rows; a layer without rows is a removal. The table shows the layer of the newest
ingest. Layer 0 has the rows from before the first recorded ingest. Undoing an ingest drops its
layers, wherever they are in the stack.
"""

from __future__ import annotations

from tippers_dagster.campus.source.load import Load
from tippers_dagster.campus.source.schema import (
    FACULTY_DATA,
    PRIMARY_KEYS,
    REGION_TO_COVERAGE,
    SPACE_METADATA,
    SPACES,
    SQL_TYPES,
    TRUTH_DEVICE,
    TRUTH_PERSON,
    VENDOR_PREFIXES,
    SourceTable,
)

KEYS = {
    SPACES: "space_id",
    SPACE_METADATA: "roomid",
    FACULTY_DATA: "name",
    REGION_TO_COVERAGE: "region_id",
    VENDOR_PREFIXES: "prefix",
    TRUTH_DEVICE: "mac_address",
    TRUTH_PERSON: "person_id",
}
"""The key column of each table: the rows with the same key are replaced together."""

_LAYER = "tippers.ingest_layer"


def write_layer(load: Load, table: SourceTable, ingest_id: int, staged: str) -> int:
    """Write an ingest's rows from a staged table, replacing rows with the same keys.

    Returns the number of changed rows of the source table.
    """
    key = KEYS[table.kind]
    keys = f"SELECT {key} FROM {staged}"
    _keep_before(load, table, keys)
    load.execute(
        f"INSERT INTO {_LAYER} (kind, key, ingest_id, rows) SELECT '{table.kind}', s.{key}, "
        f"{ingest_id:d}, jsonb_agg(to_jsonb(s)) FROM {staged} s GROUP BY s.{key}"
    )
    return _settle(load, table, keys)


def remove_keys(load: Load, table: SourceTable, ingest_id: int, staged: str) -> int:
    """Write layers without rows for the keys of a staged table, which removes their rows."""
    key = KEYS[table.kind]
    keys = f"SELECT {key} FROM {staged}"
    _keep_before(load, table, keys)
    load.execute(
        f"INSERT INTO {_LAYER} (kind, key, ingest_id, rows) SELECT DISTINCT '{table.kind}', "
        f"{key}, {ingest_id:d}, '[]'::jsonb FROM {staged}"
    )
    return _settle(load, table, keys)


def kinds_written(load: Load, ingest_id: int) -> list[str]:
    """The kinds of tables with layers of an ingest."""
    found = load.execute(
        f"SELECT DISTINCT kind FROM {_LAYER} WHERE ingest_id = {ingest_id:d} ORDER BY 1"
    )
    return found["kind"].to_pylist() if found.num_rows else []


def drop_layer(load: Load, table: SourceTable, ingest_id: int) -> int:
    """Undo an ingest's changes of a table; returns the number of changed rows.

    Keys that a later ingest has written, too, keep its rows.
    """
    written, on_top = f"tippers_written_{table.kind}", f"tippers_on_top_{table.kind}"
    own = f"kind = '{table.kind}' AND ingest_id = {ingest_id:d}"
    load.execute(
        f"CREATE TEMP TABLE {written} ON COMMIT DROP AS SELECT key FROM {_LAYER} WHERE {own}"
    )
    load.execute(
        f"CREATE TEMP TABLE {on_top} ON COMMIT DROP AS SELECT key FROM {written} w WHERE NOT "
        f"EXISTS (SELECT FROM {_LAYER} l WHERE l.kind = '{table.kind}' AND l.key = w.key "
        f"AND l.ingest_id > {ingest_id:d})"
    )
    load.execute(f"DELETE FROM {_LAYER} WHERE {own}")
    changed = _settle(load, table, f"SELECT key FROM {on_top}")
    # Keys without any ingest left need no layer 0: the table may be edited by hand.
    load.execute(
        f"DELETE FROM {_LAYER} l WHERE kind = '{table.kind}' AND ingest_id = 0 "
        f"AND key IN (SELECT key FROM {written}) AND NOT EXISTS (SELECT FROM {_LAYER} o "
        "WHERE o.kind = l.kind AND o.key = l.key AND o.ingest_id > 0)"
    )
    for name in (written, on_top):
        load.execute(f"DROP TABLE {name}")
    return changed


def _keep_before(load: Load, table: SourceTable, keys: str) -> None:
    """Save the table's rows for keys that no recorded ingest has written."""
    key = f"t.{table.column(KEYS[table.kind])}"
    row = ", ".join(f"'{name}', t.{table.column(name)}" for name in table.columns)
    load.execute(
        f"INSERT INTO {_LAYER} (kind, key, ingest_id, rows) SELECT '{table.kind}', {key}, 0, "
        f"jsonb_agg(jsonb_build_object({row})) FROM {table.sql} t WHERE {key} IN ({keys}) "
        f"AND NOT EXISTS (SELECT FROM {_LAYER} l WHERE l.kind = '{table.kind}' "
        f"AND l.key = {key}) GROUP BY {key}"
    )


def _settle(load: Load, table: SourceTable, keys: str) -> int:
    """Set the table's rows for the keys to their top layers; returns the number of changed rows."""
    key = table.column(KEYS[table.kind])
    ours = ", ".join(f"{name} {SQL_TYPES[kind]}" for name, kind in table.types.items())
    wanted = (
        f"SELECT r.* FROM (SELECT DISTINCT ON (key) rows FROM {_LAYER} WHERE kind = "
        f"'{table.kind}' AND key IN ({keys}) ORDER BY key, ingest_id DESC) AS top, "
        f"jsonb_to_recordset(top.rows) AS r({ours})"
    )
    theirs = [table.column(name) for name in table.columns]
    insertion = (
        f"INSERT INTO {table.sql} AS s ({', '.join(theirs)}) "
        f"SELECT {', '.join(table.columns)} FROM ({wanted}) AS w"
    )
    deletion = f"DELETE FROM {table.sql} WHERE {key} IN ({keys})"
    if PRIMARY_KEYS.get(table.kind) == (KEYS[table.kind],):
        # Updates changed rows in place, as the table may have further columns.
        deletion += f" AND {key} NOT IN (SELECT {KEYS[table.kind]} FROM ({wanted}) AS w)"
        values = [name for name in theirs if name != key]
        excluded = ", ".join(f"excluded.{name}" for name in values)
        stored = ", ".join(f"s.{name}" for name in values)
        insertion += (
            f" ON CONFLICT ({key}) DO UPDATE SET ({', '.join(values)}) = ROW({excluded}) "
            f"WHERE ROW({stored}) IS DISTINCT FROM ROW({excluded})"
        )
    return _count(load, deletion) + _count(load, insertion)


def _count(load: Load, change: str) -> int:
    """Run a statement; returns the number of changed rows."""
    found = load.execute(f"WITH changed AS ({change} RETURNING 1) SELECT count(*) FROM changed")
    return int(found.column(0)[0].as_py())
