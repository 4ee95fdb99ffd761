"""Updates the warehouse's copy of a table in one transaction.

Rows are first gathered in a temporary table. Then only rows that differ are changed: readers see
all of a sync or none of it and are never blocked, and a sync without changes leaves the table
untouched. The table's comment identifies its content, so the two cannot disagree.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import psycopg2
import pyarrow as pa
import sqlalchemy as sa

from tippers_dagster.automation.nodes import digest
from tippers_dagster.connections.bodies import schema_of
from tippers_dagster.connections.columns import Column
from tippers_dagster.connections.faults import ConnectionFault
from tippers_dagster.platform.warehouse.engine import copy_rows

STAGED = "staged_rows"

_COLUMNS = """
    SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
    WHERE attrelid = to_regclass(:table) AND attnum > 0 AND NOT attisdropped
"""

_KEY = """
    SELECT c.conname, array_agg(a.attname::text ORDER BY k.place)
    FROM pg_constraint c CROSS JOIN LATERAL unnest(c.conkey) WITH ORDINALITY AS k(attnum, place)
    JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.attnum
    WHERE c.conrelid = to_regclass(:table) AND c.contype = 'p' GROUP BY c.conname
"""


@dataclass(frozen=True)
class Change:
    """The changes that a sync made to the copy. ``content`` changes with every row or column."""

    inserted: int
    updated: int
    deleted: int
    rows: int
    content: str

    @property
    def changed(self) -> int:
        """The number of rows that changed."""
        return self.inserted + self.updated + self.deleted


class Copy:
    """The copy of one table, and its staged rows, on one connection to the warehouse.

    Parameters
    ----------
    warehouse
        A connection that is not shared and not in a transaction; each method starts its own.
    name, table
        The connection's name, and the table's.
    """

    def __init__(self, warehouse: sa.Connection, name: str, table: str) -> None:
        self._on = warehouse
        self.schema, self.table = schema_of(name), table
        self.written = f"{name}.{table}"

    # --- current state --------------------------------------------------------------------------
    def transaction(self) -> AbstractContextManager[object]:
        """A transaction for reading."""
        return self._on.begin()

    @cached_property
    def _name(self) -> str:
        return f"{self._quote(self.schema)}.{self._quote(self.table)}"

    def _quote(self, identifier: str) -> str:
        return self._on.dialect.identifier_preparer.quote_identifier(identifier)

    def columns(self) -> dict[str, str]:
        """Columns and their types; empty if there is no copy yet."""
        rows = self._on.execute(sa.text(_COLUMNS), {"table": self._name.replace("%%", "%")})
        return {row.attname: row.format_type for row in rows}

    def largest(self, column: str) -> Any:
        """The largest value of a column, None without any."""
        return self._on.exec_driver_sql(
            f"SELECT max({self._quote(column)}) FROM {self._name}"
        ).scalar()

    def _comment(self) -> dict[str, Any]:
        """The content of the comment."""
        comment = self._on.scalar(
            sa.text("SELECT obj_description(to_regclass(:table), 'pg_class')"),
            {"table": self._name.replace("%%", "%")},
        )
        try:
            content = json.loads(comment or "{}")
        except (
            ValueError,
            RecursionError,
        ):  # somebody else wrote the comment: treat it as missing
            return {}
        return content if isinstance(content, dict) else {}

    # --- staging --------------------------------------------------------------------------------
    def stage(self, columns: Sequence[Column], pieces: Iterable[pa.RecordBatch]) -> tuple[int, int]:
        """Gather rows in the temporary table; returns their number and bytes.

        Raises
        ------
        ConnectionFault
            When PostgreSQL cannot store a value.
        """
        types = ", ".join(f"c{i} {column.type}" for i, column in enumerate(columns))
        with self._on.begin():
            self._on.exec_driver_sql(f"CREATE TEMP TABLE {STAGED} ({types})")
        rows = size = 0
        names = [f"c{i}" for i in range(len(columns))]
        for piece in pieces:
            if not piece.num_rows:
                continue
            # A transaction each: a long one would keep the server from cleaning up.
            with self._on.begin(), _ValuesFit(self.written):
                copy_rows(self._on, STAGED, pa.Table.from_batches([piece]).rename_columns(names))
            rows, size = rows + piece.num_rows, size + piece.nbytes
        return rows, size

    # --- publishing -----------------------------------------------------------------------------
    def publish(
        self, columns: Sequence[Column], key: Sequence[str], *, everything: bool, afresh: bool
    ) -> Change:
        """Make the copy equal to the staged rows, in one transaction.

        Parameters
        ----------
        key
            The primary key; without one, all rows are replaced if any differs.
        everything
            Whether all rows were staged, so that other rows are deleted.
        afresh
            Whether to recreate the table if its columns changed, dropping everything that reads
            it.

        Raises
        ------
        ConnectionFault
            When the key is not unique, or columns were removed or have another type.
        """
        with self._on.begin():
            before = self._comment()
            altered = self._shape(columns, key, afresh=afresh)
            names = {column.name: f"c{i}" for i, column in enumerate(columns)}
            if key:
                self._key_staged([names[column] for column in key], key)
                counts = self._merge(names, key, everything=everything)
            else:
                counts = self._replace(names)
            inserted, updated, deleted = counts
            rows = self._rows(before, inserted - deleted, everything=everything)
            changed = altered or any(counts) or "content" not in before
            content = uuid.uuid4().hex if changed else before["content"]
            if changed:
                self._on.exec_driver_sql(f"ANALYZE {self._name}")
                self._set_comment({"content": content, "rows": rows})
        return Change(inserted, updated, deleted, rows, content)

    def _shape(self, columns: Sequence[Column], key: Sequence[str], *, afresh: bool) -> bool:
        """Create the table, or add missing columns; returns whether anything was done."""
        existing = self.columns()
        wanted = {column.name: column.type for column in columns}
        if existing and not _fits(existing, wanted):
            if not afresh:
                raise self._does_not_fit(existing, wanted)
            self._on.exec_driver_sql(f"DROP TABLE {self._name} CASCADE")
            existing = {}
        if not existing:
            self._make_schema()
            self._on.exec_driver_sql(f"CREATE TABLE {self._name} ()")
        new = {n: t for n, t in wanted.items() if n not in existing}
        if new:
            added = ", ".join(f"ADD COLUMN {self._quote(n)} {t}" for n, t in new.items())
            self._on.exec_driver_sql(f"ALTER TABLE {self._name} {added}")
        self._set_key(key)
        return bool(new)

    def _make_schema(self) -> None:
        # Two at once would conflict, despite IF NOT EXISTS.
        lock = sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(self.schema, 0))
        self._on.execute(sa.select(lock))
        self._on.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {self._quote(self.schema)}")

    def _set_key(self, key: Sequence[str]) -> None:
        found = self._on.execute(
            sa.text(_KEY), {"table": self._name.replace("%%", "%")}
        ).one_or_none()
        if (tuple(found[1]) if found else ()) == tuple(key):
            return
        if found:
            dropped = self._quote(found[0])
            self._on.exec_driver_sql(f"ALTER TABLE {self._name} DROP CONSTRAINT {dropped}")
        if key:
            listed = ", ".join(self._quote(column) for column in key)
            self._add_key(self._name, listed, key)

    def _key_staged(self, staged: Sequence[str], key: Sequence[str]) -> None:
        """Check that the key is unique among the staged rows."""
        self._add_key(STAGED, ", ".join(staged), key)
        self._on.exec_driver_sql(f"ANALYZE {STAGED}")

    def _add_key(self, table: str, listed: str, key: Sequence[str]) -> None:
        try:
            self._on.exec_driver_sql(f"ALTER TABLE {table} ADD PRIMARY KEY ({listed})")
        except sa.exc.IntegrityError:
            written = ", ".join(key)
            raise ConnectionFault(
                f"{self.written}: {written} is not unique, or is null in some rows.",
                f"Find these rows with `SELECT {written} FROM {self.table} GROUP BY {written} "
                "HAVING count(*) > 1`, or choose other columns as the primary key.",
            ) from None

    def _merge(
        self, names: dict[str, str], key: Sequence[str], *, everything: bool
    ) -> tuple[int, int, int]:
        quote = self._quote
        same = " AND ".join(f"t.{quote(k)} = s.{names[k]}" for k in key)
        old = ", ".join(f"t.{quote(n)}" for n in names)
        new = ", ".join(f"s.{c}" for c in names.values())
        sets = ", ".join(f"{quote(n)} = s.{c}" for n, c in names.items())
        listed = ", ".join(quote(n) for n in names)
        deleted = 0
        if everything:
            deleted = self._count(
                f"DELETE FROM {self._name} t WHERE NOT EXISTS (SELECT FROM {STAGED} s WHERE {same})"
            )
        updated = self._count(
            f"UPDATE {self._name} t SET {sets} FROM {STAGED} s "
            f"WHERE {same} AND ROW({old}) IS DISTINCT FROM ROW({new})"
        )
        inserted = self._count(
            f"INSERT INTO {self._name} ({listed}) SELECT {new} FROM {STAGED} s "
            f"WHERE NOT EXISTS (SELECT FROM {self._name} t WHERE {same})"
        )
        return inserted, updated, deleted

    def _replace(self, names: dict[str, str]) -> tuple[int, int, int]:
        """Replace all rows, unless both tables have the same rows the same number of times."""
        listed = ", ".join(self._quote(n) for n in names)
        staged = ", ".join(names.values())
        if self._sum(self._name, listed) == self._sum(STAGED, staged):
            return 0, 0, 0
        # Not TRUNCATE: it would block readers, and show old transactions an empty table.
        deleted = self._count(f"DELETE FROM {self._name}")
        inserted = self._count(f"INSERT INTO {self._name} ({listed}) SELECT {staged} FROM {STAGED}")
        return inserted, 0, deleted

    def _sum(self, table: str, listed: str) -> sa.Row[Any]:
        """A checksum of rows that does not depend on their order."""
        row = f"hash_record_extended(ROW({listed}), 0)::numeric"
        return self._on.exec_driver_sql(f"SELECT count(*), sum({row}) FROM {table}").one()

    def _count(self, statement: str) -> int:
        return self._on.exec_driver_sql(statement).rowcount

    def _rows(self, before: dict[str, Any], more: int, *, everything: bool) -> int:
        if everything or "rows" not in before:
            return int(self._on.exec_driver_sql(f"SELECT count(*) FROM {self._name}").scalar_one())
        return int(before["rows"]) + more

    def _set_comment(self, content: dict[str, Any]) -> None:
        text = sa.literal(json.dumps(content)).compile(
            dialect=self._on.dialect, compile_kwargs={"literal_binds": True}
        )
        self._on.exec_driver_sql(f"COMMENT ON TABLE {self._name} IS {text}")

    def index(self, column: str) -> None:
        """Create an index of a column whose largest value is read in every sync."""
        name = self._quote(f"cursor_{digest(self.table, column)[:16]}")
        with self._on.begin():
            self._on.exec_driver_sql(
                f"CREATE INDEX IF NOT EXISTS {name} ON {self._name} ({self._quote(column)})"
            )

    def _does_not_fit(self, existing: dict[str, str], wanted: dict[str, str]) -> ConnectionFault:
        gone = [f"{n} is gone" for n in existing if n not in wanted]
        other = [
            f"{n} was {existing[n]} and is {t}"
            for n, t in wanted.items()
            if n in existing and existing[n] != t
        ]
        name, table = self.written.split(".", 1)
        return ConnectionFault(
            f"{self.written}: its columns have changed: {'; '.join(gone + other)}. "
            "The copy was not changed.",
            f"`tippers connections sync {name} --table {table} --afresh` recreates the copy. Views "
            "that read it are dropped, and created again when their definitions run.",
        )


class _ValuesFit:
    """Turns the error for a value that does not fit its column into a message."""

    def __init__(self, written: str) -> None:
        self._written = written

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, psycopg2.DataError):
            raise ConnectionFault(
                f"{self._written}: PostgreSQL cannot store a value: {error.diag.message_primary}",
                "Fix it in the other database, or choose a view that leaves it out.",
            ) from None


def _fits(existing: dict[str, str], wanted: dict[str, str]) -> bool:
    """Whether all existing columns are unchanged."""
    return all(wanted.get(name) == kind for name, kind in existing.items())


def drop_copy(warehouse: sa.Connection, name: str, table: str) -> None:
    """Remove the copy of a table that is no longer synced.

    Raises
    ------
    ConnectionFault
        When something in the warehouse still reads it.
    """
    quote = warehouse.dialect.identifier_preparer.quote_identifier
    try:
        warehouse.exec_driver_sql(
            f"DROP TABLE IF EXISTS {quote(schema_of(name))}.{quote(table)} RESTRICT"
        )
    except sa.exc.InternalError as error:  # PostgreSQL lists what depends on it
        detail = error.orig.diag.message_detail if error.orig else ""  # type: ignore[attr-defined]
        raise ConnectionFault(
            f"{name}.{table} cannot be removed; something still reads it: {detail}",
            "Remove that first.",
        ) from None
