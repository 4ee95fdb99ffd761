"""The warehouse's copy of a table, brought up to date in one transaction.

Rows are gathered in a temporary table first. Then only rows that differ are touched: readers see
all of a sync or nothing of it, are never kept waiting, and a sync that finds nothing new leaves the
table as it was. The table's comment says what content it has, so that the two cannot disagree.
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
    """What a sync did to the copy. ``content`` is another one whenever a row or column is."""

    inserted: int
    updated: int
    deleted: int
    rows: int
    content: str

    @property
    def changed(self) -> int:
        """Rows that are not as they were."""
        return self.inserted + self.updated + self.deleted


class Copy:
    """The copy of one table, and what is staged for it, on one connection to the warehouse.

    Parameters
    ----------
    warehouse
        A connection that no one else uses, in no transaction; each method makes its own.
    name, table
        Names of connection and table.
    """

    def __init__(self, warehouse: sa.Connection, name: str, table: str) -> None:
        self._on = warehouse
        self.schema, self.table = schema_of(name), table
        self.written = f"{name}.{table}"

    # --- what is there --------------------------------------------------------------------------
    def transaction(self) -> AbstractContextManager[object]:
        """For what only reads."""
        return self._on.begin()

    @cached_property
    def _name(self) -> str:
        return f"{self._quote(self.schema)}.{self._quote(self.table)}"

    def _quote(self, identifier: str) -> str:
        return self._on.dialect.identifier_preparer.quote_identifier(identifier)

    def columns(self) -> dict[str, str]:
        """Columns and their types; none when there is no copy yet."""
        rows = self._on.execute(sa.text(_COLUMNS), {"table": self._name.replace("%%", "%")})
        return {row.attname: row.format_type for row in rows}

    def largest(self, column: str) -> Any:
        """The largest value of a column, ``None`` without any."""
        return self._on.exec_driver_sql(
            f"SELECT max({self._quote(column)}) FROM {self._name}"
        ).scalar()

    def _said(self) -> dict[str, Any]:
        """What the comment says."""
        comment = self._on.scalar(
            sa.text("SELECT obj_description(to_regclass(:table), 'pg_class')"),
            {"table": self._name.replace("%%", "%")},
        )
        try:
            said = json.loads(comment or "{}")
        except (
            ValueError,
            RecursionError,
        ):  # somebody else wrote the comment: treat it as missing
            return {}
        return said if isinstance(said, dict) else {}

    # --- staging --------------------------------------------------------------------------------
    def stage(self, columns: Sequence[Column], pieces: Iterable[pa.RecordBatch]) -> tuple[int, int]:
        """Gather rows; returns their number and bytes. Nobody else sees them.

        Raises
        ------
        ConnectionFault
            When PostgreSQL cannot hold a value.
        """
        types = ", ".join(f"c{i} {column.type}" for i, column in enumerate(columns))
        with self._on.begin():
            self._on.exec_driver_sql(f"CREATE TEMP TABLE {STAGED} ({types})")
        rows = size = 0
        names = [f"c{i}" for i in range(len(columns))]
        for piece in pieces:
            if not piece.num_rows:
                continue
            # A transaction each: a long one would keep the server from clearing up.
            with self._on.begin(), _ValuesFit(self.written):
                copy_rows(self._on, STAGED, pa.Table.from_batches([piece]).rename_columns(names))
            rows, size = rows + piece.num_rows, size + piece.nbytes
        return rows, size

    # --- publishing -----------------------------------------------------------------------------
    def publish(
        self, columns: Sequence[Column], key: Sequence[str], *, everything: bool, afresh: bool
    ) -> Change:
        """Make the copy what was staged, in one transaction.

        Parameters
        ----------
        key
            The columns that tell rows apart; without them all rows are replaced if any differs.
        everything
            Whether all rows were staged, and those that were not are to go.
        afresh
            Whether the table may be made anew where its columns do not fit, with all that reads it
            removed.

        Raises
        ------
        ConnectionFault
            When the key does not tell rows apart, or columns were removed or have another type.
        """
        with self._on.begin():
            before = self._said()
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
                self._say({"content": content, "rows": rows})
        return Change(inserted, updated, deleted, rows, content)

    def _shape(self, columns: Sequence[Column], key: Sequence[str], *, afresh: bool) -> bool:
        """Make the table, or add what it lacks; returns whether anything was done."""
        there = self.columns()
        wanted = {column.name: column.type for column in columns}
        if there and not _fits(there, wanted):
            if not afresh:
                raise self._does_not_fit(there, wanted)
            self._on.exec_driver_sql(f"DROP TABLE {self._name} CASCADE")
            there = {}
        if not there:
            self._make_schema()
            self._on.exec_driver_sql(f"CREATE TABLE {self._name} ()")
        new = {n: t for n, t in wanted.items() if n not in there}
        if new:
            added = ", ".join(f"ADD COLUMN {self._quote(n)} {t}" for n, t in new.items())
            self._on.exec_driver_sql(f"ALTER TABLE {self._name} {added}")
        self._set_key(key)
        return bool(new)

    def _make_schema(self) -> None:
        # Two at once would both try, in spite of IF NOT EXISTS.
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
        """Make sure that the key tells the staged rows apart."""
        self._add_key(STAGED, ", ".join(staged), key)
        self._on.exec_driver_sql(f"ANALYZE {STAGED}")

    def _add_key(self, table: str, listed: str, key: Sequence[str]) -> None:
        try:
            self._on.exec_driver_sql(f"ALTER TABLE {table} ADD PRIMARY KEY ({listed})")
        except sa.exc.IntegrityError:
            written = ", ".join(key)
            raise ConnectionFault(
                f"{self.written}: {written} does not tell its rows apart, or is missing in some.",
                f"`SELECT {written} FROM {self.table} GROUP BY {written} HAVING count(*) > 1` "
                "shows them there. Choose other columns as the primary key.",
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
        """Replace all rows, unless they are the same ones, however often each."""
        listed = ", ".join(self._quote(n) for n in names)
        staged = ", ".join(names.values())
        if self._sum(self._name, listed) == self._sum(STAGED, staged):
            return 0, 0, 0
        # Not TRUNCATE: it would keep readers waiting, and show old transactions an empty table.
        deleted = self._count(f"DELETE FROM {self._name}")
        inserted = self._count(f"INSERT INTO {self._name} ({listed}) SELECT {staged} FROM {STAGED}")
        return inserted, 0, deleted

    def _sum(self, table: str, listed: str) -> sa.Row[Any]:
        """What two tables of the same rows in any order have alike."""
        row = f"hash_record_extended(ROW({listed}), 0)::numeric"
        return self._on.exec_driver_sql(f"SELECT count(*), sum({row}) FROM {table}").one()

    def _count(self, statement: str) -> int:
        return self._on.exec_driver_sql(statement).rowcount

    def _rows(self, before: dict[str, Any], more: int, *, everything: bool) -> int:
        if everything or "rows" not in before:
            return int(self._on.exec_driver_sql(f"SELECT count(*) FROM {self._name}").scalar_one())
        return int(before["rows"]) + more

    def _say(self, content: dict[str, Any]) -> None:
        text = sa.literal(json.dumps(content)).compile(
            dialect=self._on.dialect, compile_kwargs={"literal_binds": True}
        )
        self._on.exec_driver_sql(f"COMMENT ON TABLE {self._name} IS {text}")

    def index(self, column: str) -> None:
        """Have an index of a column, whose largest value is asked for every time."""
        name = self._quote(f"cursor_{digest(self.table, column)[:16]}")
        with self._on.begin():
            self._on.exec_driver_sql(
                f"CREATE INDEX IF NOT EXISTS {name} ON {self._name} ({self._quote(column)})"
            )

    def _does_not_fit(self, there: dict[str, str], wanted: dict[str, str]) -> ConnectionFault:
        gone = [f"{n} is gone" for n in there if n not in wanted]
        other = [
            f"{n} was {there[n]} and is {t}"
            for n, t in wanted.items()
            if n in there and there[n] != t
        ]
        name, table = self.written.split(".", 1)
        return ConnectionFault(
            f"{self.written}: its columns changed: {'; '.join(gone + other)}. "
            "The copy stays as it was.",
            f"`tippers connections sync {name} --table {table} --afresh` makes the copy anew; "
            "views that read it are removed, and made again when their definitions are run.",
        )


class _ValuesFit:
    """Says in words that a value does not fit its column."""

    def __init__(self, written: str) -> None:
        self._written = written

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, psycopg2.DataError):
            raise ConnectionFault(
                f"{self._written}: PostgreSQL cannot hold a value: {error.diag.message_primary}",
                "Mend it in its database, or choose a view that leaves it out.",
            ) from None


def _fits(there: dict[str, str], wanted: dict[str, str]) -> bool:
    """Whether all columns that are there are still the same."""
    return all(wanted.get(name) == kind for name, kind in there.items())


def drop_copy(warehouse: sa.Connection, name: str, table: str) -> None:
    """Remove the copy of a table that is not synced any more.

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
    except sa.exc.InternalError as error:  # what depends on it, in PostgreSQL's words
        detail = error.orig.diag.message_detail if error.orig else ""  # type: ignore[attr-defined]
        raise ConnectionFault(
            f"{name}.{table} cannot be removed, as something still reads it: {detail}",
            "Remove that first.",
        ) from None
