"""Checks definitions against the tables they read as those will be, computed or not.

A table has the columns that its definition gave when it was last computed. Between saving and
computing, and within a set that is saved together, its columns may differ or it may not exist. A
definition that reads it is therefore planned over empty tables with the columns that the current
definitions give.
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
from tippers_dagster.sql.check import KINDS, references, translate_definition
from tippers_dagster.sql.columns import Column, schema_columns
from tippers_dagster.sql.differences import refuse_differences
from tippers_dagster.sql.duckdb.trying import LakeTrial
from tippers_dagster.sql.names import SCHEMAS, NameTable, Place, ref_place
from tippers_dagster.sql.preview import NotComputedYet, Preview, WarehouseTrial
from tippers_dagster.sql.project import rendered_project
from tippers_dagster.sql.translate import Translated

Columns = tuple[Column, ...]


class PlannedSchema:
    """The tables of a catalog's definitions; the database is asked once for each.

    Attributes
    ----------
    catalog
        Includes the drafts that are to be saved.
    """

    def __init__(self, settings: Settings, catalog: Catalog) -> None:
        self._settings = settings
        self.catalog = catalog
        self._known: dict[Ref, Columns | None] = {}

    def columns(self, ref: Ref) -> Columns | None:
        """The columns of an index, rule or feature; None if they cannot be known yet.

        The columns of a saved definition follow from its SQL. Definitions in the project's files
        are computed by dbt from more than SQL, so they have the columns of their existing tables.

        Raises
        ------
        BadInput
            The SQL does not work; the message refers to its text.
        """
        if ref not in self._known:
            self._known[ref] = self._columns(ref)
        return self._known[ref]

    def check(self, definition: Definition | Draft) -> Columns | None:
        """Refuse an index, rule or feature that does not work on its inputs; returns its columns.

        Returns None if it cannot be checked, because one of its inputs neither exists nor has a
        definition that gives its columns.

        Raises
        ------
        BadInput
            For the author, with line and column where they are known.
        """
        query = self._translated(definition)
        try:
            columns = self._trial.validate(query, self._key(definition), self._differing(query))
        except NotComputedYet:
            return None
        return tuple(columns)

    def preview(self, definition: Definition | Draft, rows: int) -> Preview:
        """The first rows of an index, rule or feature, from the tables as they are now.

        Raises
        ------
        BadInput
            As for ``check``, and errors at run time.
        NotComputedYet
            An input is missing, or was changed and not computed since.
        """
        query, key = self._translated(definition), self._key(definition)
        others = self._differing(query)
        if others:
            self._trial.validate(query, key, others)
            try:
                self._trial.validate(query, key)
            except NotComputedYet:
                raise
            except BadInput:
                raise NotComputedYet(others, changed=True) from None
        return self._trial.preview(query, key, rows)

    def refuse_if_it_breaks_others(self, before: PlannedSchema, ref: Ref) -> list[Ref]:
        """Refuse a definition that breaks the SQL of others which worked before.

        Returns
        -------
        list[Ref]
            Definitions whose columns change, or may change: it, and those that read it.

        Raises
        ------
        BadInput
            Names each broken definition, with the database's message.
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
            return self._existing.get(_name(ref_place(ref)))
        body = definition.body
        if isinstance(body, DerivedIndex):
            parent = self.columns(self.catalog.resolve(body.parent, ref.concept).ref)
            key = self.catalog.key_column(ref)
            return None if parent is None else tuple(c for c in parent if c.name == key)
        return self.check(definition)

    def _translated(self, definition: Definition | Draft) -> Translated:
        return translate_definition(self._names, definition, self.catalog)

    def _key(self, definition: Definition | Draft) -> str:
        body, concept = definition.body, definition.ref.concept
        if isinstance(body, Index):
            return body.key
        assert isinstance(body, Rule | Feature)
        return self.catalog.key_column(self.catalog.resolve(body.index, concept).ref)

    # --- its inputs -------------------------------------------------------------------------
    def _differing(self, query: Translated) -> dict[Place, Columns]:
        """The input tables whose columns will differ from the existing ones."""
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
            if columns is not None and columns != self._existing.get(_name(place)):
                others[place] = columns
        return others

    @cached_property
    def _trial(self) -> LakeTrial | WarehouseTrial:
        if self._settings.sql_engine == "postgres":
            return WarehouseTrial(self._settings)
        # The staging models are those of every catalog: this project need not be rendered again.
        project = rendered_project(self._settings, Catalog(()))
        return LakeTrial(self._settings, project.manifest, project.staging_views)

    @cached_property
    def _names(self) -> NameTable:
        return NameTable.of(self.catalog, self._settings)

    @cached_property
    def _existing(self) -> dict[tuple[str, str], Columns]:
        """The columns of all existing tables of definitions, by schema and name."""
        with warehouse_engine(self._settings).connect() as connection:
            return schema_columns(connection, SCHEMAS.values())


def _name(place: Place) -> tuple[str, str]:
    return place.schema, place.table


def refuse_broken(lines: list[str]) -> None:
    """Refuse a change of columns, with a line for each definition that it breaks."""
    if lines:
        raise BadInput(
            "\n".join(["This change would break other definitions:", *lines]),
            "Keep the columns that they use, or change all of them together: "
            "`tippers definitions import` takes a folder.",
        )


def planned_schema_cache(settings: Settings) -> Callable[[Catalog], PlannedSchema]:
    """The planned tables of a catalog, cached for the latest catalog.

    All drafts that are saved together are checked in one catalog.
    """
    return lru_cache(maxsize=1)(partial(PlannedSchema, settings))


def sql_checks(
    settings: Settings,
    tables: Callable[[Catalog], PlannedSchema],
    of_changed: Callable[[PlannedSchema, Collection[Ref]], None] = lambda tables, changed: None,
) -> Checks:
    """The catalog's checks for SQL drafts before they are saved.

    Parameters
    ----------
    tables
        From ``planned_schema_cache``.
    of_changed
        Checks other readers of definitions whose columns change.
    """

    @lru_cache(maxsize=1)
    def before(_after: Catalog) -> PlannedSchema:
        return PlannedSchema(settings, load_catalog(settings))

    def validator(draft: Draft, catalog: Catalog) -> None:
        assert isinstance(draft.body, Index | Rule | Feature)
        refuse_differences(draft.body.sql)
        after = tables(catalog)
        after.columns(draft.ref)
        if catalog.users(draft.ref):
            of_changed(after, after.refuse_if_it_breaks_others(before(catalog), draft.ref))

    def read(draft: Draft, catalog: Catalog) -> list[str]:
        return [str(ref) for ref in references(settings, draft, catalog)]

    return Checks(validators=dict.fromkeys(KINDS, validator), references=dict.fromkeys(KINDS, read))
