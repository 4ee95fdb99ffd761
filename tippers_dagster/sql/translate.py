"""Translates user SQL to a dbt model, and to SQL that can be run directly.

Users write plain PostgreSQL, with the table names that ``names.py`` knows, and
``IN (:index_values)`` for the entities of the index.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tippers_dagster.catalog.model import Ref
from tippers_dagster.errors import TippersError
from tippers_dagster.sql.compose import Atoms, Composed, compose, quoted
from tippers_dagster.sql.guard import Checked, check, refuse
from tippers_dagster.sql.names import NameTable, Place, ref_place
from tippers_dagster.sql.refusals import RefusedSQL

if TYPE_CHECKING:
    from sqlglot import exp

_JINJA = re.compile(r"\{[{%#]")
_REFERENCE = re.compile(r"(ref\('\w+'\)|source\('\w+', '\w+'\))", re.ASCII)


@dataclass(frozen=True)
class Translated:
    """A checked query.

    Parameters
    ----------
    sql_jinja
        The dbt model: tables are ``{{ ref() }}`` and ``{{ source() }}``, and there is no other
        Jinja.
    sql_plain
        The same with the tables' names in the warehouse.
    refs
        The definitions whose tables it reads, including its index if it uses ``:index_values``.
    places
        All tables that it reads.
    functions
        Names of the functions that it calls.
    columns
        Names of the result's columns as far as the text shows; None if there is a star.
    user_sql
        The original text, with line feeds only.
    names
        Where the names in ``sql_plain`` are in the user's text, as ``Composed.names``.
    """

    sql_jinja: str
    sql_plain: str
    refs: frozenset[Ref]
    places: frozenset[Place]
    functions: frozenset[str]
    columns: tuple[str, ...] | None
    user_sql: str
    names: tuple[tuple[int, int, int], ...]

    @property
    def tables(self) -> list[str]:
        """The places as ``schema.table``."""
        return sorted(f"{place.schema}.{place.table}" for place in self.places)


def translate(
    sql: str, *, concept: str, index: Ref | None, key: str | None, names: NameTable
) -> Translated:
    """Check a query and replace table names by those of the warehouse.

    Parameters
    ----------
    sql
        What the user wrote.
    concept
        The concept whose definitions may be named without a prefix.
    index, key
        What ``:index_values`` means: the key column of this index. None: it may not be used.
    names
        The tables that may be read.

    Raises
    ------
    RefusedSQL
        The guard refuses it, a table is unknown, or ``:index_values`` is misplaced.
    """
    checked = check(sql)
    translation = _Translation(checked, concept, names)
    translation.put_in_index(None if index is None or key is None else (ref_place(index), key))
    translation.put_in_tables()
    plain, jinja = translation.compose()
    if _JINJA.search(plain.sql):
        raise RefusedSQL("jinja", "A text in the SQL looks like a template.")
    return Translated(
        sql_jinja=jinja.sql,
        sql_plain=plain.sql,
        refs=frozenset(place.ref for place in translation.places if place.ref is not None),
        places=frozenset(translation.places),
        functions=checked.functions,
        columns=checked.columns,
        user_sql=checked.sql,
        names=plain.names,
    )


class _Translation:
    """The tree while its tables are replaced."""

    def __init__(self, checked: Checked, concept: str, names: NameTable) -> None:
        self.tree = checked.tree.copy()
        self.concept = concept
        self.names = names
        self.atoms = Atoms(checked.texts)
        self.places: set[Place] = set()
        self._tables: list[tuple[exp.Identifier, Place, int]] = []

    # --- :index_values ----------------------------------------------------------------------
    def put_in_index(self, index: tuple[Place, str] | None) -> None:
        """Replace every ``:index_values`` by a subquery."""
        from sqlglot import exp

        for placeholder in list(self.tree.find_all(exp.Placeholder)):
            condition = _condition(placeholder)
            if condition is None:
                raise refuse(
                    placeholder,
                    "index_values",
                    ":index_values stands for many values and cannot be used like this.",
                    "Write column IN (:index_values).",
                )
            if index is None:
                raise refuse(
                    condition,
                    "index_values",
                    ":index_values means the entities of an index, and there is no index here.",
                    "Use it only in rules and features. Remove it here.",
                )
            condition.replace(self._in_index(condition.this, *index))

    def _in_index(self, column: exp.Expr, place: Place, key: str) -> exp.Expr:
        from sqlglot import exp

        table = exp.Table(
            this=exp.Identifier(this="entities"),
            alias=exp.TableAlias(this=exp.Identifier(this="entity")),
        )
        self.places.add(place)
        self._tables.append((table.this, place, -1))
        chosen = exp.Column(this=exp.Identifier(this=key), table=exp.Identifier(this="entity"))
        query = exp.Select(expressions=[chosen]).from_(table)
        return exp.In(this=column.copy(), query=exp.Subquery(this=query))

    # --- tables -----------------------------------------------------------------------------
    def put_in_tables(self) -> None:
        """Find the place of every table that is not a WITH query."""
        from sqlglot import exp

        taken = {id(identifier) for identifier, _, _ in self._tables}
        schemas: set[tuple[str, str]] = set()
        for table in list(self.tree.find_all(exp.Table)):
            if not isinstance(table.this, exp.Identifier) or id(table.this) in taken:
                continue
            if not table.db and _names_with(table):
                continue
            place = self._find(table)
            self.places.add(place)
            if not table.alias:
                alias = table.args.get("alias") or exp.TableAlias()
                alias.set("this", table.this.copy())
                table.set("alias", alias)
                if table.db:
                    schemas.add((table.db, table.name))
            start = (table.args.get("db") or table.this).meta.get("start", -1)
            table.set("db", None)
            self._tables.append((table.this, place, start))
        self._shorten_columns(schemas)

    def _find(self, table: exp.Table) -> Place:
        parts = (table.db, table.name) if table.db else (table.name,)
        place = self.names.find(parts, self.concept)
        if place is not None:
            return place
        written = ".".join(parts)
        kind = self.names.kind_without_table(parts, self.concept)
        if kind is not None:
            raise refuse(
                table,
                "table",
                f"{written} is a {kind}, which has no table.",
                "Read its rule instead.",
            )
        near = self.names.near(parts, self.concept)
        if parts[0] in ("pg_catalog", "information_schema", "tippers"):
            message = f"The table {written} belongs to the system and cannot be read."
        else:
            message = f"There is no table {written}, or it may not be read here."
        hint = (
            f"Did you mean {' or '.join(near)}?"
            if near
            else (
                "Write source tables by their name, definitions as concept.name, and tables of a "
                "connection as connection_name.table."
            )
        )
        raise refuse(table, "table", message, hint)

    def _shorten_columns(self, schemas: set[tuple[str, str]]) -> None:
        """Reduce ``device.devices.mac_address`` to the table's alias and the column."""
        from sqlglot import exp

        for column in self.tree.find_all(exp.Column):
            if not column.db:
                continue
            if (column.db, column.table) not in schemas:
                raise refuse(
                    column,
                    "name",
                    f"There is no table {column.db}.{column.table} in this query.",
                    f"Write {column.table}.{column.name}, with the table's name after FROM.",
                )
            column.set("db", None)

    # --- writing ----------------------------------------------------------------------------
    def compose(self) -> tuple[Composed, Composed]:
        """The SQL with the warehouse's names, and as a dbt model."""
        from sqlglot import exp

        for identifier, place, start in self._tables:
            self.atoms.table(identifier, place, start)
        done = {id(identifier) for identifier, _, _ in self._tables}
        for identifier in list(self.tree.find_all(exp.Identifier)):
            if id(identifier) not in done:
                self.atoms.name(identifier)
        return (
            compose(self.tree, self.atoms, relation),
            compose(self.tree, self.atoms, _reference),
        )


