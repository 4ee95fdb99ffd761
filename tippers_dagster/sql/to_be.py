"""Definitions tried on the tables that they read as these will be, computed or not.

A table is what its definition was when it was last computed. Between saving and computing, and
within a set that is saved together, its columns are others or it is not there at all. What reads
it is therefore planned over empty tables with the columns that the definitions give now.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, lru_cache

import sqlalchemy as sa

from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import DerivedIndex, Feature, Index, Rule
from tippers_dagster.catalog.model import Definition, Draft, Ref
from tippers_dagster.catalog.store import load_catalog
from tippers_dagster.catalog.validate import Checks
from tippers_dagster.errors import BadInput
from tippers_dagster.settings import Settings
from tippers_dagster.sql.check import KINDS, references, translated_among
from tippers_dagster.sql.names import SCHEMAS, NameTable, Place, ref_place
from tippers_dagster.sql.preview import (
    Column,
    NotComputedYet,
    Preview,
    preview,
    validate_query,
)
from tippers_dagster.sql.translate import Translated
from tippers_dagster.warehouse.engine import warehouse_engine

Columns = tuple[Column, ...]


class TablesToBe:
    """The tables of a catalog's definitions; each is asked of the database once.

    Parameters
    ----------
    catalog
        With the drafts in it that are to be saved.
    """

    def __init__(self, settings: Settings, catalog: Catalog) -> None:
        self._settings = settings
        self._catalog = catalog
        self._known: dict[Ref, Columns | None] = {}

    def columns(self, ref: Ref) -> Columns | None:
        """The columns of an index, rule or feature; none when nobody can tell yet.

        Those of a saved definition follow from its SQL. What comes with the project's files is
        computed by dbt from more than SQL, and has the columns of its table.

        Raises
        ------
        BadInput
            The SQL does not work, in terms of its text.
        """
        if ref not in self._known:
            self._known[ref] = self._columns(ref)
        return self._known[ref]

    def check(self, definition: Definition | Draft) -> Columns | None:
        """Refuse an index, rule or feature that does not work on what it reads; else its columns.

        None: the database could not tell, because something that is read is neither there nor
        known from its definition.

        Raises
        ------
        BadInput
            In words for the author, with line and column where they are known.
        """
        query = self._translated(definition)
        try:
            columns = validate_query(
                self._settings, query, self._key(definition), self._others(query)
            )
        except NotComputedYet:
            return None
        return tuple(columns)

    def preview(self, definition: Definition | Draft, rows: int) -> Preview:
        """The first rows of an index, rule or feature, from the tables as they are.

        Raises
        ------
        BadInput
            As for ``check``, and what goes wrong while it runs.
        NotComputedYet
            What it reads is not there, or was changed and not computed since.
        """
        query, key = self._translated(definition), self._key(definition)
        others = self._others(query)
        if others:
            validate_query(self._settings, query, key, others)
            try:
                validate_query(self._settings, query, key)
            except NotComputedYet:
                raise
            except BadInput:
                raise NotComputedYet(others, changed=True) from None
        return preview(self._settings, query, key, rows)

    def refuse_to_break(self, before: TablesToBe, ref: Ref) -> None:
        """Refuse a definition on which the SQL of others works no more, as it did before.

        Raises
        ------
        BadInput
            With each of them and what the database says.
        """
        lines = [f"{reader}: {error.message}" for reader, error in self._broken(before, ref)]
        if lines:
            raise BadInput(
                "\n".join(["Then these could not work any more:", *lines]),
                "Keep the columns that they look at, or change all together: "
                "`tippers definitions import` takes a folder.",
            )

    def _broken(self, before: TablesToBe, ref: Ref) -> Iterator[tuple[Ref, BadInput]]:
        """Follow what changes from reader to reader, as far as columns do."""
        waiting, seen = [ref], {ref}
        while waiting:
            changed = waiting.pop()
            if before._answer(changed) == self._answer(changed):
                continue
            for reader in self._catalog.users(changed):
                if reader in seen or not self._is_saved_sql(reader):
                    continue
                seen.add(reader)
                answer = self._answer(reader)
                if not isinstance(answer, BadInput):
                    waiting.append(reader)
                elif not isinstance(before._answer(reader), BadInput):
                    yield reader, answer

    def _answer(self, ref: Ref) -> Columns | BadInput | None:
        try:
            return self.columns(ref) if ref in self._catalog.definitions else None
        except BadInput as error:
            return error

    def _is_saved_sql(self, ref: Ref) -> bool:
        saved = self._catalog.definitions[ref].origin == "catalog"
        return saved and ref.kind.has_sql and ref not in self._catalog.problems

    # --- one definition ---------------------------------------------------------------------
    def _columns(self, ref: Ref) -> Columns | None:
        definition = self._catalog.definitions[ref]
        if ref in self._catalog.problems or not ref.kind.has_sql:
            return None
        if definition.origin == "git":
            return self._there.get(_name(ref_place(ref)))
        body = definition.body
        if isinstance(body, DerivedIndex):
            parent = self.columns(self._catalog.resolve(body.parent, ref.concept).ref)
            key = self._catalog.key_column(ref)
            return None if parent is None else tuple(c for c in parent if c.name == key)
        return self.check(definition)

    def _translated(self, definition: Definition | Draft) -> Translated:
        return translated_among(self._names, definition, self._catalog)

    def _key(self, definition: Definition | Draft) -> str:
        body, concept = definition.body, definition.ref.concept
        if isinstance(body, Index):
            return body.key
        assert isinstance(body, Rule | Feature)
        return self._catalog.key_column(self._catalog.resolve(body.index, concept).ref)

    # --- what it reads ----------------------------------------------------------------------
    def _others(self, query: Translated) -> dict[Place, Columns]:
        """The tables of a query that are not, or not as they are now, what they will be."""
        others = {}
        for place in query.places:
            if place.ref is None:
                continue
            try:
                columns = self.columns(place.ref)
            except BadInput as error:
                raise BadInput(
                    f"It reads {place.ref}, which does not work: {error.message}", error.hint
                ) from None
            if columns is not None and columns != self._there.get(_name(place)):
                others[place] = columns
        return others

    @cached_property
    def _names(self) -> NameTable:
        return NameTable.of(self._catalog, self._settings)

    @cached_property
    def _there(self) -> dict[tuple[str, str], Columns]:
        """The columns of all tables of definitions that are there, by schema and name."""
        query = sa.text(
            "SELECT n.nspname, c.relname, array_agg(a.attname::text ORDER BY a.attnum), "
            "array_agg(format_type(a.atttypid, NULL) ORDER BY a.attnum) "
            "FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
            "JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = ANY(:schemas) AND c.relkind IN ('r', 'v', 'm') AND a.attnum > 0 "
            "AND NOT a.attisdropped GROUP BY 1, 2"
        )
        with warehouse_engine(self._settings).connect() as connection:
            found = connection.execute(query, {"schemas": sorted(set(SCHEMAS.values()))}).all()
        return {
            (schema, table): tuple(map(Column, names, types))
            for schema, table, names, types in found
        }


def _name(place: Place) -> tuple[str, str]:
    return place.schema, place.table


def sql_checks(settings: Settings, *, deep: bool = True) -> Checks:
    """What the catalog calls for drafts that are SQL before they are saved.

    Parameters
    ----------
    deep
        Whether the database is asked, too: do its columns exist, do its readers still work?
    """
    # All drafts of one saving are looked at in the same catalog.
    tables = lru_cache(maxsize=1)(lambda catalog: TablesToBe(settings, catalog))

    def validator(draft: Draft, catalog: Catalog) -> None:
        if not deep:
            references(settings, draft, catalog)
            return
        tables(catalog).columns(draft.ref)
        if catalog.users(draft.ref):
            before = TablesToBe(settings, load_catalog(settings))
            tables(catalog).refuse_to_break(before, draft.ref)

    def read(draft: Draft, catalog: Catalog) -> list[str]:
        return [str(ref) for ref in references(settings, draft, catalog)]

    return Checks(validators=dict.fromkeys(KINDS, validator), references=dict.fromkeys(KINDS, read))
