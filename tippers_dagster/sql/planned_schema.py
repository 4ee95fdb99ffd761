"""Definitions tried on the tables that they read as these will be, computed or not.

A table is what its definition was when it was last computed. Between saving and computing, and
within a set that is saved together, its columns are others or it is not there at all. What reads
it is therefore planned over empty tables with the columns that the definitions give now.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cached_property, lru_cache, partial

from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import DerivedIndex, Feature, Index, Rule
from tippers_dagster.catalog.model import Definition, Draft, Ref
from tippers_dagster.catalog.store import load_catalog
from tippers_dagster.catalog.validate import Checks
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.sql.check import KINDS, references, translated_among
from tippers_dagster.sql.columns import Column, schema_columns
from tippers_dagster.sql.names import SCHEMAS, NameTable, Place, ref_place
from tippers_dagster.sql.preview import NotComputedYet, Preview, preview, validate_query
from tippers_dagster.sql.translate import Translated

Columns = tuple[Column, ...]


class TablesToBe:
    """The tables of a catalog's definitions; each is asked of the database once.

    Attributes
    ----------
    catalog
        With the drafts in it that are to be saved.
    """

    def __init__(self, settings: Settings, catalog: Catalog) -> None:
        self._settings = settings
        self.catalog = catalog
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

    def refuse_to_break(self, before: TablesToBe, ref: Ref) -> list[Ref]:
        """Refuse a definition on which the SQL of others works no more, as it did before.

        Returns
        -------
        list[Ref]
            Those whose columns are, or may be, others than before: it, and what reads it.

        Raises
        ------
        BadInput
            With each that is broken and what the database says.
        """
        changed: list[Ref] = []
        broken: list[str] = []
        waiting, seen = [ref], {ref}
        while waiting:
            at = waiting.pop()
            answer, had = self._answer(at), before._answer(at)
            if isinstance(answer, BadInput):
                if not isinstance(had, BadInput):
                    broken.append(f"{at}: {answer.message}")
            elif answer is None or answer != had:
                changed.append(at)
                readers = [r for r in self.catalog.users(at) if self._is_saved_sql(r)]
                waiting += [reader for reader in readers if reader not in seen]
                seen.update(readers)
        refuse_broken(broken)
        return changed

    def _answer(self, ref: Ref) -> Columns | BadInput | None:
        try:
            return self.columns(ref) if ref in self.catalog.definitions else None
        except BadInput as error:
            return error

    def _is_saved_sql(self, ref: Ref) -> bool:
        saved = self.catalog.definitions[ref].origin == "catalog"
        return saved and ref.kind.has_sql and ref not in self.catalog.problems

    # --- one definition ---------------------------------------------------------------------
    def _columns(self, ref: Ref) -> Columns | None:
        definition = self.catalog.definitions[ref]
        if ref in self.catalog.problems or not ref.kind.has_sql:
            return None
        if definition.origin == "git":
            return self._there.get(_name(ref_place(ref)))
        body = definition.body
        if isinstance(body, DerivedIndex):
            parent = self.columns(self.catalog.resolve(body.parent, ref.concept).ref)
            key = self.catalog.key_column(ref)
            return None if parent is None else tuple(c for c in parent if c.name == key)
        return self.check(definition)

    def _translated(self, definition: Definition | Draft) -> Translated:
        return translated_among(self._names, definition, self.catalog)

    def _key(self, definition: Definition | Draft) -> str:
        body, concept = definition.body, definition.ref.concept
        if isinstance(body, Index):
            return body.key
        assert isinstance(body, Rule | Feature)
        return self.catalog.key_column(self.catalog.resolve(body.index, concept).ref)

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
        return NameTable.of(self.catalog, self._settings)

    @cached_property
    def _there(self) -> dict[tuple[str, str], Columns]:
        """The columns of all tables of definitions that are there, by schema and name."""
        with warehouse_engine(self._settings).connect() as connection:
            return schema_columns(connection, SCHEMAS.values())


def _name(place: Place) -> tuple[str, str]:
    return place.schema, place.table


def refuse_broken(lines: list[str]) -> None:
    """Refuse a change of columns, with a line for each definition that needs them."""
    if lines:
        raise BadInput(
            "\n".join(["Then these could not work any more:", *lines]),
            "Keep the columns that they look at, or change all together: "
            "`tippers definitions import` takes a folder.",
        )


def tables_of(settings: Settings) -> Callable[[Catalog], TablesToBe]:
    """The tables of a catalog, the same ones as long as it is the same catalog.

    All drafts of one saving are looked at in one catalog.
    """
    return lru_cache(maxsize=1)(partial(TablesToBe, settings))


def sql_checks(
    settings: Settings,
    tables: Callable[[Catalog], TablesToBe],
    of_changed: Callable[[TablesToBe, Collection[Ref]], None] = lambda tables, changed: None,
) -> Checks:
    """What the catalog calls for drafts that are SQL before they are saved.

    Parameters
    ----------
    tables
        As ``tables_of`` gives them.
    of_changed
        Looks at what else reads definitions whose columns change.
    """

    @lru_cache(maxsize=1)
    def before(_after: Catalog) -> TablesToBe:
        return TablesToBe(settings, load_catalog(settings))

    def validator(draft: Draft, catalog: Catalog) -> None:
        after = tables(catalog)
        after.columns(draft.ref)
        if catalog.users(draft.ref):
            of_changed(after, after.refuse_to_break(before(catalog), draft.ref))

    def read(draft: Draft, catalog: Catalog) -> list[str]:
        return [str(ref) for ref in references(settings, draft, catalog)]

    return Checks(validators=dict.fromkeys(KINDS, validator), references=dict.fromkeys(KINDS, read))