def _condition(placeholder: exp.Placeholder) -> exp.Expr | None:
    """The comparison whose right side is a placeholder: ``x IN (...)``, ``x = ANY(...)``."""
    from sqlglot import exp

    parent = placeholder.parent
    while isinstance(parent, exp.Paren | exp.Tuple) and len(list(parent.iter_expressions())) == 1:
        parent = parent.parent
    if isinstance(parent, exp.In) and placeholder.find_ancestor(exp.In) is parent:
        values = parent.expressions
        alone = len(values) == 1 or parent.args.get("field") is not None
        return parent if alone and not _inside(placeholder, parent.this) else None
    if isinstance(parent, exp.Any) and isinstance(parent.parent, exp.EQ):
        equals = parent.parent
        return equals if equals.expression is parent else None
    return None


def _inside(node: exp.Expr, tree: exp.Expr) -> bool:
    return any(part is node for part in tree.walk())


def _names_with(table: exp.Table) -> bool:
    """Whether a name means a WITH query that is visible at this place."""
    from sqlglot import exp

    node: exp.Expr = table
    below: exp.Expr | None = None
    while node.parent is not None:
        parent = node.parent
        if isinstance(parent, exp.With):
            below = node
        elif (found := parent.args.get("with_")) is not None:
            seen = found.expressions
            if below is not None and node is found and not found.args.get("recursive"):
                seen = seen[: next(i for i, cte in enumerate(seen) if cte is below)]
            if any(cte.alias == table.name for cte in seen):
                return True
        node = parent
    return False


def relation(place: Place) -> str:
    """A table as written in ``Translated.sql_plain``."""
    return f"{quoted(place.schema)}.{quoted(place.table)}"


def _reference(place: Place) -> str:
    if not _REFERENCE.fullmatch(place.jinja):
        raise TippersError(f"The table {place.table!r} cannot be named in a dbt model.")
    return f"{{{{ {place.jinja} }}}}"
